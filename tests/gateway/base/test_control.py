from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.base import control
from gateway.model import GatewayError
from tests.gateway.conftest import Centre
from tests.gateway.simulate.conftest import eventually


def ask(path: Path, request: bytes) -> Any:
    """One line over the socket; None when the daemon hangs up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(request)
        with client.makefile("rb") as answers:
            line = answers.readline()
    return json.loads(line) if line else None


@pytest.mark.parametrize("place", ["a-file/control.sock", "a-folder", "x" * 200])
async def test_the_gateway_runs_without_a_socket_that_cannot_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "a-folder").mkdir()
    async with control.serve_control_socket(tmp_path / place, {}):
        (message,) = caplog.messages
    assert str(tmp_path / place) in message
    assert "Errno" not in message
    assert (tmp_path / "a-folder").is_dir()


@pytest.mark.parametrize(
    "request_",
    [
        b"\n",
        b"garbage\n",
        b"[]\n",
        b"{}\n",
        b'{"call": "nothing"}\n',
        b'{"call": []}\n',
        b'{"call": null}\n',
        b'{"call": "\xff"}\n',
        b'{"call": ' + b"[" * 5000 + b"\n",
    ],
    ids=lambda request: repr(request[:20]),
)
def test_what_is_no_call_is_answered_so(running: Centre, request_: bytes) -> None:
    answer = ask(running.daemon.socket, request_)
    known = "health, doctor, read, command, lines, scan, reload, edit, restore, verdict, still, security"
    known += ", notify-test, phone-test, alarms, need-register, need-particulars, need-update"
    assert answer == {"error": "call-unknown", "facts": {"known": known}}
    eventually(lambda: running.witness.find("gateway", "event", event="call-refused"))


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "upstream"},
        {"device": "a/+/b"},
        {"args": {"lock": 10**40}},
        {"id": ""},
        {"expires": "soon"},
        {"id": None},
    ],
    ids=str,
)
def test_a_command_out_of_form_is_refused(running: Centre, change: dict[str, Any]) -> None:
    asked = {
        "call": "command", "id": "c", "device": "locker-1", "action": "open", "args": {"lock": 1},
        "expires": 4_000_000_000_000, "origin": "console", "by": "test",
    }  # fmt: skip
    answer = ask(running.daemon.socket, json.dumps({**asked, **change}).encode() + b"\n")
    assert answer["error"] == "command-form"
    assert running.daemon.health()


def test_a_command_of_this_machine(running: Centre) -> None:
    lock = next(n for n, each in enumerate(running.sim.state()["lockers"]) if not each["open"])
    asked = {
        "call": "command", "id": "console-1", "device": "locker-1", "action": "open",
        "args": {"lock": lock + 1}, "expires": int(time.time() * 1000) + 30_000, "origin": "console",
        "by": "a\nb",
    }  # fmt: skip
    assert ask(running.daemon.socket, json.dumps(asked).encode() + b"\n") == {
        "status": "done",
        "detail": "",
        "facts": {},
    }
    eventually(lambda: running.witness.find("locker-1", "event", id="console-1", status="done"))
    # A stranger's words never begin a line of the log.
    (told,) = [line for line in running.daemon.log.read_text("utf-8").split("\n") if "by='a" in line]
    assert "a\N{REPLACEMENT CHARACTER}b" in told


def test_health_and_read(running: Centre) -> None:
    assert ask(running.daemon.socket, b'{"call": "health"}\n')["ok"] is True
    assert ask(running.daemon.socket, b'{"call": "read", "device": "bay-1"}\n')["values"]
    assert ask(running.daemon.socket, b'{"call": "read"}\n')["error"] == "device-unknown"
    assert ask(running.daemon.socket, b'{"call": "read", "device": []}\n')["error"] == "device-unknown"


def test_a_line_beyond_all_bounds_is_hung_up_on(running: Centre) -> None:
    with contextlib.suppress(ConnectionError):
        assert ask(running.daemon.socket, b"x" * 10_000_000) is None
    assert ask(running.daemon.socket, b'{"call": "health"}\n')["ok"] is True


def test_who_asks_slowly_keeps_nobody_waiting(running: Centre) -> None:
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(running.daemon.socket))
        slow.sendall(b'{"call"')
        assert ask(running.daemon.socket, b'{"call": "health"}\n')["ok"] is True


def test_only_owner_and_group_may_ask(running: Centre) -> None:
    assert stat.S_IMODE(running.daemon.socket.stat().st_mode) == 0o660


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Path]:
    async def refuse(request: dict[str, Any]) -> dict[str, Any]:
        raise GatewayError("device-unknown", device=request["device"], known="")

    async def echo(request: dict[str, Any]) -> dict[str, Any]:
        return request

    async with control.serve_control_socket(tmp_path / "run" / "c.sock", {"refuse": refuse, "echo": echo}):
        yield tmp_path / "run" / "c.sock"


async def test_idle_connections_keep_nobody_out(serving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = [await asyncio.open_unix_connection(serving) for _ in range(control.MAX_CONNECTIONS + 10)]
    for _, writer in crowd:
        writer.write(b'{"call"')
    assert await control.call_daemon(serving, "echo", a=1) == {"a": 1}
    for _, writer in crowd:
        writer.close()
    monkeypatch.setattr(control, "IDLE_TIMEOUT_S", 0.05)
    reader, writer = await asyncio.open_unix_connection(serving)
    writer.write(b'{"call"')
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_call_gives_the_answer_or_the_error(serving: Path) -> None:
    assert await control.call_daemon(serving, "echo", a=1) == {"a": 1}
    with pytest.raises(GatewayError) as met:
        await control.call_daemon(serving, "refuse", device="x")
    assert (met.value.key, met.value.facts) == ("device-unknown", {"device": "x", "known": ""})


async def test_nobody_there_is_told_apart_from_silence(tmp_path: Path) -> None:
    with pytest.raises(control.DaemonNotRunning):
        await control.call_daemon(tmp_path / "none.sock", "health")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left.sock"))
    with pytest.raises(control.DaemonNotRunning):
        await control.call_daemon(tmp_path / "left.sock", "health")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(hang_up, tmp_path / "mute.sock"):
        with pytest.raises(GatewayError) as met:
            await control.call_daemon(tmp_path / "mute.sock", "health")
    assert met.value.key == "daemon-silent"


async def test_what_a_crash_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with control.serve_control_socket(path, {}):
        with pytest.raises(GatewayError, match="call-unknown"):
            await control.call_daemon(path, "health")
    assert not path.exists()
