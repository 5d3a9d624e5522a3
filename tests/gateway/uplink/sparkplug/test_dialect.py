"""Sparkplug B against a host with a codec of another make, through a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.options import SparkplugOptions, UplinkOptions
from gateway.model import (
    Action,
    ClockQuality,
    Device,
    Fact,
    GatewayError,
    Lane,
    Point,
    Record,
    Sample,
    Stamp,
)
from gateway.uplink import NativeDialect, Uplink
from gateway.uplink.dialect import Request
from gateway.uplink.sparkplug import SparkplugDialect
from tests.gateway.uplink.kit import Gateway, eventually, gateway, mosquitto
from tests.ports import free_port

from .codec import Codec, codec
from .host import Host, host

NOW = 1_795_000_000_000
D = Device(
    name="d", title={}, kind="siren", profile="siren/x", bus="b", address=1, every=1.0,
    points={"x": Point(), "siren": Point(bit=1), "temperature": Point(unit="°C")},
    actions={"siren-on": Action()},
)  # fmt: skip
ALARM = {"change": "raised", "state": "active", "point": "x", "hazard": "fire"}


def dialect_of(epoch: str = "e", now: int | None = None, **options: str) -> SparkplugDialect:
    return SparkplugDialect(
        SparkplugOptions(**options),
        "centre",
        {"d": D},
        NativeDialect("centre", epoch),
        client_id="linli-centre",
        actions={"siren-on": False, "open": True, "reset": True},
        others={"other", "dead"},
        selects=lambda device: device != "secret",
        correct_stamp=lambda at: at,
        now=lambda: NOW,
    )


def start(it: Gateway, port: int, **options: str) -> None:
    trust: dict[str, Any] = {"siren-on": "broker", "open": "broker"}
    named = UplinkOptions(
        url=f"mqtt://127.0.0.1:{port}", commands=("siren-on", "open", "reset"), trust=trust
    )
    it.uplink = Uplink(
        "uplink", named, dialect_of(it.journal.epoch, **options), it.journal, it.clock, it.obey, it.sink
    )
    it.task = asyncio.create_task(it.uplink.run())


@contextmanager
def platform(folder: Path) -> Iterator[tuple[int, Host]]:
    port = free_port()
    with mosquitto(folder, port), host(port) as there:
        yield port, there


async def say(it: Gateway, device: str = "d", **values: Any) -> None:
    it.journal.append_sample(Sample(device, it.clock.now(), values))
    await it.close_window()


async def fall_silent(it: Gateway, device: str = "d") -> None:
    it.journal.append_sample(Sample(device, it.clock.now(), error="no-reply"))
    await it.close_window()


def numbers(there: Host) -> list[int]:
    return [each.payload["seq"] for each in there.heard() if each.kind.split("/")[0] in NUMBERED]


NUMBERED = ("NBIRTH", "DBIRTH", "DDATA", "DDEATH")


async def test_a_node_and_its_devices_are_born_before_their_data(tmp_path: Path) -> None:
    with platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            start(it, port)
            await eventually(lambda: there.heard("NBIRTH"))
            await say(it, x=1, siren=False)
            await eventually(lambda: there.heard("DDATA/d"))
            await say(it, "other", t=20.5)
            await eventually(lambda: there.heard("DDATA/other"))
            await say(it, x=2)
            await eventually(it.caught_up)
            await eventually(lambda: there.values("DDATA/d", "x") == [1, 2])
            assert there.kinds() == [
                "NBIRTH", "DBIRTH/d", "DDATA/d", "DBIRTH/other", "DDATA/other", "DDATA/d"
            ]  # fmt: skip
            assert numbers(there) == [0, 1, 2, 3, 4, 5]
            (node,), (birth,) = there.heard("NBIRTH"), there.heard("DBIRTH/d")
            assert {m["name"]: (m["type"], m["value"]) for m in node.payload["metrics"]} == {
                "bdSeq": ("Int64", 0),
                "Node Control/Rebirth": ("Boolean", False),
                "Properties/Version": ("String", node.payload["metrics"][2]["value"]),
                "Command/open": ("String", ""),
                "Command/reset": ("String", ""),
            }
            assert {m["name"]: (m["type"], m["value"]) for m in birth.payload["metrics"]} == {
                "x": ("Int64", 1),
                "siren": ("Boolean", False),
                "temperature": ("Double", None),
                "Command/siren-on": ("Boolean", False),
                "Command/open": ("String", ""),
                "Command/reset": ("String", ""),
            }
            aliases = [
                m["alias"] for each in (node, birth) for m in each.payload["metrics"] if "alias" in m
            ]
            assert len(set(aliases)) == len(aliases) == 10
            data = there.heard("DDATA/d")
            assert all("name" not in metric for each in data for metric in each.payload["metrics"])
            assert {(each.qos, each.retained) for each in there.heard()} == {(0, False)}


async def test_a_death_has_the_number_of_its_birth_and_the_next_another(tmp_path: Path) -> None:
    with platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            start(it, port)
            await say(it, x=1)
            await eventually(lambda: there.values("DDATA/d", "x"))
            assert it.uplink._link
            transport: Any = it.uplink._link._transport
            transport._socket.shutdown(2)  # The broker publishes the will.
            await eventually(lambda: len(there.heard("NBIRTH")) == 2)
            await it.stop()
            # The broker may publish the will after the gateway's own death: the same number again.
            await eventually(lambda: 1 in there.values("NDEATH", "bdSeq"))
            assert there.values("NBIRTH", "bdSeq") == [0, 1]
            assert list(dict.fromkeys(there.values("NDEATH", "bdSeq"))) == [0, 1]
            for each in there.heard("NDEATH"):
                assert "seq" not in each.payload
                assert [metric["name"] for metric in each.payload["metrics"]] == ["bdSeq"]
                assert each.qos == 1


async def test_a_device_dies_when_it_is_silent_and_is_born_when_it_is_back(tmp_path: Path) -> None:
    with platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            start(it, port)
            await fall_silent(it)  # Never heard: nothing dies.
            await say(it, x=1)
            await eventually(lambda: there.heard("DDATA/d"))
            await fall_silent(it)
            await fall_silent(it)
            await eventually(lambda: there.heard("DDEATH/d"))
            await say(it, x=2)
            await eventually(it.caught_up)
            await eventually(lambda: there.values("DDATA/d", "x") == [1, 2])
            assert there.kinds() == [
                "NBIRTH", "DBIRTH/d", "DDATA/d", "DDEATH/d", "DBIRTH/d", "DDATA/d"
            ]  # fmt: skip
            assert numbers(there) == [0, 1, 2, 3, 4, 5]


async def test_history_is_marked_and_the_newest_is_present(tmp_path: Path) -> None:
    """The birth has the newest value; all older ones that follow are history, also of a dead device."""
    with platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            for number in range(5):
                await say(it, x=number)
                await say(it, "dead", y=number)
            await fall_silent(it, "dead")
            start(it, port)
            await eventually(it.caught_up)
            await eventually(lambda: there.heard("DDEATH/dead"))
            metrics = [m for each in there.heard("DDATA/d") for m in each.payload["metrics"]]
            assert [(m["value"], m.get("isHistorical", False)) for m in metrics] == [
                (0, True), (1, True), (2, True), (3, True), (4, False)
            ]  # fmt: skip
            assert there.values("DBIRTH/d", "x") == [4]
            dead = [m for each in there.heard("DDATA/dead") for m in each.payload["metrics"]]
            assert [(m["value"], m["isHistorical"]) for m in dead] == [(n, True) for n in range(5)]
            assert there.values("DBIRTH/dead", "y") == [None]
            assert there.kinds()[-1] in ("DDEATH/dead", "DDATA/d")


async def test_what_has_left_the_site_is_not_born(tmp_path: Path) -> None:
    with platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            await say(it, "gone", x=1)
            del it.journal.latest_samples["gone"]
            start(it, port)
            (heard,) = await eventually(lambda: there.heard("linli/v1/centre/gone/telemetry"))
            assert (heard.qos, heard.payload["records"][0]["data"]["values"]) == (1, {"x": 1})
            await eventually(it.caught_up)
            assert there.kinds() == ["NBIRTH"]


async def test_a_rebirth_says_all_again(tmp_path: Path) -> None:
    with platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            start(it, port)
            await say(it, x=1)
            await eventually(lambda: there.values("DDATA/d", "x"))
            rebirth = {"name": "Node Control/Rebirth", "type": "Boolean", "value": True}
            there.write("", {"metrics": [rebirth]})
            await eventually(lambda: len(there.heard("DBIRTH/d")) == 2)
            await say(it, x=2)
            await eventually(lambda: there.values("DDATA/d", "x") == [1, 2])
            births = [kind for kind in there.kinds() if "CMD" not in kind]
            assert births == ["NBIRTH", "DBIRTH/d", "DDATA/d", "NBIRTH", "DBIRTH/d", "DDATA/d"]
            assert numbers(there) == [0, 1, 2, 0, 1, 2]
            assert there.values("NBIRTH", "bdSeq") == [0, 0]


async def test_nothing_is_sent_while_the_primary_host_is_away(tmp_path: Path) -> None:
    with platform(tmp_path) as (port, there):
        there.state(False, 50)
        async with gateway(tmp_path, window=10) as it:
            start(it, port, primary_host="scada")
            await say(it, x=1)
            await eventually(lambda: it.uplink.offline_error)
            assert it.uplink.offline_error
            assert it.uplink.offline_error.key == "platform-absent"
            there.state(True, 40)  # Older than what it has said last.
            there.state(True, 60)
            await eventually(it.caught_up)
            await eventually(lambda: there.values("DDATA/d", "x") == [1])
            # It was said by the newer state that the birth waited for.
            kinds = [each.kind for each in there.heard() if each.kind != "NDEATH"]
            assert kinds[:4] == ["spBv1.0/STATE/scada"] * 3 + ["NBIRTH"]
            there.state(False, 55)  # Older: of an earlier connection of the host.
            there.state(False, 70)
            await eventually(lambda: it.uplink.offline_error)
            await eventually(lambda: there.heard("NDEATH"))
            await say(it, x=2)
            there.state(True, 80)
            await eventually(lambda: there.values("DDATA/d", "x") == [1, 2])
            assert there.values("NBIRTH", "bdSeq")[0] < there.values("NBIRTH", "bdSeq")[1]
            kinds = [each.kind for each in there.heard()]
            last = len(kinds) - kinds[::-1].index("spBv1.0/STATE/scada") - 1
            assert "DDATA/d" not in kinds[kinds.index("NDEATH") : last]


async def test_alarms_and_events_are_also_native_with_qos_1(tmp_path: Path) -> None:
    with platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            start(it, port)
            await say(it, x=1)
            it.tell(Lane.EVENT, 5)
            it.journal.append("", [Fact(Lane.ALARM, "d", "alarm", it.clock.now(), ALARM)], {})
            await it.journal.commit()
            await eventually(it.caught_up)
            alarm = await eventually(lambda: there.heard("linli/v1/centre/d/alarm"))
            await eventually(lambda: there.values("DDATA/d", "Alarm/x") == ["active"])
            assert (alarm[0].qos, alarm[0].payload["records"][0]["data"]) == (1, ALARM)
            (event,) = await eventually(lambda: there.heard("linli/v1/centre/d/event"))
            assert event.qos == 1
            assert it.uplink.acknowledged_messages[Lane.ALARM] == 1
            of_place = ALARM | {"place": "1-2", "state": "cleared"}
            it.journal.append("", [Fact(Lane.ALARM, "d", "alarm", it.clock.now(), of_place)], {})
            await it.journal.commit()
            await eventually(lambda: there.values("DDATA/d", "Alarm/x/1-2") == ["cleared"])


async def test_a_write_to_an_allowed_action_is_a_command(tmp_path: Path) -> None:
    with platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            start(it, port)
            await say(it, x=1)
            await eventually(lambda: there.values("DDATA/d", "x"))
            aliases = {name: alias for alias, name in there.names().items()}
            sent = it.clock.now().wall_ms
            by_alias = {"alias": aliases["Command/siren-on"], "type": "Boolean", "value": True}
            with_text = {"name": "Command/open", "type": "String", "value": '{"lock": 3}'}
            there.write("d", {"timestamp": sent, "metrics": [by_alias]})
            there.write("d", {"timestamp": sent, "metrics": [with_text]})
            unsigned = {"name": "Command/reset", "type": "String", "value": ""}
            there.write("", {"timestamp": sent, "metrics": [unsigned]})
            await eventually(lambda: len(it.commands) == 3)
            # Messages of different topics may overtake each other.
            found = {each.action: (each.device, each.args, each.objection) for each in it.commands}
            assert found == {
                "siren-on": ("d", {}, ""),
                "open": ("d", {"lock": 3}, ""),
                "reset": ("gateway", {}, "unsigned"),
            }
            assert {each.expires - sent for each in it.commands} == {60_000}
            assert len({each.id for each in it.commands}) == 3


@pytest.mark.parametrize(
    "metric",
    [
        {"name": "x", "type": "Int64", "value": 1},
        {"name": "Command/close", "type": "Boolean", "value": True},
        {"name": "Command/siren-on", "type": "Boolean", "value": False},
        {"name": "Command/siren-on", "type": "Int32", "value": 1},
        {"name": "Command/open", "type": "String", "value": "[3]"},
        {"name": "Command/open", "type": "String", "value": '{"lock": [3]}'},
        {"name": "Node Control/Rebirth", "type": "Boolean", "value": True},
        {"alias": 9999, "type": "Boolean", "value": True},
    ],
    ids=str,
)
def test_other_writes_are_refused(metric: dict[str, Any], foreign: Codec) -> None:
    dialect = dialect_of()
    topic = "spBv1.0/linli/DCMD/centre/d"
    for device, timestamp in (("d", NOW), ("nobody", NOW)):
        payload = foreign.encode({"timestamp": timestamp, "metrics": [metric]})
        with pytest.raises(GatewayError):
            list(dialect.parse(topic.replace("/d", f"/{device}"), payload, stamp()))


def test_a_command_without_a_time_is_refused_and_a_repetition_is_the_same(foreign: Codec) -> None:
    dialect, topic = dialect_of(), "spBv1.0/linli/DCMD/centre/d"
    metric = {"name": "Command/siren-on", "type": "Boolean", "value": True}
    with pytest.raises(GatewayError, match="command-form"):
        list(dialect.parse(topic, foreign.encode({"metrics": [metric]}), stamp()))
    payloads = [foreign.encode({"timestamp": at, "metrics": [metric]}) for at in (NOW, NOW, NOW + 1)]
    requests = [request for each in payloads for request in dialect.parse(topic, each, stamp())]
    ids = [request.command.id for request in requests if isinstance(request, Request)]
    assert ids[0] == ids[1] != ids[2]


@pytest.fixture(scope="module")
def foreign() -> Iterator[Codec]:
    with codec() as running:
        yield running


def stamp(seconds: float = 0.0) -> Stamp:
    return Stamp(NOW, round(seconds * 1e9), "boot", ClockQuality.SYNCED)


def test_a_flood_of_rebirths_is_answered_once_a_second(foreign: Codec) -> None:
    dialect, topic = dialect_of(), "spBv1.0/linli/NCMD/centre"
    rebirth = {"name": "Node Control/Rebirth", "type": "Boolean", "value": True}
    payload = foreign.encode({"timestamp": NOW, "metrics": [rebirth] * 30})
    answers = [message for at in range(100) for message in dialect.parse(topic, payload, stamp(at / 50))]
    assert len(answers) == 2


VALUES = st.booleans() | st.integers() | st.floats() | st.text()


@given(st.lists(st.dictionaries(st.sampled_from(["x", "siren", "new"]), VALUES), max_size=5))
def test_any_values_have_a_type_that_their_birth_names(
    foreign: Codec, samples: list[dict[str, Any]]
) -> None:
    dialect = dialect_of()
    records = [
        Record(Lane.TELEMETRY, "d", n, "sample", stamp(), {"values": values})
        for n, values in enumerate(samples, 1)
    ]
    for record in records:
        message = dialect.records_message([record])
        if message is None:
            assert not record.body["values"]
            continue
        births = [foreign.decode(each.payload) for each in dialect.messages_before(message)]
        if births:
            dialect.number(next(iter(dialect.messages_before(message))))
            types = {m["alias"]: m["type"] for m in births[-1]["metrics"]}
        data = foreign.decode(message.payload)
        assert all(types[metric["alias"]] == metric["type"] for metric in data["metrics"])
