from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from gateway import cli
from gateway.base import control
from gateway.base.security import MAX_SECURITY_EVENTS, SECURITY_EVENTS
from gateway.cli import EX_CONFIG, check
from gateway.model import GatewayError
from gateway.uplink.native import asyncapi
from gateway.words import LANGUAGES, words
from tests.gateway.conftest import ROOT, Centre, linli
from tests.gateway.simulate.conftest import eventually


@pytest.mark.parametrize(
    ("lang", "said"), [("en", "OK (4 lines, 18 devices)"), ("zh", "正确（4 条线路，18 台设备）")]
)
def test_check_says_that_a_site_is_well(running: Centre, lang: str, said: str) -> None:
    done = linli("check", running.daemon.site, lang=lang)
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout


@pytest.mark.parametrize("job", [["check"], ["run", "--config"]], ids=["check", "run"])
@pytest.mark.parametrize(("lang", "said"), [("en", "the unit id must be"), ("zh", "站号须在")])
def test_every_mistake_is_named_and_nothing_is_touched(
    tmp_path: Path, running: Centre, job: list[str], lang: str, said: str
) -> None:
    """Every port and path of this site would tell if somebody came."""
    text = running.daemon.site.read_text("utf-8").replace('id = "demo"', 'id = "De mo"')
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        for port in (running.sim.modbus, running.broker.port):
            text = text.replace(f":{port}", f":{server.getsockname()[1]}")
        text = text.replace(str(running.daemon.folder), str(tmp_path / "state"))
        text = text.replace("unit = 21", "unit = 999")
        site = tmp_path / "site.toml"
        site.write_text(text, "utf-8")
        done = linli(*job, site, lang=lang)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert done.returncode == EX_CONFIG
    line = text[: text.index("unit = 999")].count("\n") + 1
    assert f"{site}:{line}: device.gas-kitchen.unit = 999: {said}" in done.stderr
    assert f'{site}:6: site.id = "De mo": ' in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["site.toml"]


def test_check_tries_the_examples_of_a_profile(tmp_path: Path) -> None:
    text = (ROOT / "config/profiles/smoke/generic-rs485.toml").read_text("utf-8")
    good, bad, odd = (tmp_path / f"{name}.toml" for name in ("good", "bad", "odd"))
    good.write_text(text, "utf-8")
    bad.write_text(text.replace("smoke = true", "smoke = false"), "utf-8")
    odd.write_text(text.replace("raw.holding = { 0 = [1,", "raw.coils = { 0 = [1,"), "utf-8")
    done = linli("check", good, bad, odd)
    assert done.returncode == EX_CONFIG
    assert f"{good}: OK (6 points, 3 examples)" in done.stdout
    assert f"{bad}:48: example 2: smoke gives true instead of false" in done.stderr
    assert f"{odd}:46: the example cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_warns_of_a_port_whose_number_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_id, by_socket = tmp_path / "by-id", tmp_path / "linli"
    ports = ((by_id, "usb-FTDI", 77), (by_socket, "serial-1-1.4-00", 77), (by_id, "usb-1a86", 78))
    for folder, name, port in ports:
        folder.mkdir(exist_ok=True)
        (folder / name).symlink_to(f"/dev/ttyUSB{port}")
    monkeypatch.setattr(check, "STABLE_NAME_FOLDERS", (by_id, by_socket))
    monkeypatch.setenv("LINLI_LANG", "en")
    head = 'schema = "linli/site/1"\n[site]\nid = "x"\ntitle = "X"\n'
    site = tmp_path / "site.toml"
    for line, warned in (
        ('driver = "modbus"\nurl = "rtu:/dev/ttyUSB77"', True),
        ('driver = "lockboard"\ndialect = "cu16"\nport = "/dev/ttyUSB77"', True),
        ('driver = "gb26875"\nlisten = "/dev/ttyUSB77"', True),
        ('driver = "modbus"\nurl = "rtu:/dev/ttyUSB79"', False),
        (f'driver = "modbus"\nurl = "rtu:{by_id}/usb-FTDI"', False),
    ):
        site.write_text(f"{head}[bus.rs485]\n{line}\n")
        assert cli.main(["check", str(site)]) == 0
        said = capsys.readouterr()
        assert "OK (1 lines, 0 devices)" in said.out
        told = f"{site}: bus.rs485: /dev/ttyUSB77 can change after a restart or replugging; permanent"
        names = f"{by_id}/usb-FTDI, {by_socket}/serial-1-1.4-00"
        assert said.err == (f"{told} names: {names}\n" if warned else "")


