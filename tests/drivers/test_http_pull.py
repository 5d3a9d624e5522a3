from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.http_pull import (
    MAX_RESPONSE_BYTES,
    Address,
    Options,
    ResponsePoint,
    connect,
    decode,
    format_raw,
    parse_answer,
)
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
        self.max_replies = 1000
        """On one connection: it is closed at the next request."""
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for number in itertools.count():
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                if number == self.max_replies:
                    break
                self.requests.append(request)
                said = self.says(request)
                if said is not None:
                    writer.write(said)
                    if b"close" in said:
                        break
        if writer.can_write_eof() and not writer.is_closing():
            writer.close()

    def send_everywhere(self, said: bytes) -> None:
        for writer in self._writers:
            writer.write(said)

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server
        await server.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as server:
        yield server


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


async def test_a_counter_is_read_with_one_request(server: Server) -> None:
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


class DigestServer:
    """Lets in who answers its challenge; a nonce is good for `uses` requests."""

    def __init__(
        self, challenge: str, uses: int = 1000, username: str = USER, realm: str = "AXIS_1"
    ) -> None:
        self._username, self._realm = username, realm
        self.headers = (f"Digest {challenge}",)
        self._challenge = challenge
        self._uses = uses
        self._issued = 0
        self._left = 0
        self.refused = 0

    def says(self, request: str) -> bytes:
        authorization = re.search(r"\r\nauthorization: digest (.*)\r\n", request, re.IGNORECASE)
        fields = dict(re.findall(r'(\w+)="?([^",\r]*)', authorization[1])) if authorization else {}
        fresh = f"n{self._issued}="
        if fields.get("nonce") == fresh and self._left and self._is_right(fields):
            self._left -= 1
            return answer(JSON)
        self.refused += 1
        known = fields.get("nonce") == fresh and self._left
        stale = ", stale=TRUE" if "nonce" in fields and not known else ""
        self._issued, self._left = self._issued + 1, self._uses
        nonce = f'nonce="n{self._issued}="'
        headers = (f"WWW-Authenticate: {each.replace('NONCE', nonce)}{stale}" for each in self.headers)
        return answer(b"", "401 Unauthorized", *headers)

    def _is_right(self, fields: dict[str, str]) -> bool:
        algorithm = fields.get("algorithm", "MD5")

        def digest(*parts: str) -> str:
            name = algorithm.upper().removesuffix("-SESS").replace("-", "")
            return hashlib.new(name, ":".join(parts).encode()).hexdigest()

        if ("opaque=" in self._challenge) != ("opaque" in fields):
            return False
        if (fields["username"], fields["realm"]) != (self._username, self._realm):
            return False
        secret = digest(self._username, self._realm, PASSWORD)
        if algorithm.upper().endswith("-SESS"):
            secret = digest(secret, fields["nonce"], fields["cnonce"])
        what = digest("GET", SUM, *([digest("")] if fields.get("qop") == "auth-int" else []))
        proof = (fields["nc"], fields["cnonce"], fields["qop"]) if "qop" in fields else ()
        return fields["response"] == digest(secret, fields["nonce"], *proof, what)


CHALLENGES = [
    'realm="AXIS_1", NONCE, algorithm=MD5, qop="auth"',
    'realm="AXIS_1", NONCE, algorithm=SHA-256, qop="auth", opaque=""',
    'realm="AXIS_1", NONCE, qop="auth,auth-int", opaque="68200001"',
    'realm="AXIS_1", NONCE',
    'realm="AXIS_1", NONCE, algorithm=MD5-sess, qop="auth"',
    'Realm=AXIS_1,NONCE,ALGORITHM="SHA-256-sess",QOP=auth',
    'realm="AXIS_1", NONCE, qop="auth-int"',
]


@pytest.mark.parametrize("challenge", CHALLENGES)
async def test_digest_proves_the_password_without_showing_it(
    server: Server, tmp_path: Path, challenge: str
) -> None:
    asked = DigestServer(challenge)
    server.says = asked.says
    async with bus(server.url, username=USER, password_file=password(tmp_path)) as opened:
        for _ in range(2):
            assert await opened.read(camera()) == {SUM: json.loads(JSON)}
    # The challenge serves for the second reading too.
    assert len(server.requests) == 3
    assert not any(PASSWORD in request for request in server.requests)
    other = tmp_path / "other"
    other.write_text("wrong")
    other.chmod(0o600)
    asked.refused = 0
    assert (await failure(server.url, username=USER, password_file=other)).key == "http-denied"
    assert asked.refused == 2, "a wrong password is not tried again and again"


