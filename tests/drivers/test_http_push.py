from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import socket
import subprocess
import time
import zlib
from collections.abc import AsyncIterator, Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import http_push
from drivers.http_push import (
    MAX_BODY_BYTES,
    MAX_CONCURRENT_BODIES,
    Address,
    Options,
    PushListener,
    TreePoint,
    connect,
    decode,
    parse_body,
    split,
)
from gateway.base.security import SECURITY_LOG, SecurityEvent
from gateway.config import load_profile
from gateway.model import ConfigError, Device, LinkDown, ReadFailed
from gateway.wire import http_server
from gateway.wire.codec import convert_values
from gateway.wire.json_text import MAX_OBJECTS
from gateway.wire.readings import has_values
from gateway.words import LANGUAGES, translate
from tests.turns import share_of_allowed, watched_turns

PROFILES = Path(__file__).parents[2] / "config" / "profiles" / "door-counter"
TOKEN, OTHER = "correct-horse-battery", "another-long-token"
JSON = b'{"in": 12, "out": 7}'
SPACES = ("http://www.hikvision.com/ver20/XMLSchema", "http://www.isapi.org/ver20/XMLSchema")


def alert(space: str = SPACES[0], method: str = "realTime", more: str = "", **counts: int) -> bytes:
    counted = "".join(f"<{name}>{count}</{name}>" for name, count in counts.items())
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><EventNotificationAlert version="2.0" xmlns="{space}">'
        f"<eventType>PeopleCounting</eventType><peopleCounting><statisticalMethods>{method}"
        f"</statisticalMethods>{counted}</peopleCounting>{more}</EventNotificationAlert>"
    ).encode()


def points(profile: str) -> dict[str, Any]:
    return load_profile(PROFILES / f"{profile}.toml").points


def door(path: str, secret: Path | None = None, profile: str = "") -> Device:
    return Device(
        name=path.strip("/"),
        title={},
        kind="door-counter",
        profile="",
        bus="doors",
        address=Address(path=path, secret_file=secret),
        points=points(profile) if profile else {"in": TreePoint(path="in"), "out": TreePoint(path="out")},
        every=60.0,
    )


def secret(folder: Path, token: str) -> Path:
    file = folder / token
    file.write_text(f"{token}\n")
    file.chmod(0o600)
    return file


