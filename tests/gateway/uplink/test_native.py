from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import Draft7Validator

from gateway.model import ClockQuality, Command, GatewayError, Lane, Record, Stamp
from gateway.uplink.native import NativeDialect, asyncapi
from tests.gateway.conftest import Centre
from tests.gateway.simulate.conftest import eventually

AT = Stamp(1_795_000_000_000, 1, "boot", ClockQuality.SYNCED)
FINE = {"id": "a", "device": "locker-1", "action": "open", "expires": 1, "args": {"lock": 1}}
HUGE = 10**40
DIALECT = NativeDialect("demo", "epoch")


def parse_command(payload: bytes) -> Command:
    (request,) = DIALECT.parse(DIALECT.command_topics[0], payload, AT)
    return request.command


def test_a_command_in_order() -> None:
    command = parse_command(json.dumps({**FINE, "by": "x" * 100, "later": 1}).encode())
    assert (command.id, command.device, command.action) == ("a", "locker-1", "open")
    assert (command.args, command.expires, command.at) == ({"lock": 1}, 1, AT)
    assert (command.origin, command.by) == ("upstream", "x" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "x" * 65},
        {"id": 1},
        {"device": ""},
        {"device": "a/+/b"},
        {"device": "#"},
        {"device": "locker-1\n"},
        {"device": "x" * 64},
        {"action": ""},
        {"action": "x" * 65},
        {"expires": HUGE},
        {"expires": "soon"},
        {"expires": 1.5},
        {"args": {"lock": HUGE}},
        {"args": {"lock": -HUGE}},
        {"args": {"lock": [1]}},
        {"args": {"lock": "x" * 257}},
        {"args": [1]},
        {"later": "x" * 10_000},
    ],
    ids=str,
)
def test_a_command_that_could_not_be_kept_or_told_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refused:
        parse_command(json.dumps({**FINE, **change}).encode())
    assert refused.value.key == "command-form"


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"null", b'{"id": "\xff"}', b'{"x": ' + b"[" * 8000], ids=repr
)
def test_what_is_no_command_is_refused(payload: bytes) -> None:
    with pytest.raises(GatewayError):
        parse_command(payload)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*FINE, "by"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_bytes_are_a_command_or_refused(payload: bytes) -> None:
    command = None
    with contextlib.suppress(GatewayError):
        command = parse_command(payload)
    if command is None:
        return
    assert 0 < len(command.id) <= 64
    assert len(command.device) > 0
    assert not set(command.device) & set("+#")
    assert command.origin == "upstream"
    stored = msgspec.msgpack.encode(command)
    assert msgspec.msgpack.decode(stored, type=Command) == command


DOCUMENT = Path(__file__).parents[3] / "gateway" / "uplink" / "native.asyncapi.json"


def test_the_document_is_what_the_code_says() -> None:
    assert json.loads(DOCUMENT.read_text("utf-8")) == asyncapi()


def test_the_document_is_asyncapi_3() -> None:
    schema = json.loads(Path(__file__).with_name("asyncapi-3.0.0.json").read_text("utf-8"))
    errors = Draft7Validator(schema).iter_errors(asyncapi())
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_every_message_is_as_the_document_says(running: Centre) -> None:
    """Topic to channel to payload, for all that the witness of a running gateway has seen."""
    running.command("documented", "locker-1", "reboot")
    running.reply("documented")
    eventually(lambda: running.witness.latest("fridge-1"))
    document = asyncapi()
    components = document["components"]
    seen = set()
    for topic, message in running.witness.messages():
        if not topic.startswith("linli/"):
            continue
        (channel,) = (
            name for name, channel in document["channels"].items() if _fits(topic, channel["address"])
        )
        (kind,) = document["channels"][channel]["messages"].values()
        payload = components["messages"][kind["$ref"].rpartition("/")[2]]["payload"]
        if channel != "command":  # What others send may be wrong on purpose.
            Draft202012Validator({"components": components, **payload}).validate(message)
        seen.add(channel)
    assert {"telemetry", "event", "command", "reply", "status"} <= seen


def _fits(topic: str, address: str) -> bool:
    pairs = list(zip(topic.split("/"), address.split("/"), strict=False))
    return topic.count("/") == address.count("/") and all(a == b or b.startswith("{") for a, b in pairs)


@pytest.mark.parametrize("several", [False, True])
def test_what_was_recorded_in_memory_is_sent_under_the_epoch_that_numbered_it(several: bool) -> None:
    dialect = NativeDialect("demo", "disk", several_streams=several)
    records = [
        Record(Lane.TELEMETRY, device, seq, "sample", AT, {}, epoch)
        for seq, epoch in ((7, ""), (1, "memory"), (8, ""))
        for device in ("a", "b")
    ]
    sent = []
    for group in dialect.group(records):
        message = json.loads(dialect.records_message(group).payload)
        for stream in message.get("streams", [message]):
            numbers = [entry["seq"] for entry in stream["records"]]
            sent.append((message["epoch"], stream["device"], numbers))
    assert sorted(sent) == [("disk", "a", [7, 8]), ("disk", "b", [7, 8]),
                            ("memory", "a", [1]), ("memory", "b", [1])]  # fmt: skip