@pytest.mark.parametrize("challenge", [each for each in CHALLENGES if "-int" not in each])
async def test_the_server_lets_a_foreign_client_in(server: Server, challenge: str) -> None:
    """curl meets the same challenges: the server of these tests is right."""
    server.says = DigestServer(challenge).says
    command = ("curl", "-sS", "-m", "10", "--digest", "-u", f"{USER}:{PASSWORD}", server.url + SUM)
    curl = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert (await curl.communicate())[0] == JSON


@pytest.mark.parametrize(("username", "realm"), [("张三", "AXIS_1"), (USER, "大厅摄像机")])
async def test_names_in_a_login_are_in_utf_8(
    server: Server, tmp_path: Path, username: str, realm: str
) -> None:
    challenge = f'realm="{realm}", NONCE, qop="auth"'
    server.says = DigestServer(challenge, username=username, realm=realm).says
    async with bus(server.url, username=username, password_file=password(tmp_path)) as opened:
        assert await opened.read(camera()) == {SUM: json.loads(JSON)}


async def test_a_stale_nonce_is_replaced(server: Server, tmp_path: Path) -> None:
    server.says = DigestServer(CHALLENGES[0], uses=1).says
    async with bus(server.url, username=USER, password_file=password(tmp_path)) as opened:
        for _ in range(3):
            assert await opened.read(camera())


@pytest.mark.parametrize(
    "headers",
    [
        ('Basic realm="AXIS_1", Digest realm="AXIS_1", NONCE, qop="auth"',),
        ('Digest realm="AXIS_1", NONCE, qop="auth", Basic realm="AXIS_1"',),
        ("Negotiate", 'Basic realm="AXIS_1"', f"Digest {CHALLENGES[0]}"),
        (f"Digest {CHALLENGES[1].replace('SHA-256', 'MD6')}", f"Digest {CHALLENGES[0]}"),
    ],
)
async def test_digest_is_found_among_other_challenges(
    server: Server, tmp_path: Path, headers: tuple[str, ...]
) -> None:
    asked = DigestServer(CHALLENGES[0])
    asked.headers = headers
    server.says = asked.says
    async with bus(server.url, username=USER, password_file=password(tmp_path)) as opened:
        assert await opened.read(camera())


@pytest.mark.parametrize(
    ("auth", "challenge", "offered"),
    [
        ("digest", 'Basic realm="cam"', "basic"),
        ("digest", 'Digest realm="cam", nonce="n", algorithm=MD6', "digest MD6"),
        ("basic", 'Digest realm="cam", nonce="n"', "digest"),
    ],
)
async def test_another_way_to_log_in_is_told_from_a_wrong_password(
    server: Server, tmp_path: Path, auth: str, challenge: str, offered: str
) -> None:
    server.says = lambda request: answer(b"", "401 Unauthorized", f"WWW-Authenticate: {challenge}")
    failed = await failure(server.url, username=USER, password_file=password(tmp_path), auth=auth)
    assert (failed.key, failed.facts["offered"]) == ("http-scheme", offered)
    assert len(server.requests) == 1


SUMMARY = b"""summary.Channel=0\r
summary.EnteredSubtotal.Hour=22\r
summary.EnteredSubtotal.Today=12\r
summary.EnteredSubtotal.Total=1\r
summary.ExitedSubtotal.Today=11\r
summary.RuleName=NumberStat\r
summary.UTC=1615580510\r
"""


async def test_a_dahua_camera_answers_with_lines(server: Server) -> None:
    """As recorded in public programs for `videoStatServer.cgi?action=getSummary`."""
    server.says = lambda request: answer(SUMMARY, "200 OK", "Content-Type: text/plain;charset=utf-8")
    points: Any = load_profile(PROFILE.with_name("dahua-counting.toml")).points
    async with bus(server.url) as opened:
        raw = await opened.read(camera(points))
    assert convert_values(points, decode(points, raw)) == ({"in": 12, "out": 11}, {})
    assert "GET /cgi-bin/videoStatServer.cgi?action=getSummary&channel=1 " in server.requests[0]


