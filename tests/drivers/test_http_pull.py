from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.http_pull import MAX_RESPONSE_BYTES, Address, Options, ResponsePoint, connect, decode
from gateway.config import load_profile
from gateway.model import Bus, Device, LinkDown, ReadFailed
from gateway.wire.codec import convert_values

PROFILE = Path(__file__).parents[2] / "config" / "profiles" / "door-counter" / "axis-tvpc.toml"
SUM = "/local/tvpc/.api?live-sum.json"
JSON = b'{"serial": "00408CAC512B", "timestamp": "20170503112756", "in": 12, "out": 318}'
USER, PASSWORD = "reader", "p:ä ss"


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


class Server:
    """A camera: what it is asked, and what it says (None: nothing, it hangs)."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[str] = []
        self.says: Callable[[str], bytes | None] = lambda request: answer(JSON)
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(request)
                said = self.says(request)
                if said is not None:
                    writer.write(said)
                    if b"close" in said:
                        break
        if writer.can_write_eof() and not writer.is_closing():
            writer.close()

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server
        await server.close()


def camera(points: dict[str, Any] | None = None) -> Device:
    return Device(
        name="door",
        title={},
        kind="door-counter",
        profile="",
        bus="axis",
        address=Address(),
        points=points or load_profile(PROFILE).points,
        every=1.0,
    )


def password(folder: Path) -> Path:
    file = folder / "password"
    file.write_text(PASSWORD, "utf-8")
    file.chmod(0o600)
    return file


@contextlib.asynccontextmanager
async def bus(url: str, **options: Any) -> AsyncIterator[Bus]:
    async with connect(Options(url=url, **{"timeout": 5.0, **options}), (camera(),)) as opened:
        assert isinstance(opened, Bus)
        yield opened


async def failure(url: str, **options: Any) -> ReadFailed:
    async with bus(url, **options) as opened:
        with pytest.raises(ReadFailed) as failed:
            await opened.read(camera())
    return failed.value


tree = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)


@given(st.dictionaries(st.sampled_from(["/a", "/b"]), tree), st.lists(st.text(max_size=6), max_size=5))
def test_decoding_never_raises(raw: Any, paths: list[str]) -> None:
    points = {path: ResponsePoint(get="/a", path=path, min=0) for path in paths}
    values = decode(points, raw)
    assert all(isinstance(value, bool | int | float | str) for value in values.values())
    convert_values(points, values)


async def test_a_counter_is_read_with_one_request_over_one_connection(server: Server) -> None:
    async with bus(server.url) as opened:
        for _ in range(3):
            raw = await opened.read(camera())
            assert decode(camera().points, raw) == {"in": 12, "out": 318}
    assert [request.split("\r\n")[0] for request in server.requests] == [f"GET {SUM} HTTP/1.1"] * 3


async def test_points_of_several_answers(server: Server) -> None:
    points = {name: ResponsePoint(get=f"/{name}", path="list.0") for name in ("a", "b")}
    server.says = lambda request: answer(b'{"list": [%d]}' % (1 if "GET /a " in request else 2))
    async with bus(server.url) as opened:
        assert decode(points, await opened.read(camera(points))) == {"a": 1, "b": 2}


async def test_basic_shows_the_password(server: Server, tmp_path: Path) -> None:
    wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    server.says = lambda request: answer(JSON if f"Basic {wanted}\r\n" in request else b"", "200 OK")
    async with bus(server.url, username=USER, password_file=password(tmp_path), auth="basic") as opened:
        assert await opened.read(camera())


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_digest_proves_the_password_without_showing_it(
    server: Server, tmp_path: Path, algorithm: str
) -> None:
    def digest(text: str) -> str:
        return hashlib.new(algorithm.replace("-", ""), text.encode()).hexdigest()

    def says(request: str) -> bytes:
        fields = dict(re.findall(r'(\w+)="?([^",\r]+)', request.partition("Digest ")[2]))
        secret = digest(f"{USER}:AXIS_1:{PASSWORD}")
        parts = (fields.get(key, "") for key in ("nonce", "nc", "cnonce", "qop"))
        if fields.get("response") == digest(f"{secret}:{':'.join(parts)}:{digest(f'GET:{SUM}')}"):
            return answer(JSON)
        challenge = f'Digest realm="AXIS_1", nonce="n1", algorithm={algorithm}, qop="auth"'
        return answer(b"", "401 Unauthorized", f"WWW-Authenticate: {challenge}")

    server.says = says
    async with bus(server.url, username=USER, password_file=password(tmp_path)) as opened:
        for _ in range(2):
            assert await opened.read(camera()) == {SUM: json.loads(JSON)}
    # The challenge serves for the second reading too.
    assert len(server.requests) == 3
    assert not any(PASSWORD in request for request in server.requests)
    other = tmp_path / "other"
    other.write_text("wrong")
    other.chmod(0o600)
    assert (await failure(server.url, username=USER, password_file=other)).key == "http-denied"


@pytest.mark.parametrize(
    ("said", "key"),
    [
        (answer(b"", "401 Unauthorized"), "http-denied"),
        (answer(b"", "403 Forbidden"), "http-denied"),
        (answer(b"", "404 Not Found"), "http-status"),
        (answer(b"", "302 Found", "Location: http://127.0.0.1:1/"), "http-status"),
        (answer(b"<html>"), "not-json"),
        (answer(b"[" * 100_000), "json-deep"),
        (answer(b"\x1f\x8b" + bytes(50), "200 OK", "Content-Encoding: gzip"), "not-json"),
        (answer(b" " * (MAX_RESPONSE_BYTES + 1)), "http-large"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"ff\r\n%255s\r\n" % b"" * (MAX_RESPONSE_BYTES // 255 + 1),
            "http-large",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000, "http-away"),
        (b"SSH-2.0-dropbear\r\n\r\n", "http-away"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{", "http-away"),
    ],
)
async def test_what_is_no_reading_is_said_to_be_none(server: Server, said: bytes, key: str) -> None:
    server.says = lambda request: said
    assert (await failure(server.url)).key == key


@pytest.mark.parametrize("said", [None, b"HTTP/1.1 200 OK\r\n", answer(JSON)[:-1]])
async def test_a_server_that_hangs_costs_no_more_than_the_timeout(
    server: Server, said: bytes | None
) -> None:
    server.says = lambda request: said
    assert (await failure(server.url, timeout=0.2)).key in ("timeout", "http-away")


async def test_a_server_that_trickles_costs_no_more_than_the_timeout(server: Server) -> None:
    """Each byte is soon enough; all of them together are not."""

    ended = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.transport.abort()
        await asyncio.sleep(0)
        ended.set()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(5):
            assert (await failure(url, timeout=0.3)).key == "timeout"
            await ended.wait()


async def test_a_connection_that_was_closed_meanwhile_is_opened_again(server: Server) -> None:
    server.says = lambda request: answer(JSON, "200 OK", "Connection: close")
    async with bus(server.url) as opened:
        for _ in range(2):
            assert await opened.read(camera())


async def test_nobody_there_and_no_password_are_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert (await failure(url)).key == "http-away"
    for option in ("password_file", "ca_file"):
        with pytest.raises(LinkDown) as down:
            async with bus(url, **{option: tmp_path / "none"}):
                pass
        assert down.value.key == "secret-unreadable"


async def test_a_proxy_of_the_environment_is_not_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with bus(server.url) as opened:
        assert await opened.read(camera())