def test_a_site_file_with_the_first_line_of_a_device_model_is_a_site_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLI_LANG", "en")
    file = tmp_path / "site.toml"
    file.write_text('schema = "linli/profile/1"\n[site]\nid = "x"\ntitle = "X"\n')
    assert cli.main(["check", str(file)]) == 78
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith('the first line must be: schema = "linli/site/1"')


def test_asyncapi_prints_the_document() -> None:
    done = linli("asyncapi")
    assert (json.loads(done.stdout), done.stderr) == (asyncapi(), "")
    assert done.stdout == (ROOT / "gateway/uplink/native.asyncapi.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("lang", "title", "how"),
    [("en", "Kitchen gas", "(read by the running gateway)"), ("zh", "厨房燃气", "（由运行中的网关读取）")],
)
def test_read_goes_through_the_running_gateway(running: Centre, lang: str, title: str, how: str) -> None:
    eventually(lambda: running.witness.latest("gas-kitchen").get("quality") == "good")
    done = linli("read", "gas-kitchen", "--config", running.daemon.site, lang=lang)
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first == f"{title} (gas-kitchen, gas/yaoan-ya-k300-s) {how}"
    assert "  holding 1: 0 (0x0000)" in rest
    assert "  gas = false" in rest
    assert any(line.startswith("  temperature = ") and line.endswith(" °C") for line in rest)


def test_read_without_a_gateway_opens_the_line_itself(tmp_path: Path, running: Centre) -> None:
    site = tmp_path / "site.toml"
    text = running.daemon.site.read_text("utf-8")
    site.write_text(text.replace(str(running.daemon.socket), str(tmp_path / "none.sock")), "utf-8")
    done = linli("read", "bay-8", "--config", site)
    assert (done.returncode, done.stderr) == (0, "")
    assert "(read directly; the gateway is not running)" in done.stdout


def test_a_gateway_that_runs_but_does_not_answer_keeps_its_lines(tmp_path: Path, running: Centre) -> None:
    """Reading beside it would disturb what it is doing."""
    site, path = tmp_path / "site.toml", tmp_path / "busy.sock"
    text = running.daemon.site.read_text("utf-8")
    site.write_text(text.replace(str(running.daemon.socket), str(path)), "utf-8")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        mute.settimeout(20)

        def hang_up() -> None:
            mute.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        done = linli("read", "bay-8", "--config", site)
        thread.join()
    assert done.returncode == 1
    assert "is running but does not answer" in done.stderr


@pytest.mark.parametrize(
    ("lang", "said"), [("en", "there is no device 'nobody'"), ("zh", "没有设备“nobody”")]
)
def test_read_of_nobody(running: Centre, lang: str, said: str) -> None:
    done = linli("read", "nobody", "--config", running.daemon.site, lang=lang)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", "smoke-hall has no actions of its own; the gateway carries out these:"),
        ("zh", "smoke-hall 自己没有动作；以下由网关执行："),
    ],
)
def test_do_says_when_a_device_can_do_nothing_itself(running: Centre, lang: str, said: str) -> None:
    done = linli("do", "smoke-hall", "--config", running.daemon.site, lang=lang)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(said + "\n")
    assert said not in linli("do", "locker-1", "--config", running.daemon.site, lang=lang).stdout