class Site:
    """A listener on a port of its own, and what was heard."""

    def __init__(self, listener: PushListener, port: int) -> None:
        self.port = port
        self.heard: list[tuple[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.listener = listener

    async def hear(self) -> None:
        async for name, raw in self.listener.listen():
            await self.gate.wait()
            self.heard.append((name, raw))

    async def send(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        return reader, writer

    async def ask(self, data: bytes) -> int:
        """The status of the answer, with the connection closed by the server."""
        reader, writer = await self.send(data)
        async with asyncio.timeout(10):
            line = await reader.readline()
            await reader.read()
        writer.close()
        return int(line.split()[1])

    async def post(self, path: str, body: bytes, *headers: str) -> int:
        return await self.ask(request(path, body, *headers))

    async def curl(self, path: str, *arguments: str | Path) -> int:
        process = await asyncio.create_subprocess_exec(
            *("curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", *arguments),
            f"http://127.0.0.1:{self.port}{path}",
            stdout=subprocess.PIPE,
        )
        out, _ = await process.communicate()
        return int(out)


def request(path: str, body: bytes, *headers: str, method: str = "POST") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: gateway", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def basic(password: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'camera:{password}'.encode()).decode()}"


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


@contextlib.asynccontextmanager
async def running(folder: Path, *devices: Device) -> AsyncIterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    options = Options(listen=f"127.0.0.1:{port}", secret_file=secret(folder, TOKEN))
    async with connect(options, devices) as listener:
        site = Site(listener, port)
        task = asyncio.create_task(site.hear())
        yield site
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    own = door("/hall/own", secret(tmp_path, OTHER))
    async with running(tmp_path, door("/east"), own, door("/cam", profile="hikvision-push")) as site:
        yield site


tree = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)


@given(tree, st.lists(st.text(max_size=6), max_size=5))
def test_decoding_never_raises(raw: Any, paths: list[str]) -> None:
    found = {path: TreePoint(path=path, min=0, when={"a": 1}, unless={"b": True}) for path in paths}
    values = decode(found, raw)
    assert all(isinstance(value, bool | int | float | str | None) for value in values.values())
    convert_values(found, values)


@given(st.binary())
def test_a_body_is_a_tree_or_said_to_be_none(body: bytes) -> None:
    for content in (body, b"<a>" + body + b"</a>", b"--x\r\n\r\n" + body + b"\r\n--x--", b"--" + body):
        with contextlib.suppress(ReadFailed):
            values = decode({"a": TreePoint(path="a")}, parse_body(content))
            assert set(values) <= {"a"}
            assert all(isinstance(value, bool | int | float | str | None) for value in values.values())


@pytest.mark.parametrize("space", [*SPACES, "urn:psialliance-org"])
def test_a_camera_counts_whatever_its_namespace(space: str) -> None:
    raw = parse_body(alert(space, enter=15, exit=14))
    assert decode(points("hikvision-push"), raw) == {"in": 15, "out": 14}
    assert not has_values(decode(points("hikvision-push-periods"), raw))


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("boundary", [b"--b", b"--MIME_boundary", b"---------------------7e1397131"])
def test_an_alert_among_pictures_is_found(end: bytes, boundary: bytes) -> None:
    lines = (
        boundary,
        b'Content-Disposition: form-data; name="p"', b"Content-Type: image/jpeg", b"",
        b"\xff\xd8--b\xff\xd9",
        boundary,
        b'Content-Disposition: form-data; name="alert"; filename="alert.xml"', b"Content-Length: 400", b"",
        alert(enter=1, exit=2), boundary + b"--", b"",
    )  # fmt: skip
    assert decode(points("hikvision-push"), parse_body(end.join(lines))) == {"in": 1, "out": 2}


def test_every_alert_of_a_form_is_a_reading() -> None:
    """As a camera sends what it kept while it was offline, with the picture of each."""
    parts = [
        b"Content-Type: application/xml\r\n\r\n" + alert(enter=1, exit=2),
        b"Content-Type: image/jpeg\r\n\r\n\xff\xd8<\xff\xd9",
        b'Content-Type: application/json\r\n\r\n{"eventType": "heartBeat"}',
        b"Content-Type: application/xml\r\n\r\n" + alert(enter=3, exit=4),
    ]
    model, raw = points("hikvision-push"), parse_body(b"\r\n".join(b"--b\r\n" + part for part in parts))
    assert [decode(model, each) for each in split(model, raw)] == [{"in": 1, "out": 2}, {"in": 3, "out": 4}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_json_on_lines_of_their_own_is_a_reading_each(end: str) -> None:
    model = points("generic-webhook")
    raw = parse_body(end.join(f'{{"counts": {{"in": {came}, "out": 0}}}}' for came in (1, 2, 3)).encode())
    assert [decode(model, each)["in"] for each in split(model, raw)] == [1, 2, 3]
    pretty = parse_body(b'{\n"counts": {"in": 1,\n"out": 2}\n}')
    assert split(model, pretty) == [{"counts": {"in": 1, "out": 2}}]


def test_a_form_without_anything_wanted_is_accepted_once() -> None:
    model = points("hikvision-push")
    form = b'--b\r\n\r\n{"a": 1}\r\n--b\r\n\r\n{"a": 2}\r\n--b--'
    assert split(model, parse_body(form)) == [{"a": 1}]


def test_control_characters_in_a_name_cost_nothing() -> None:
    body = alert(enter=15, exit=14).replace(b"<eventType>", b"<name>\x01\x1b[K</name><eventType>", 1)
    assert decode(points("hikvision-push"), parse_body(body)) == {"in": 15, "out": 14}


def test_a_newer_camera_posts_json() -> None:
    body = (
        b'{"ipAddress": "192.0.2.64", "channelID": 1, "dateTime": "2026-11-20T12:27:24+08:00",'
        b' "eventType": "PeopleCounting", "eventState": "active", "channelName": "\xb4\xf3\xcc\xfc",'
        b' "peopleCounting": {"statisticalMethods": "realTime", "enter": 15, "exit": 14},'
        b' "isDataRetransmission": false}'
    )
    assert decode(points("hikvision-push"), parse_body(body)) == {"in": 15, "out": 14, "channel": 1}


def test_json_within_the_root_of_xml_is_read_like_xml() -> None:
    inside = b'{"eventType": "PeopleCounting", "channelID": 1, "peopleCounting":'
    inside += b' {"statisticalMethods": "realTime", "enter": 15, "exit": 14}}'
    wrapped = b'{"EventNotificationAlert": ' + inside + b"}"
    wanted = {"in": 15, "out": 14, "channel": 1}
    known = points("hikvision-push")
    assert decode(known, parse_body(wrapped)) == wanted
    for body in (wrapped, wrapped + b"\n" + wrapped):
        readings = split(known, parse_body(body))
        assert [decode(known, each) for each in readings] == [wanted] * (1 + body.count(b"\n"))
        assert all(known["in"].applies_to(each) for each in readings)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_compressed_body_is_read(pack: Callable[[bytes], bytes]) -> None:
    body = alert(enter=15, exit=14)
    assert parse_body(pack(body)) == parse_body(body)


def test_a_compressed_body_is_bounded_and_a_damaged_one_refused() -> None:
    for body, key in (
        (gzip.compress(bytes(100_000_000)), "push-large"),
        (gzip.compress(b"{}")[:6] + b"\xff" * 9, "push-compressed"),
    ):
        with pytest.raises(ReadFailed) as failed:
            parse_body(body)
        assert failed.value.key == key


@pytest.mark.parametrize(
    "coding", ["utf-8", "utf-8-sig", "gb2312", "gbk", "gb18030", "utf-16", "iso-8859-1"]
)
@pytest.mark.parametrize("said", ["UTF-8", "GB2312", "nonsense", None])
def test_whatever_an_alert_is_written_in(coding: str, said: str | None) -> None:
    name = "Café" if coding == "iso-8859-1" else "大厅"
    text = alert(enter=15, exit=14).decode().partition("?>")[2]
    text = text.replace("<eventType>", f"<channelName>{name} & Garden</channelName><eventType>", 1)
    head = f'<?xml version="1.0" encoding="{said}"?>' if said else ""
    raw = parse_body((head + text).encode(coding))
    assert decode(points("hikvision-push"), raw) == {"in": 15, "out": 14}
    assert raw["channelName"] == f"{name} & Garden" or coding == "iso-8859-1"


def test_published_alerts() -> None:
    """Of three cameras of three years, as they were logged."""
    first = b"""<?xml version="1.0" encoding="UTF-8"?><EventNotificationAlert >
<ipAddress>192.0.2.221</ipAddress><protocolType>HTTP</protocolType><channelID>1</channelID><dateTime>2017-09-01T11:57:40+08:00</dateTime>

<activePostCount>74</activePostCount><eventType>PeopleCounting</eventType><eventState>active</eventState>
<peopleCounting><statisticalMethods>realTime</statisticalMethods><RealTime>
<time>2017-09-03T13:57:35+08:00</time>
</RealTime><enter>167</enter><exit>454</exit><pass>9729</pass></peopleCounting></EventNotificationAlert>"""
    second = b"""<?xml version="1.0" encoding="UTF-8"?>
<EventNotificationAlert version="1.0" xmlns="urn:psialliance-org"><eventType>PeopleCounting</eventType>
<peopleCounting><statisticalMethods>realTime</statisticalMethods><RealTime>
<time>2020-07-09T12:07:07+08:00</time>
</RealTime><enter>70</enter><exit>75</exit><regionsID>1</regionsID></peopleCounting>
<childCounting><enter>0</enter><exit>0</exit></childCounting></EventNotificationAlert>"""
    third = b"""<EventNotificationAlert version="2.0" xmlns="http://www.isapi.org/ver20/XMLSchema">
<eventType>PeopleCounting</eventType><peopleCounting><statisticalMethods>realTime</statisticalMethods>
<enter>15</enter> <exit>14</exit> <duplicatePeople>4</duplicatePeople>
<countingSceneMode>entrance</countingSceneMode>
</peopleCounting><isDataRetransmission>false</isDataRetransmission></EventNotificationAlert>"""
    said = [decode(points("hikvision-push"), parse_body(body)) for body in (first, second, third)]
    assert said == [
        {"in": 167, "out": 454, "time": "2017-09-03T13:57:35+08:00", "channel": 1},
        {"in": 70, "out": 75, "time": "2020-07-09T12:07:07+08:00", "line": 1},
        {"in": 15, "out": 14},
    ]


@pytest.mark.parametrize("model", ["hikvision-push", "hikvision-push-periods"])
@pytest.mark.parametrize(
    ("numbers", "channel"),
    [
        ("<channelID>1</channelID>", 1),
        ("<channelID>2</channelID>", 2),
        ("<dynChannelID>34</dynChannelID>", 34),
        ("<dynChannelID>3</dynChannelID><channelID>2</channelID>", 2),
        ("", None),
    ],
)
def test_a_recorder_says_which_of_its_cameras_counted(
    model: str, numbers: str, channel: int | None
) -> None:
    method = "timeRange" if model.endswith("periods") else "realTime"
    said = decode(points(model), parse_body(alert(method=method, more=numbers, enter=1, exit=2)))
    assert said.get("channel") == channel
    other = numbers.encode() + b"<eventType>VMD</eventType>"
    raw = parse_body(b"<EventNotificationAlert>" + other + b"</EventNotificationAlert>")
    assert not has_values(decode(points(model), raw))


def test_a_line_of_an_xovis_counter() -> None:
    """Its push interface names what it counts: the place in the list is no promise, the name is."""
    counted = {
        name: TreePoint(
            path=f"logics_data.logics.0.records.0.counts.{place}.value",
            when={f"logics_data.logics.0.records.0.counts.{place}.name": wire},
        )
        for name, place, wire in (("in", 0, "fw"), ("out", 1, "bw"))
    }
    body = b"""{"logics_data": {"sensor_info": {"serial_number": "80:1F:12:D4:00:01"}, "logics": [{"id": 1,
        "info": "XLT_4X_LINE_IN_OUT_COUNT", "records": [{"from": "2026-11-20T19:00:00+01:00",
        "to": "2026-11-20T19:01:00+01:00", "counts": [{"id": 1, "name": "fw", "value": 2},
        {"id": 2, "name": "bw", "value": 0}]}]}]}}"""
    assert decode(counted, parse_body(body)) == {"in": 2, "out": 0}
    assert decode(counted, parse_body(body.replace(b'"fw"', b'"xx"'))) == {"in": None, "out": 0}


def records(*numbers: int, of: int = 1_795_983_600_000, **counts: int) -> list[dict[str, Any]]:
    """Records of one minute each; those after the first count nobody."""
    counted = [
        {"id": number, "name": name, "value": value} for number, (name, value) in enumerate(counts.items())
    ]
    nobody = [{**each, "value": 0} for each in counted]
    return [
        {"from": of + number * 60_000, "to": of + number * 60_000 + 60_000, "counts": each}
        for number, each in zip(numbers, [counted, *[nobody] * len(numbers)], strict=False)
    ]


LINES = {"id": 2, "name": "Line 0", "info": "XLT_4X_LINE_IN_OUT_COUNT"}
ZONES = {"id": 1, "name": "Zone 0", "info": "XLT_4X_ZONE_COUNT", "records": records(0, balance=7)}


@pytest.mark.parametrize(
    ("logics", "counted"),
    [
        ([{**LINES, "records": records(0, fw=3, bw=1)}], [(3, 1, 0)]),
        ([{**LINES, "records": records(0, 1, 2, bw=1, fw=3)}], [(3, 1, 0), (0, 0, 1), (0, 0, 2)]),
        ([ZONES, {**LINES, "records": records(1, 0, fw=3, bw=1)}], [(0, 0, 0), (3, 1, 1)]),
        ([{**LINES, "records": []}, {**LINES, "id": 3, "records": records(0, fw=1, bw=2)}], [(1, 2, 0)]),
        ([ZONES], []),
        ([], []),
    ],
)  # fmt: skip
def test_every_record_of_every_line_in_a_push_is_a_reading(
    logics: list[dict[str, Any]], counted: list[tuple[int, int, int]]
) -> None:
    model = points("xovis-push")
    raw = parse_body(msgspec.json.encode({"logics_data": {"logics": logics}}))
    values = [convert_values(model, decode(model, each))[0] for each in split(model, raw)]
    minutes = [
        (each["period_in"], each["period_out"], (int(each["period_start"]) - 1_795_983_600_000) // 60_000)
        for each in values
        if each
    ]
    assert minutes == counted


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>',
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
        b"<a>" * 40,
        b"<a>&b;</a>",
        b"<a><b></a>",
        b"<",
        b"<a xmlns:b='c'><d:e/></a>",
    ],
)
def test_bombs_and_broken_documents_are_refused(body: bytes) -> None:
    with pytest.raises(ReadFailed) as refused:
        parse_body(body)
    assert refused.value.key == "not-xml"
    assert isinstance(refused.value.facts["reason"], dict), "a sentence of ours"


MANY = MAX_OBJECTS + 1
LARGE = http_push.MAX_TEXT_BYTES


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b"<a>" + b"<b/>" * (2 << 20), "push-large"),
        (b"x" * (LARGE + 1), "push-large"),
        (b"<a>" + b"<b/>" * MANY + b"</a>", "message-parts"),
        (b"<a>" + b"&" * LARGE, "push-large"),
        (b"<a>" + b"&amp;" * MANY + b"</a>", "message-parts"),
        (b"<a " + b"a='' " * MANY + b"/>", "message-parts"),
        (b"[" * MANY, "message-parts"),
        (b'{"a": [1, 2]}\n' * MANY, "message-parts"),
        (b"[" + b"{}," * MANY + b"{}]", "message-parts"),
        (b"--\n" * 500_000, "not-json"),
        (b"--b\r\n" + b"\r\n" * 1_000_000, "not-json"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_a_hostile_body_costs_little_time(body: bytes, key: str) -> None:
    started = time.thread_time()
    with pytest.raises(ReadFailed) as refused:
        parse_body(body)
    assert refused.value.key == key
    assert time.thread_time() - started < 0.05


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"PK\x03\x04"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(ReadFailed) as refused:
        parse_body(body)
    assert refused.value.key == "not-json"


async def test_each_way_to_show_the_token_lets_in(site: Site) -> None:
    assert await site.post("/east", JSON, basic(TOKEN)) == 200
    assert await site.post("/east", JSON, bearer(TOKEN)) == 200
    assert await site.post(f"/east/{TOKEN}?a=b", JSON) == 200
    assert await site.post("/hall/own", JSON, bearer(OTHER)) == 200
    east = ("east", {"in": 12, "out": 7})
    assert site.heard == [east, east, east, ("hall/own", {"in": 12, "out": 7})]


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/hall/own/", bearer(OTHER)),
        ("//hall//own", bearer(OTHER)),
        ("/h%61ll/own?channel=1", basic(OTHER)),
        ("http://192.0.2.1:8080/hall/own", basic(OTHER)),
        (f"HTTP://gateway/hall/own/{OTHER}/?a=b", "X: y"),
        ("/hall/own", basic(OTHER).replace("Basic ", "basic  ")),
        ("/hall/own", bearer(OTHER).replace("Authorization: Bearer", "AUTHORIZATION:bearer")),
        ("/hall/own", bearer(OTHER) + " "),
    ],
)
async def test_a_token_is_found_however_it_is_sent(site: Site, path: str, header: str) -> None:
    assert await site.post(path, JSON, header) == 200
    assert len(site.heard) == 1


