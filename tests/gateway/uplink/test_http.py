"""Delivery by HTTP POST, to the standard library's server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.config.options import UplinkOptions
from gateway.model import Lane
from gateway.uplink import NativeDialect, Uplink
from tests.gateway.uplink.kit import Gateway, eventually, gateway

ALARM, EVENT, TELEMETRY = Lane


class Platform:
    """Stores what is posted. `statuses` are given first, then 200; None: hangs up without a response."""

    def __init__(self, port: int = 0) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.logins: set[str | None] = set()
        self.statuses: list[int | None] = []
        self.refuse: dict[str, int] = {}
        """The status for what contains a text."""
        lock = threading.Lock()
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    status = platform.statuses.pop(0) if platform.statuses else 200
                    for text, refused in platform.refuse.items():
                        status = refused if text.encode() in body else status
                    if status is None:
                        self.close_connection = True
                        return
                    platform.logins.add(self.headers.get("Authorization"))
                    if status == 200:
                        platform.posted.append((self.path, json.loads(body)))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def seqs(self, lane: str = "telemetry", device: str = "d") -> list[int]:
        return [
            record["seq"]
            for path, payload in list(self.posted)
            if path == f"/linli/v1/centre/{device}/{lane}"
            for record in payload["records"]
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def platform() -> Iterator[Platform]:
    platform = Platform()
    try:
        yield platform
    finally:
        platform.close()


def start(it: Gateway, port: int, **options: Any) -> Uplink:
    chosen = UplinkOptions(url=f"http://127.0.0.1:{port}", **options)
    dialect = NativeDialect("centre", it.journal.epoch)
    it.uplink = Uplink("uplink", chosen, dialect, it.journal, it.clock, it.obey, it.sink)
    it.task = asyncio.create_task(it.uplink.run())
    return it.uplink


async def test_everything_arrives_in_order(tmp_path: Path, platform: Platform) -> None:
    async with gateway(tmp_path) as it:
        start(it, platform.port)
        for n in range(50):
            it.measure(n)
            it.tell(ALARM, n)
            await asyncio.sleep(0)
        await it.journal.commit()
        await eventually(lambda: platform.seqs() == platform.seqs("alarm") == list(range(1, 51)))
        await eventually(it.caught_up)
    assert platform.posted[-1] == ("/linli/v1/centre/status", {"online": False})


async def test_what_was_not_answered_is_sent_again(tmp_path: Path, platform: Platform) -> None:
    platform.statuses = [200, None, 503, None, 429]
    async with gateway(tmp_path) as it:
        start(it, platform.port)
        for n in range(20):
            it.tell(ALARM, n)
            await it.journal.commit()
        await eventually(it.caught_up, 40)
        assert sorted(set(platform.seqs("alarm"))) == list(range(1, 21))
        assert it.journal.dead_letter_count == 0


async def test_a_record_that_the_platform_refuses_costs_no_other(
    tmp_path: Path, platform: Platform
) -> None:
    platform.refuse = {'"x":13': 422}
    async with gateway(tmp_path) as it:
        for n in range(20):
            it.tell(EVENT, n)
        await it.journal.commit()
        start(it, platform.port)
        await eventually(lambda: it.journal.dead_letter_count and it.caught_up(), 40)
        await it.journal.commit()
        (letter,) = await it.journal.reader.dead_letters()
        assert (letter.seq, letter.reason) == (14, "format")
        told = [n for n in range(1, 22) if n != 14]
        await eventually(lambda: sorted(set(platform.seqs("event"))) == told)


async def test_a_platform_that_is_not_there_is_said_to_be_and_found_again(
    tmp_path: Path, platform: Platform
) -> None:
    port = platform.port
    platform.close()
    async with gateway(tmp_path) as it:
        uplink = start(it, port)
        it.tell(ALARM)
        await it.journal.commit()
        await eventually(lambda: uplink.offline_error)
        assert uplink.offline_error
        assert uplink.offline_error.key == "platform-port-closed"
        again = Platform(port)
        try:
            await eventually(lambda: again.seqs("alarm") == [1], 30)
        finally:
            await it.stop()
            again.close()


@pytest.mark.parametrize("how", ["token", "password"])
async def test_the_gateway_logs_in(tmp_path: Path, platform: Platform, how: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    options = {"token_file": secret} if how == "token" else {"username": "me", "password_file": secret}
    async with gateway(tmp_path) as it:
        start(it, platform.port, **options)
        it.measure()
        await eventually(lambda: platform.seqs() == [1])
    assert platform.logins == {"Bearer hunter2" if how == "token" else "Basic bWU6aHVudGVyMg=="}