@pytest.mark.parametrize(
    ("lang", "lock", "said"),
    # A door of its own for each: the first may still be open.
    [("en", 3, "Parcel locker (locker-1) · Open: done"), ("zh", 5, "快递柜 (locker-1) · 开柜：已执行")],
)
def test_do_has_a_device_do_something_and_says_how_it_ended(
    running: Centre, lang: str, lock: int, said: str
) -> None:
    eventually(lambda: running.witness.latest("locker-1").get("quality") == "good")
    site, began = running.daemon.site, time.monotonic_ns()
    done = linli("do", "locker-1", "open", f"lock={lock}", "--yes", "--config", site, lang=lang)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, said, "")
    # By now somebody may have shut it again.
    eventually(
        lambda: any(
            entry["mono"] > began and entry["data"]["values"][f"door.{lock}"]
            for entry in running.witness.find("locker-1", "telemetry", quality="good")
        )
    )
    *_, order = eventually(
        lambda: running.witness.find(
            "locker-1", "event", action="open", status="accepted", origin="console"
        )
    )
    assert order["data"]["by"]
    failed = linli("do", "locker-1", "open", "lock=99", "--yes", "--config", site, lang=lang)
    assert failed.returncode == 1
    assert "99" in failed.stdout
    assert "…" not in failed.stdout
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(("lang", "said"), [("en", "Open"), ("zh", "开柜")])
def test_do_without_an_action_lists_what_a_device_can_do(running: Centre, lang: str, said: str) -> None:
    done = linli("do", "locker-1", "--config", running.daemon.site, lang=lang)
    assert (done.returncode, done.stderr) == (0, "")
    _, first, *others = done.stdout.splitlines()
    assert first.split() == ["open", said, "lock=3"]
    assert any(line.startswith("test ") for line in others)


def test_a_drill_is_asked_of_the_gateway(running: Centre) -> None:
    done = linli("do", "gateway", "drill", "hazard=fire", "--yes", "--config", running.daemon.site)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The gateway")
    eventually(lambda: running.sim.state()["siren"])
    (drill,) = eventually(lambda: running.witness.find("gateway", "alarm", change="raised", mode="drill"))
    over = linli(
        "do", "gateway", "reset", f"alarm={drill['data']['id']}", "--yes", "--config", running.daemon.site
    )
    assert over.returncode == 0
    eventually(lambda: not running.sim.state()["siren"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody", "open", "--yes"], "there is no device 'nobody'"),
        (["loker-1", "open", "--yes"], "did you mean locker-1?"),
        (
            ["locker-1", "dance", "--yes"],
            "there is no action 'dance'; available: acknowledge, book",
        ),
        (["locker-1", "open", "3", "--yes"], "'3' is not an argument: write name=value"),
        (["locker-1", "open", "lock=3"], "confirmation is needed"),
        (["locker-1", "open", "lock=[3]", "--yes"], "the command is not valid"),
        (["locker-1", "open", "--yes"], "missing: lock; the arguments are lock=3"),
        (["locker-1", "open", "locks=3", "--yes"], "there is no argument 'locks'; did you mean lock?"),
        (["smoke-hall", "disable", "point=smoke", "--yes"], "missing: why; the arguments are"),
        (["gateway", "drill", "place=hall", "--yes"], "there is no argument 'place'; available: hazard"),
    ],
)
def test_do_what_makes_no_sense_is_not_done(running: Centre, arguments: list[str], said: str) -> None:
    done = linli("do", *arguments, "--config", running.daemon.site, lang="en")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("answer", "done"), [("n", False), ("", False), ("y", True)])
def test_do_asks_at_a_terminal(running: Centre, answer: str, done: bool) -> None:
    eventually(lambda: running.witness.latest("locker-1").get("quality") == "good")
    near, far = os.openpty()
    command = [sys.executable, "-m", "gateway.cli", "do", "locker-1", "open", "lock=5"]
    with subprocess.Popen(
        [*command, "--config", running.daemon.site],
        stdin=far, stdout=subprocess.PIPE, text=True, env={**os.environ, "LINLI_LANG": "en"},
    ) as asking:  # fmt: skip
        os.write(near, f"{answer}\n".encode())
        said, _ = asking.communicate(timeout=30)
    os.close(near)
    os.close(far)
    assert said.startswith("Parcel locker (locker-1) · Open? [y/N] ")
    assert ("Open: done" in said, "Nothing was done." in said) == (done, not done)
    assert asking.returncode == (0 if done else 1)