async def test_who_is_refused_is_told_once_for_each_address(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    SECURITY_LOG.take(every=True)
    for _ in range(3):
        assert await site.post("/east", JSON, bearer("wrong")) == 401
        assert await site.post(f"/west/{TOKEN}", JSON) == 404
        assert await site.ask(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03") == 400
    found = dict(site.listener.notices())
    known = "/east, /hall/own, /cam"
    assert found == {
        "push-token": {"address": "127.0.0.1", "device": "east", "count": 3},
        "push-path": {"address": "127.0.0.1", "path": "/west/…", "known": known, "count": 3},
        "push-invalid": {"address": "127.0.0.1", "count": 3},
    }
    recorded = {msgspec.structs.replace(event, seconds=0) for event in SECURITY_LOG.take(every=True)}
    assert recorded == {
        SecurityEvent("push-token", "127.0.0.1", "", "east", 3, 0),
        SecurityEvent("push-path", "127.0.0.1", "", "", 3, 0),
        SecurityEvent("push-invalid", "127.0.0.1", "", "", 3, 0),
    }
    assert len(caplog.records) == 3
    for language in LANGUAGES:
        for key, facts in found.items():
            assert "127.0.0.1" in translate(language, f"doctor.{key}", **facts)
    assert not any(secret in caplog.text for secret in (TOKEN, "wrong'"))


async def test_the_readings_of_one_message_do_not_hold_the_loop(tmp_path: Path) -> None:
    many = [{**LINES, "records": records(*range(700), fw=3)}]
    body = msgspec.json.encode({"logics_data": {"logics": many}})
    async with running(tmp_path, door("/lines", profile="xovis-push")) as site:

        async def longest_turn_s() -> float:
            site.heard.clear()
            with watched_turns() as turns:
                assert await site.post("/lines", body, bearer(TOKEN)) == 200
            assert len(site.heard) == 700
            return turns.longest_s

        assert await share_of_allowed(longest_turn_s) < 1


async def test_a_flood_of_one_device_delays_no_other(site: Site) -> None:
    """Each body takes the parser as long as a body may."""
    worst = b"[" + b"{}," * (MAX_OBJECTS - 2) + b"{}]"
    flood = [asyncio.create_task(site.post("/east", worst, bearer(TOKEN))) for _ in range(40)]
    others = [await site.post("/hall/own", JSON, bearer(OTHER)) for _ in range(5)]
    assert others == [200] * 5
    assert sum(task.done() for task in flood) <= 20, "they take turns"
    assert await asyncio.gather(*flood) == [400] * 40


async def test_nobody_gets_in_without_the_right_token(site: Site) -> None:
    wrong = ("", basic(""), basic(OTHER), bearer(""), bearer(TOKEN[:-1]), "Authorization: Basic !", "X: y")
    for header in wrong:
        assert await site.post("/east", JSON, *filter(None, [header])) == 401
    for path in ("/east/", f"/east/{OTHER}", "/hall/own/"):
        assert await site.post(path, JSON) == 401
    assert await site.post("/hall/own", JSON, bearer(TOKEN)) == 401
    for path in ("/", "/hall", "/west", f"/{TOKEN}", f"/east/{TOKEN}/x", "*"):
        assert await site.post(path, JSON, bearer(TOKEN)) == 404
    assert await site.ask(request("/east", b"", bearer(TOKEN), method="GET")) == 405
    assert site.heard == []


@pytest.mark.parametrize(("path", "status"), [("/east", 401), ("/west", 404), (f"/east/{TOKEN}", 413)])
async def test_who_sends_much_before_reading_still_learns_why_it_was_refused(
    site: Site, path: str, status: int
) -> None:
    def post() -> int:
        with contextlib.closing(HTTPConnection("127.0.0.1", site.port, timeout=10)) as client:
            client.request("POST", path, b" " * 4_000_000)
            return client.getresponse().status

    assert await asyncio.to_thread(post) == status
    assert site.heard == []


async def test_values_come_as_a_form_or_in_the_url(site: Site) -> None:
    credentials = ("-u", f"camera:{TOKEN}")
    assert await site.curl("/east", *credentials, "-d", "in=1&out=2") == 200
    assert await site.curl("/east", *credentials, "-X", "PUT", "-d", '{"in": 3, "out": 4}') == 200
    assert await site.curl(f"/east/{TOKEN}?in=5&out=6") == 200
    assert await site.curl("/east?in=7&out=8") == 401
    assert await site.curl(f"/east/{TOKEN}") == 405
    assert [raw for _, raw in site.heard] == [{"in": n, "out": n + 1} for n in (1, 3, 5)]


async def test_curl_posts_and_uploads_as_devices_do(site: Site, tmp_path: Path) -> None:
    file, large = tmp_path / "alert.xml", tmp_path / "large"
    file.write_bytes(alert(enter=3, exit=1))
    large.write_bytes(b" " * (MAX_BODY_BYTES + 1))
    own = ("-u", f"camera:{TOKEN}")
    assert await site.curl("/cam", *own, "--data-binary", f"@{file}") == 200
    assert await site.curl("/cam", *own, "-F", f"alert=@{file};type=application/xml") == 200
    assert await site.curl("/cam", *own, "-H", "Expect: 100-continue", "--data-binary", f"@{file}") == 200
    assert (
        await site.curl("/cam", *own, "-H", "Transfer-Encoding: chunked", "-T", file, "-X", "POST") == 200
    )
    assert await site.curl("/cam", *own, "--data-binary", f"@{large}") == 413
    assert await site.curl("/cam", "--data-binary", f"@{large}") == 401
    counted = [decode(points("hikvision-push"), raw) for _, raw in site.heard]
    assert counted == [{"in": 3, "out": 1}] * 4


async def test_what_is_not_meant_to_be_counted_is_taken_politely(site: Site) -> None:
    heartbeat = b"<EventNotificationAlert><eventType>videoloss</eventType></EventNotificationAlert>"
    late = alert(enter=1, exit=1, more="<isDataRetransmission>true</isDataRetransmission>")
    for body in (heartbeat, late, alert(method="timeRange", enter=1, exit=1)):
        assert await site.post("/cam", body, bearer(TOKEN)) == 200
    assert not any(has_values(decode(points("hikvision-push"), raw)) for _, raw in site.heard)
    assert await site.post("/cam", alert(), bearer(TOKEN)) == 422
    assert await site.post("/cam", b"<", bearer(TOKEN)) == 400
    assert [isinstance(raw, ReadFailed) for _, raw in site.heard] == [False, False, False, False, True]


async def test_a_message_with_nothing_that_is_wanted_is_not_sent_for_ever(tmp_path: Path) -> None:
    """Triggers of a counter whose periods are counted: a VS125 in akenza-io/device-type-library."""
    trigger = (
        b'{"device_info":{"device_sn":"6384E16179950009","running_time":58},"line_trigger_data":[{"group":'
        b'{"in":0,"out":0},"total":{"in":27,"out":27},"line":1,"line_name":"Line1"}],"time_info":'
        b'{"dst_status":false,"time":"2024-05-30T20:11:32+08:00","time_zone":"UTC+8:00"}}'
    )
    counter = door("/vs125", secret(tmp_path, TOKEN), "milesight-vs125-push")
    async with running(tmp_path, counter) as site:
        assert await site.post("/vs125", trigger, bearer(TOKEN)) == 200
    (heard,) = site.heard
    assert decode(points("milesight-vs125-push"), heard[1]) == {}


async def test_the_answer_comes_only_when_the_sample_is_taken(site: Site) -> None:
    site.gate.clear()
    reader, writer = await site.send(request("/east", JSON, bearer(TOKEN)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)
    site.gate.set()
    assert (await reader.readline()).split()[1] == b"200"
    assert len(site.heard) == 1
    writer.close()


async def test_what_nobody_takes_in_time_is_not_called_taken(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_TIMEOUT_S", 0.2)
    site.gate.clear()
    for _ in range(2):
        reader, writer = await site.send(request("/east", JSON, bearer(TOKEN)))
        assert await cut(reader) == b""
        writer.close()
    site.gate.set()
    assert await site.post("/east", b'{"in": 1}', bearer(TOKEN)) == 200
    # The first was on its way already; the second had been given up before its turn.
    assert site.heard == [("east", {"in": 12, "out": 7}), ("east", {"in": 1})]


async def cut(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize(
    "start", [b"", b"POST /east HTTP/1.1\r\nX: ", request("/east", JSON, bearer(TOKEN))[:-1]]
)
async def test_who_is_too_slow_is_cut(site: Site, start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_TIMEOUT_S", 0.3)
    reader, writer = await site.send(start)
    assert await cut(reader) == b""
    writer.close()
    assert site.heard == []


async def test_a_crowd_of_silent_connections_keeps_no_device_out(site: Site) -> None:
    crowd = [await site.send(b"POST /east HTTP/1.1\r\n") for _ in range(2 * http_server.MAX_CONNECTIONS)]
    assert await site.post("/east", JSON, bearer(TOKEN)) == 200
    assert await cut(crowd[0][0]) == b""
    for _, writer in crowd:
        writer.close()


async def test_more_bodies_than_are_read_at_once_are_all_read(site: Site) -> None:
    data = request("/east", JSON, bearer(TOKEN))
    assert (
        await asyncio.gather(*(site.ask(data) for _ in range(5 * MAX_CONCURRENT_BODIES)))
        == [200] * 5 * MAX_CONCURRENT_BODIES
    )
    assert len(site.heard) == 5 * MAX_CONCURRENT_BODIES


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /east HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /east HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /east HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000,
        b"POST /" + b"x" * 100_000,
    ],
)
async def test_what_is_no_request_is_refused_and_the_port_stays_open(site: Site, data: bytes) -> None:
    assert 400 <= await site.ask(data) < 500
    assert await site.post("/east", JSON, bearer(TOKEN)) == 200


async def test_a_length_that_is_too_short_costs_that_message_alone(site: Site) -> None:
    whole = request("/east", JSON, bearer(TOKEN))
    short = whole.replace(
        f"Content-Length: {len(JSON)}".encode(), f"Content-Length: {len(JSON) - 3}".encode()
    )
    assert short != whole
    assert await site.ask(short) == 400
    assert await site.post("/east", JSON, bearer(TOKEN)) == 200
    assert [isinstance(raw, ReadFailed) for _, raw in site.heard] == [True, False]


async def test_a_taken_port_and_a_bad_secret_are_told(tmp_path: Path) -> None:
    good, short = secret(tmp_path, TOKEN), secret(tmp_path, "short")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        for file, key in ((good, "http-port"), (short, "secret-short")):
            with pytest.raises(LinkDown) as down:
                async with connect(Options(listen=listen, secret_file=file), (door("/east"),)):
                    pass
            assert down.value.key == key


async def test_a_body_in_tiny_chunks_does_not_hold_the_event_loop(site: Site) -> None:
    head = f"POST /east HTTP/1.1\r\nHost: a\r\n{bearer(TOKEN)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    longest_s = 0.0

    async def measure() -> None:
        nonlocal longest_s
        while True:
            started = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - started)

    task = asyncio.create_task(measure())
    assert await site.ask(head.encode() + b"1\r\n \r\n" * 4000 + b"2\r\n{}\r\n0\r\n\r\n") == 422
    assert await site.ask(head.encode() + b"1\r\n \r\n" * 40_000) == 413
    task.cancel()
    assert longest_s < 0.05


async def test_closing_cuts_whoever_is_connected(tmp_path: Path) -> None:
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with running(tmp_path, door("/east")) as site:
        reader, writer = await site.send(b"POST")
        await site.post("/east", JSON, bearer(TOKEN))
    assert await cut(reader) == b""
    writer.close()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", site.port)
    assert failures == []


def test_two_devices_on_one_path_are_refused_whatever_their_tokens(tmp_path: Path) -> None:
    first, second = door("/north"), door("/north", secret(tmp_path, "another-long-token"))
    options = http_push.Options(listen="127.0.0.1:8088", secret_file=tmp_path / "token")
    with pytest.raises(ConfigError, match="address-twice") as refused:
        http_push.DRIVER.check_device(second, (first,), options)
    assert refused.value.facts == {"other": "north", "bus": "doors"}
    http_push.DRIVER.check_device(second, (door("/south"),), options)