@pytest.mark.parametrize(
    ("body", "tree"),
    [
        (b"t.Rule[0].Name=Hall door\nt.Rule[1].Name=",
         {"t": {"Rule": {"0": {"Name": "Hall door"}, "1": {"Name": ""}}}}),
        (b"a.b=1\na.b.c=2\na.d=x=y", {"a": {"b": "1", "d": "x=y"}}),
        (b'{"a.b": 1}', {"a.b": 1}), (b"23.4", 23.4), (b"in=3", {"in": 3}), (b"a.b=1\n<html>", None),
    ],
)  # fmt: skip
def test_lines_of_keys_are_a_tree(body: bytes, tree: Any) -> None:
    if tree is None:
        with pytest.raises(ReadFailed):
            parse_answer(body)
    else:
        assert parse_answer(body) == tree


def test_lines_cost_no_depth() -> None:
    assert format_raw({"/": parse_answer(b"a" + b".a" * 100_000 + b"=1")}).count("{") < 50
    with pytest.raises(ReadFailed, match="message-parts"):
        parse_answer(b"a.b=1\n" * 4000)


@pytest.mark.parametrize(
    ("said", "key"),
    [
        (answer(b"", "401 Unauthorized"), "http-denied"),
        (answer(b"", "403 Forbidden"), "http-denied"),
        (answer(b"", "404 Not Found"), "http-status"),
        (answer(b"", "302 Found", "Location: http://127.0.0.1:1/"), "http-moved"),
        (answer(b"<html>"), "not-json"),
        (answer(b"[" * 1000), "json-deep"),
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


async def test_a_server_that_closes_when_the_login_comes_is_asked_again(
    server: Server, tmp_path: Path
) -> None:
    refusal = answer(b"", "401 Unauthorized", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"')
    server.says = lambda request: answer(JSON) if "Authorization:" in request else refusal
    server.max_replies = 1
    async with bus(server.url, username=USER, password_file=password(tmp_path)) as opened:
        for _ in range(3):
            assert (await opened.read(camera()))[SUM]["in"] == 12
    assert len(server.requests) == 4


async def test_a_reply_that_comes_twice_is_not_that_to_the_next_request(server: Server) -> None:
    server.says = lambda request: 2 * answer(json.dumps({"path": request.split()[1]}).encode())
    points = {name: ResponsePoint(get=f"/{name}", path="path") for name in ("a", "b")}
    async with bus(server.url) as opened:
        for _ in range(2):
            assert decode(points, await opened.read(camera(points))) == {"a": "/a", "b": "/b"}


async def test_a_late_reply_is_not_that_to_the_next_request(server: Server) -> None:
    points = {name: ResponsePoint(get=f"/{name}", path="path") for name in ("a", "b")}
    server.says = lambda request: None
    async with bus(server.url, timeout=0.2) as opened:
        with pytest.raises(ReadFailed, match="timeout"):
            await opened.read(camera({"a": points["a"]}))
        server.send_everywhere(answer(b'{"path": "/a"}'))
        server.says = lambda request: answer(b'{"path": "/b"}')
        assert decode(points, await opened.read(camera({"b": points["b"]}))) == {"b": "/b"}


async def test_the_session_of_a_server_goes_on(server: Server) -> None:
    server.says = lambda request: answer(JSON, "200 OK", "Set-Cookie: session=1")
    async with bus(server.url) as opened:
        for _ in range(2):
            await opened.read(camera())
    assert ["Cookie: session=1" in request for request in server.requests] == [False, True]


async def test_nobody_there_and_no_password_are_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert (await failure(url)).key == "http-away"
    for option, key in (("password_file", "secret-missing"), ("ca_file", "ca-missing")):
        with pytest.raises(LinkDown) as down:
            async with bus(url, **{option: tmp_path / "none"}):
                pass
        assert down.value.key == key


async def test_a_proxy_of_the_environment_is_not_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with bus(server.url) as opened:
        assert await opened.read(camera())