@pytest.mark.parametrize(
    ("lang", "said", "lane"), [("en", "pending", "measurements"), ("zh", "待送达", "测量值")]
)
def test_journal_accounts_for_every_stream(running: Centre, lang: str, said: str, lane: str) -> None:
    site = running.daemon.site
    eventually(lambda: running.witness.find("uplink", "event", online=True))
    done = linli("journal", "--config", site, lang=lang)
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows, epoch = done.stdout.splitlines()
    assert head.split()[4] == said
    assert epoch.split()[-1] == running.witness.records()[0][0].epoch
    devices = set(tomllib.loads(site.read_text("utf-8"))["device"])
    assert devices <= {row.split()[1] for row in rows if row.startswith(lane)}


def test_who_came_in_and_who_did_not_is_recorded_and_listed(running: Centre) -> None:
    site, daemon = running.daemon.site, running.daemon.socket
    event = {"event": "login", "address": "192.0.2.7", "by": "王芳", "device": "", "count": 1, "seconds": 0}
    failed = {**event, "event": "login-failed", "by": "", "count": 37, "seconds": 1800}
    for events in ([{**event, "event": "no-such"}], [{**event, "by": "x" * 65}], ["login"], None):
        with pytest.raises(GatewayError):
            asyncio.run(control.call_daemon(daemon, "security", events=events))
    with pytest.raises(GatewayError):
        asyncio.run(control.call_daemon(daemon, "security", events=[event] * (MAX_SECURITY_EVENTS + 1)))
    assert asyncio.run(control.call_daemon(daemon, "security", events=[event, failed])) == {}
    eventually(lambda: running.witness.find("gateway", "event", event="login-failed", count=37))
    assert len(running.witness.find("gateway", "event", address="192.0.2.7")) == 2
    for lang, came_in, turned_away in (
        ("en", "王芳 logged in to the dashboard", "login to the dashboard failed: wrong password or key"),
        ("zh", "王芳 登录看板", "登录看板失败：密码或密钥不对"),
    ):
        done = linli("journal", "--security", "--config", site, lang=lang)
        assert (done.returncode, done.stderr) == (0, "")
        first, second = (line for line in done.stdout.splitlines() if "192.0.2.7" in line)
        assert came_in in first
        assert turned_away in second
        assert second.split()[-1] == "37"
    listed = json.loads(linli("journal", "--security", "--json", "--config", site).stdout)
    assert [each.items() >= event.items() for each in listed if each["address"] == "192.0.2.7"] == [
        True,
        False,
    ]


def test_every_security_event_has_a_sentence() -> None:
    for language in LANGUAGES:
        assert set(SECURITY_EVENTS) == {
            key.removeprefix("security.") for key in words(language) if key.startswith("security.")
        }


def test_journal_as_json_adds_up(running: Centre) -> None:
    done = linli("journal", "--json", "--config", running.daemon.site)
    answer = json.loads(done.stdout)
    assert answer["streams"]
    for stream in answer["streams"]:
        assert stream["stored"] == stream["delivered"] + stream["pending"]
        assert stream["delivered"] >= 0


def test_journal_before_there_is_one(tmp_path: Path, running: Centre) -> None:
    site = tmp_path / "site.toml"
    text = running.daemon.site.read_text("utf-8")
    site.write_text(text.replace(str(running.daemon.journal), str(tmp_path / "none.db")), "utf-8")
    done = linli("journal", "--config", site)
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none.db").exists()


def test_who_has_read_enough_is_no_error() -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    command = [sys.executable, "-W", "error", "-m", "gateway.cli", "asyncapi"]
    done = subprocess.run(command, check=False, cwd=ROOT, stdout=ours, stderr=subprocess.PIPE, text=True)
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, "")
