"""Any record becomes JSON or nothing, any message of a platform a meaning or an error of ours."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.dialect.file import load_dialect
from gateway.model import ClockQuality, GatewayError, Lane, Record, Stamp
from gateway.uplink.declarative.dialect import DeclarativeDialect
from gateway.uplink.declarative.examples import example_dialect, messages_of
from gateway.uplink.dialect import Request

FOLDER = Path(__file__).parents[4] / "config" / "dialects"
NAMES = sorted(file.stem for file in FOLDER.glob("*.toml"))
AT = Stamp(1_796_025_600_000, 1, "boot", ClockQuality.SYNCED)


def shipped(name: str) -> DeclarativeDialect:
    return example_dialect(load_dialect(FOLDER / f"{name}.toml", [FOLDER]))


def devices(dialect: DeclarativeDialect) -> list[str]:
    return [*dialect._devices, "gateway", "gone"]


DIALECTS = {name: shipped(name) for name in NAMES}
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.dictionaries(st.text(min_size=1), st.booleans() | st.integers() | st.floats() | st.text())
bodies = st.dictionaries(
    st.sampled_from(["change", "state", "point", "hazard", "raised", "online", "value", "place", "x"]),
    plain | st.lists(plain) | st.dictionaries(st.text(), plain),
)
stamps = st.builds(
    Stamp,
    st.integers(-(2**62), 2**62),
    st.integers(0, 2**62),
    st.just("boot"),
    st.sampled_from(ClockQuality),
)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_record_gives_json_or_nothing(name: str, data: st.DataObject) -> None:
    dialect = DIALECTS[name]
    lane = data.draw(st.sampled_from(Lane))
    records = data.draw(
        st.lists(
            st.builds(
                Record,
                st.just(lane),
                st.sampled_from(devices(dialect)),
                st.integers(1, 2**40),
                st.sampled_from(["sample", "alarm", "link", "door", "?"]),
                stamps,
                st.builds(lambda body, found: {**body, "values": found}, bodies, values) | bodies,
            ),
            max_size=6,
        )
    )
    for message in messages_of(dialect, records, backfill=data.draw(st.booleans())):
        json.loads(message.payload, parse_constant=_refuse)
        assert message.topic
    for record in records:
        dialect.records_message([record])
        dialect.urgent_message(record)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


documents = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_message_of_a_platform_is_understood_or_refused(name: str, data: st.DataObject) -> None:
    dialect = DIALECTS[name]
    examples = load_dialect(FOLDER / f"{name}.toml").examples
    received = [each["received"] for each in examples if "received" in each]
    topics = [each["topic"] for each in received] or ["x"]
    torn = [each["payload"].encode()[:-2] for each in received] or [b"{}"]
    topic = data.draw(st.sampled_from(topics) | st.text())
    payload = data.draw(
        st.binary() | documents.map(lambda each: json.dumps(each).encode()) | st.sampled_from(torn)
    )
    with contextlib.suppress(GatewayError):
        for meaning in dialect.parse(topic, payload, AT):
            if isinstance(meaning, Request):
                assert meaning.command.device in devices(dialect)


def sample(device: str, seq: int, **values_: object) -> Record:
    return Record(Lane.TELEMETRY, device, seq, "sample", AT, {"quality": "good", "values": values_})


def sent(dialect: DeclarativeDialect, records: list[Record]) -> list[tuple[str, int]]:
    """Device and number of every record, in the order of the groups."""
    return [(record.device, record.seq) for group in dialect.group(records) for record in group]


@pytest.mark.parametrize("name", NAMES)
@given(order=st.lists(st.integers(0, 1), max_size=40))
def test_every_record_is_in_one_group_and_those_of_a_device_in_order(name: str, order: list[int]) -> None:
    dialect = DIALECTS[name]
    known = list(dialect._devices)
    point = {"wfdp-like": "temperature"}.get(name, "x")
    records = [sample(known[which], seq, **{point: seq}) for seq, which in enumerate(order, 1)]
    found = sent(dialect, records)
    assert sorted(found) == sorted((record.device, record.seq) for record in records)
    for device in known:
        numbers = [seq for each, seq in found if each == device]
        assert numbers == sorted(numbers)


def test_a_record_with_too_many_values_becomes_several_messages() -> None:
    dialect = DIALECTS["alink"]
    many = sample("locker", 1, **{f"door.{n}": n % 2 == 0 for n in range(1, 451)})
    messages = messages_of(dialect, [many])
    found: dict[str, object] = {}
    for message in messages:
        (part,) = json.loads(message.payload)["params"]["subDevices"]
        assert len(part["properties"]) <= 200
        found |= part["properties"]
    assert len(messages) == 3
    assert len(found) == 450


def test_limits_are_kept_across_devices() -> None:
    dialect = DIALECTS["alink"]
    records = [sample(device, 1, **{f"p{n}": n for n in range(120)}) for device in ("thermo", "locker")]
    assert [len(group) for group in dialect.group(records)] == [1, 1]
    small = [sample(device, 1, x=1) for device in ("thermo", "locker")]
    assert [len(group) for group in dialect.group(small)] == [2]


def commands(dialect: DeclarativeDialect, payload: dict[str, object], *times: int) -> list[str]:
    """The ids of a command that arrives at these times."""
    found: list[str] = []
    for wall_ms in times:
        at = Stamp(wall_ms, 1, "boot", ClockQuality.SYNCED)
        meanings: Iterable[object] = dialect.parse("v1/gateway/rpc", json.dumps(payload).encode(), at)
        found += [each.command.id for each in meanings if isinstance(each, Request)]
    return found


def test_a_number_that_starts_anew_is_another_command_after_its_lifetime() -> None:
    """ThingsBoard counts its calls from 0 again; within ten seconds it is a repetition."""
    dialect = shipped("thingsboard-gateway")
    call = {"device": "Device B", "data": {"id": 1, "method": "open", "params": {"compartment": 3}}}
    first, repeated, later = commands(dialect, call, 1_000_000, 1_009_000, 1_020_000)
    assert first == repeated != later
    (other,) = commands(dialect, {**call, "device": "Device A"}, 1_000_500)
    assert other != first


def test_what_the_broker_sends_back_is_no_command() -> None:
    dialect = shipped("thingsboard-gateway")
    call = {"device": "Device B", "data": {"id": 1, "method": "open", "params": {}}}
    (request,) = [
        each
        for each in dialect.parse("v1/gateway/rpc", json.dumps(call).encode(), AT)
        if isinstance(each, Request)
    ]
    reply = dialect._answer(request.context[0].reply, request.context[1], request.context[2])
    assert reply.topic == "v1/gateway/rpc"
    assert list(dialect.parse(reply.topic, reply.payload, AT)) == []


def test_an_opening_leaves_out_devices_that_do_not_answer() -> None:
    dialect = shipped("thingsboard-gateway")
    body = {"quality": "offline", "values": {}, "error": "timeout"}
    away = Record(Lane.TELEMETRY, "thermo", 1, "sample", AT, body)
    (step,) = dialect.opening_messages({"thermo": away})
    assert [json.loads(message.payload)["device"] for message in step] == ["Device B"]


@pytest.mark.parametrize(
    ("body", "error", "is_passing"),
    [
        (b'{"code": 0}', "", False),
        (b'{"code": 503, "message": "busy"}', "503 busy", True),
        (b'{"code": 9, "message": "no"}', "9 no", False),
        (b"<html>Log in to the network</html>", "command-form", True),
    ],
)
def test_a_response_over_http_is_the_reply(body: bytes, error: str, is_passing: bool) -> None:
    dialect = shipped("https-json")
    (message,) = messages_of(dialect, [sample("hall", 1, smoke=False)])
    said = dialect.confirm_response(message, body)
    assert (said.reply_id, said.error, said.is_passing) == (message.reply_id, error, is_passing)


OWN = """
schema = "linli/dialect/1"
title = "Acme"
source = "interface 3"
verified = "nothing"
[identity.gateway]
secret = ""
[names]
unlisted = "skip"
[names.points]
temperature = "t"
humidity = "h"
[sign.record]
function = "md5"
text = "{device.name}{record.time:s}{gateway.secret}"
[[telemetry]]
topic = "dev/{device.name}/{value.name}"
payload = '{ "v": "{value}", "sign": "{sign.record}" }'
[[command]]
topic = "down"
id = "{/no}"
sent = "{/time}"
lifetime = 60
device = { name = "{/dev}" }
action = "{/cmd}"
args = "/items"
args_list = ["key", "val"]
[command.arguments]
gk = "compartment:int"
[example]
gateway = { secret = "s" }
[example.devices.d]
kind = "sensor"
"""


def test_each_value_may_be_a_message_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "acme.toml"
    file.write_text(OWN)
    dialect = example_dialect(load_dialect(file))
    messages = messages_of(dialect, [sample("d", 1, temperature=21.5, x=1, humidity=40)])
    signed = hashlib.md5(b"d1796025600s").hexdigest()
    assert [(message.topic, json.loads(message.payload)) for message in messages] == [
        ("dev/d/t", {"v": 21.5, "sign": signed}),
        ("dev/d/h", {"v": 40, "sign": signed}),
    ]
    assert messages_of(dialect, [sample("d", 1, x=1)]) == []


@pytest.mark.parametrize(("time", "expires"), [("2026-11-30 16:00:00", 1_796_025_660_000), ("soon", None)])
def test_a_command_expires_after_it_was_sent(tmp_path: Path, time: str, expires: int | None) -> None:
    file = tmp_path / "acme.toml"
    file.write_text(OWN)
    dialect = example_dialect(load_dialect(file))
    items = [{"key": "gk", "val": "3"}, {"key": "note", "val": None}]
    payload = json.dumps({"no": "n1", "time": time, "dev": "d", "cmd": "open", "items": items}).encode()
    if expires is None:
        with pytest.raises(GatewayError):
            list(dialect.parse("down", payload, AT))
        return
    (request,) = dialect.parse("down", payload, AT)
    assert isinstance(request, Request)
    assert (request.command.expires, request.command.args) == (expires, {"compartment": 3})


def test_a_platform_that_tells_history_apart_also_gets_the_latest_values() -> None:
    latest = [sample("thermo", 5, x=1), sample("locker", 7, x=2)]
    assert list(DIALECTS["thingsboard-gateway"].latest_groups(latest)) == []
    (group,) = DIALECTS["alink"].latest_groups(latest)
    message = DIALECTS["alink"].latest_message(group)
    assert message is not None
    assert message.topic.endswith("pack/post")
    assert message.reply_id == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_gateway_is_no_device_behind_itself(name: str) -> None:
    link = Record(Lane.EVENT, "gateway", 1, "link", AT, {"online": True, "error": ""})
    assert messages_of(DIALECTS[name], [link]) == []
    assert messages_of(DIALECTS[name], [sample("gateway", 1, temperature=1)]) == []


def test_its_other_events_are_sent_before_and_after_a_link() -> None:
    """A rule without conditions: what one kind of record of the gateway became says nothing of another."""
    dialect = shipped("https-json")
    for _ in range(2):
        link = Record(Lane.EVENT, "gateway", 1, "link", AT, {"online": True, "error": ""})
        assert messages_of(dialect, [link]) == []
        (clock,) = messages_of(dialect, [Record(Lane.EVENT, "gateway", 2, "clock", AT, {"changed": 1.5})])
        assert json.loads(clock.payload)["kind"] == "clock"
