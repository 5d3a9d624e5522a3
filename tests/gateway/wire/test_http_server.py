"""Requests as devices and attackers write them, byte by byte over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import http_server
from gateway.wire.http_server import HttpRefused, HttpRequest, HttpResponse, serve_http

BODY = b'{"in": 12}'
LENGTH = f"Content-Length: {len(BODY)}"


class Site:
    """A server, and what was asked of it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[tuple[str, str, bytes]] = []

    async def answer(self, request: HttpRequest) -> HttpResponse:
        body = await request.read_body(1000)
        self.requests.append((request.method, "/" + "/".join(request.path), body))
        return HttpResponse(200, {"X-Sent": str(len(body))}, b"thanks")

    async def ask(self, data: bytes, *, hang_up: bool = False) -> bytes:
        """The whole response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        if hang_up:
            writer.write_eof()
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        site = Site(probe.getsockname()[1])
    async with serve_http("127.0.0.1", site.port, site.answer):
        yield site


@pytest.mark.parametrize(
    ("sent", "is_http"),
    [
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", False),
        (b"\x16\n\n", False),
        (b"SSH-2.0-x\r\n\r\n", False),
        (b"@@\0\0\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost", True),
        (b"G", True),
        (b"", True),
        (b"\r\nGET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000, True),
    ],
)
async def test_what_sends_no_http_is_told(sent: bytes, is_http: bool) -> None:
    """At once: who begins with TLS waits for a reply."""
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as probe:
        site = Site(probe.getsockname()[1])
    async with serve_http("127.0.0.1", site.port, site.answer, told.append):
        answer = await site.ask(sent, hang_up=is_http)
    assert told == ([] if is_http else ["127.0.0.1"])
    assert is_http or b" 400 " in answer


def lines(*each: str, end: str = "\r\n") -> bytes:
    return end.join((*each, "", "")).encode("latin-1")


@pytest.mark.parametrize(
    "start",
    [
        "POST /door/east HTTP/1.1",
        "POST http://192.0.2.1:8080/door/east HTTP/1.1",
        "POST HTTP://Gateway_1./door/east HTTP/1.0",
        "POST http://[2001:db8::1]:80/door/east?a=//b#c HTTP/1.1",
        "POST //door//east/ HTTP/1.1",
        "post /door/east HTTP/1.1",
        "POST  /door/east  HTTP/1.1",
        "POST /d%6For/%65ast?x HTTP/1.1",
        "POST /door/east",
    ],
)
@pytest.mark.parametrize(
    "host", ["Host: gateway", "Host:", "host: a.b.:80", "HOST: [::1]:80", "Host: a_b", "X: "]
)
async def test_a_path_is_found_in_a_target_of_any_form(site: Site, start: str, host: str) -> None:
    answer = await site.ask(lines(start, host, LENGTH) + BODY)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"X-Sent: 10\r\n\r\nthanks")
    assert site.requests == [("POST", "/door/east", BODY)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (["content-length: 10"], BODY),
        (["Content-Length:10"], BODY),
        (["Content-Length: 10", "Content-Length: 10"], BODY),
        (["X: a", "  folded", "CONTENT-LENGTH : 10 "], BODY),
        (["Expect: 100-Continue", LENGTH], BODY),
        (["Transfer-Encoding: Chunked"], b'4;name="a"\r\n{"in\r\n006\r\n": 12}\r\n0\r\nTrailer: x\r\n\r\n'),
        (["Transfer-Encoding: chunked"], b'4\n{"in\n6\n": 12}\n0\n\n'),
        (["Transfer-Encoding: gzip, chunked", "Content-Length: 3"], b'A\r\n{"in": 12}\r\n0\r\n\r\n'),
    ],
    ids=str,
)
async def test_a_body_is_read_however_its_length_is_told(
    site: Site, end: str, headers: list[str], body: bytes
) -> None:
    answer = await site.ask(lines("POST / HTTP/1.1", "Host: a", *headers, end=end) + body)
    assert b"HTTP/1.1 200 OK\r\n" in answer
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\n") == ("Expect" in headers[0])
    assert site.requests == [("POST", "/", BODY)]


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("hang_up", [True, False])
async def test_a_body_without_a_length_ends_with_the_connection_or_its_silence(
    site: Site, version: str, hang_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "SILENCE_AFTER_BODY_S", 5 if hang_up else 0.2)
    assert b"200 OK" in await site.ask(lines(f"POST / {version}") + BODY, hang_up=hang_up)
    assert site.requests == [("POST", "/", BODY)]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"SSH-2.0-x\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n: no name\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 40_000, 431),
        (b"POST / HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
        (b"POST / HTTP/1.1\r\n" + b"X: x\r\n" * 10_000, 431),
        (b"POST /" + b"x" * 100_000, 431),
        (b"\r\n" * 20_000, 431),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else str(value),
)
async def test_what_is_no_request_is_refused(site: Site, data: bytes, status: int) -> None:
    assert (await site.ask(data)).split()[1] == str(status).encode()
    assert site.requests == []
    assert b"200 OK" in await site.ask(lines("GET / HTTP/1.1", "Content-Length: 0"))


@given(
    st.binary(max_size=300),
    st.lists(st.sampled_from([b"\n", b":", b" ", b"a", b"B", b"?", b"#", b"//"])),
)
def test_headers_are_read_or_refused(data: bytes, likely: list[bytes]) -> None:
    for text in (data.decode("latin-1"), b"".join(likely).decode()):
        path = http_server._path_of(text)
        assert path in text
        assert not set(path) & set("?#")
        headers: dict[str, str] = {}
        with contextlib.suppress(HttpRefused):
            headers = http_server._parse_headers(text.split("\n"))
        for name, value in headers.items():
            assert name == name.strip().lower() != ""
            assert ":" not in name
            assert value == value.strip()


async def test_a_client_that_leaves_is_no_error(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for data in (b"", b"POST", b"POST / HTTP/1.1\r\n\r\n", lines("POST / HTTP/1.1", LENGTH) + BODY[:3]):
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(data)
        await writer.drain()
        writer.transport.abort()
    await site.ask(lines("POST / HTTP/1.1", LENGTH) + BODY[:3], hang_up=True)
    assert b"200 OK" in await site.ask(lines("HEAD / HTTP/1.1", "Content-Length: 0"))
    assert caplog.records == []


async def test_a_head_request_has_no_body(site: Site) -> None:
    answer = await site.ask(lines("HEAD / HTTP/1.1", "Content-Length: 0"))
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 6\r\n" in answer


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\n", lines("POST / HTTP/1.1", LENGTH) + BODY[:3]])
async def test_who_is_slow_is_disconnected(
    site: Site, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_TIMEOUT_S", 0.2)
    assert await site.ask(sent) == b""


async def test_who_never_reads_the_response_is_disconnected(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(lines("GET / HTTP/1.1", "Content-Length: 0"))
    async with asyncio.timeout(5):
        assert b"thanks" in await reader.read()
        while not writer.transport.is_closing():
            writer.write(b"and on and on")
            await asyncio.sleep(0.01)
    writer.close()
