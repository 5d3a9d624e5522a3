"""Brokers that do not offer everything, or refuse something: the alarm arrives all the same, what is
missing is said once, and what was refused is tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.model import Lane
from gateway.uplink import lanes
from gateway.uplink import uplink as uplink_module
from gateway.wire import restrictions
from tests.gateway.uplink.broker import Broker, broker
from tests.gateway.uplink.kit import ROOT, eventually, gateway, mosquitto, witness
from tests.ports import free_port

ALARM, EVENT, TELEMETRY = Lane
QOS_0, RETAIN = 0, 1


@pytest.fixture
async def taker() -> AsyncIterator[Broker]:
    async with broker() as taker:
        yield taker


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(uplink_module, "MAX_SHORT_CONNECTIONS", 100)
    monkeypatch.setattr(lanes, "MIN_HELD_RETRY_S", 0.1)
    monkeypatch.setattr(uplink_module, "STATUS_RETRY_S", 0.1)
    monkeypatch.setattr(restrictions, "MIN_RETRY_S", 0.5)
    return


def restricted(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "[broker-restricted" in record.getMessage()]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("retain_available false",), 1),
        (("max_qos 0",), 1),
        (("max_qos 1",), 0),
        (("max_qos 0", "retain_available false"), 2),
        (
            (
                "max_inflight_messages 1",
                "max_topic_alias 0",
                "max_keepalive 10",
                "persistent_client_expiration 1h",
            ),
            0,
        ),
    ],
)
async def test_a_broker_that_offers_less_gets_the_alarm(
    tmp_path: Path, lines: tuple[str, ...], told: int, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    with mosquitto(tmp_path, port, *lines), witness(port) as seen:
        async with gateway(tmp_path, port) as it:
            it.tell(ALARM)
            it.measure()
            await it.close_window()
            await eventually(lambda: it.caught_up() and seen.seqs("alarm") == [1] and seen.seqs() == [1])
            assert it.transitions == [True]
            assert len(restricted(caplog)) == told
            assert len(it.uplink.notices()) == told


REFUSALS = {
    "no retained will": lambda connect: 0x9A if connect.retains_will else 0,
    "no will above QoS 0": lambda connect: 0x9B if connect.will_qos else 0,
    "neither": lambda connect: 0x9A if connect.retains_will else 0x9B if connect.will_qos else 0,
    "a will that is not allowed": lambda connect: 0x87 if connect.has_will else 0,
    "MQTT 3.1.1 only": lambda connect: 1 if connect.version == 5 else 0,
    "MQTT 3.1.1 only, without an answer": lambda connect: None if connect.version == 5 else 0,
    "3.1.1 without retain, without an answer": lambda connect: (
        None if connect.version == 5 or connect.retains_will else 0
    ),
    "3.1.1 without a will, without an answer": lambda connect: (
        None if connect.version == 5 or connect.has_will else 0
    ),
    "3.1.1 with client ids of letters and digits only": lambda connect: (
        1 if connect.version == 5 else 0 if connect.client_id.isalnum() else 2
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_it_connects_with_what_the_broker_accepts(
    tmp_path: Path, taker: Broker, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    taker.answer = REFUSALS[refusal]
    async with gateway(tmp_path, taker.port) as it:
        it.tell(ALARM)
        await it.journal.commit()
        await eventually(lambda: taker.records("alarm"))
        assert it.transitions == [True], "found within one attempt"
        attempts = len(taker.connects)
        taker.cut_all()
        await eventually(lambda: it.transitions == [True, False, True])
        assert len(taker.connects) - attempts <= 2, "remembered"
        assert len(restricted(caplog)) <= 2
        assert {record.split("  [")[0] for record in restricted(caplog)} == set(restricted_texts(caplog))


def restricted_texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Each is logged once."""
    texts = [record.split("  [")[0] for record in restricted(caplog)]
    assert len(texts) == len(set(texts))
    return texts


async def test_a_broker_that_was_upgraded_is_asked_for_everything_again(
    tmp_path: Path, taker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restrictions, "UPGRADE_S", 0.0)
    taker.answer = lambda connect: 1 if connect.version == 5 else 0
    async with gateway(tmp_path, taker.port) as it:
        await eventually(lambda: it.transitions == [True])
        assert [connect.version for connect in taker.connects] == [5, 4]
        (notice,) = it.uplink.notices()
        assert notice[0] == "restriction"
        assert notice[1]["reason"]["sentence"] == "error.broker-without-version-5"
        taker.answer = lambda _: 0
        taker.cut_all()
        await eventually(lambda: it.transitions == [True, False, True])
        assert taker.connects[-1].version == 5
        assert it.uplink.notices() == []


async def test_at_qos_0_what_the_broker_has_read_counts_as_delivered(tmp_path: Path, taker: Broker) -> None:
    taker.properties = b"\x24\x00"
    async with gateway(tmp_path, taker.port) as it:
        it.tell(ALARM)
        await it.journal.commit()
        await eventually(it.caught_up)
        assert taker.flags[f"{ROOT}/d/alarm"] == QOS_0
        assert taker.records("alarm") == [("alarm", "d", 1)]


async def test_a_publish_with_retain_that_costs_the_connection_is_sent_without(
    tmp_path: Path, taker: Broker
) -> None:
    """As some brokers before MQTT 5 do, which cannot say so."""
    taker.answer = lambda connect: 1 if connect.version == 5 else 0
    taker.cut = lambda topic: taker.flags.get(topic, 0) & RETAIN == RETAIN
    async with gateway(tmp_path, taker.port) as it:
        it.tell(ALARM)
        await it.journal.commit()
        await eventually(lambda: (f"{ROOT}/status", {"online": True}) in taker.taken and it.caught_up())
        assert taker.records("alarm") == [("alarm", "d", 1)]


async def test_a_broker_that_closes_at_qos_1_gets_the_alarm_at_qos_0(
    tmp_path: Path, taker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """Small brokers of MQTT 3.1.1 support QoS 0 only, and have no other way to say so."""
    taker.answer = lambda connect: 1 if connect.version == 5 else 0
    taker.closes_on_qos_1 = True
    async with gateway(tmp_path, taker.port) as it:
        it.tell(ALARM)
        it.tell(EVENT)
        await it.journal.commit()
        await eventually(it.caught_up, 40)
        assert taker.records("alarm") == [("alarm", "d", 1)]
        told = [facts["reason"]["sentence"] for kind, facts in it.uplink.notices() if kind == "restriction"]
        assert told == ["error.broker-without-version-5", "error.broker-without-qos"]


async def test_a_topic_that_costs_connections_does_not_lower_the_quality_of_service(
    tmp_path: Path, taker: Broker
) -> None:
    taker.answer = lambda connect: 1 if connect.version == 5 else 0
    taker.cut = lambda topic: topic != f"{ROOT}/e/alarm"
    async with gateway(tmp_path, taker.port) as it:
        it.tell(ALARM)
        it.tell(ALARM, 1, "e")
        await it.journal.commit()
        await eventually(lambda: taker.records("alarm"), 40)
        taker.cut = lambda _: False
        await eventually(it.caught_up, 40)
        it.tell(ALARM, 2, "e")
        await it.journal.commit()
        await eventually(lambda: ("alarm", "e", 2) in taker.records(), 40)
        assert taker.flags[f"{ROOT}/e/alarm"] & 6 == 2


TOPICS = ("status", "d/alarm", "d/event", "d/telemetry", "latest")


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("name", TOPICS)
async def test_one_refused_topic_costs_no_other(
    tmp_path: Path, taker: Broker, name: str, closes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    refused = f"{ROOT}/{name}"
    if closes:
        taker.cut = lambda topic: topic == refused
    else:
        taker.denied = {refused: 0x87}
    async with gateway(tmp_path, taker.port) as it:
        for device in ("d", "e"):
            for n in range(3):
                it.tell(ALARM, n, device)
                it.tell(EVENT, n, device)
                it.measure(n, device)
            await it.close_window()
        accepted = {
            (lane, device, seq)
            for device in ("d", "e")
            for lane in ("alarm", "event", "telemetry")
            for seq in (1, 2, 3)
            if name != f"{device}/{lane}"
        }
        await eventually(lambda: accepted <= set(taker.records()), 40)
        if name != "latest":
            await eventually(lambda: restricted(caplog), 40)
        connections = taker.connections
        it.tell(ALARM, 4, "e")
        await it.journal.commit()
        await eventually(lambda: ("alarm", "e", 4) in taker.records(), 20)
        if not closes:
            assert connections == taker.connections == 1
        assert all(refused in line for line in restricted(caplog))
        assert len(restricted(caplog)) <= 1
        taker.cut = lambda _: False
        taker.denied = {}
        await eventually(lambda: it.caught_up() and it.uplink.notices() == [], 40)
        dead = {(letter.device, letter.lane) for letter in await it.journal.reader.dead_letters()}
        assert not dead or (closes and len(dead) == 1)


@pytest.mark.parametrize("closes", [False, True])
async def test_an_account_that_may_only_publish_works(
    tmp_path: Path, taker: Broker, closes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    command = f"{ROOT}/command"
    if closes:
        taker.cut = lambda topic: topic == command
    else:
        taker.denied = {command: 0x87}
    async with gateway(tmp_path, taker.port) as it:
        it.tell(ALARM)
        await it.journal.commit()
        await eventually(it.caught_up)
        await eventually(lambda: len(restricted(caplog)) == 1 and it.uplink.is_online)
        assert command in restricted(caplog)[0]
        tried = taker.filters.count(command)
        await eventually(lambda: taker.filters.count(command) > tried, 20)
        taker.cut = lambda _: False
        taker.denied = {}
        await eventually(lambda: it.uplink.is_online and it.uplink.notices() == [], 20)


async def test_where_no_commands_are_allowed_nothing_is_subscribed(tmp_path: Path, taker: Broker) -> None:
    taker.cut = lambda topic: topic == f"{ROOT}/command"
    async with gateway(tmp_path, taker.port, commands=()) as it:
        it.tell(ALARM)
        await it.journal.commit()
        await eventually(it.caught_up)
        assert taker.filters == []
        assert taker.connections == 1


async def test_a_device_that_may_not_report_does_not_stop_the_others_of_its_lane(
    tmp_path: Path, taker: Broker
) -> None:
    taker.denied = {f"{ROOT}/d/telemetry": 0x87}
    async with gateway(tmp_path, taker.port) as it:
        for n in range(100):
            it.measure(n, "d")
            it.measure(n, "e")
            await it.close_window()
        await eventually(lambda: ("telemetry", "e", 100) in taker.records(), 20)
        taker.denied = {}
        await eventually(it.caught_up, 20)
        await it.journal.commit()
        letters = await it.journal.reader.dead_letters()
        assert {letter.reason for letter in letters} == {"denied"}
        arrived = {seq for lane, device, seq in taker.records("telemetry") if device == "d"}
        assert arrived | {letter.seq for letter in letters} == set(range(1, 101))
        assert taker.connections == 1


async def test_a_client_that_takes_over_is_named(
    tmp_path: Path, taker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(tmp_path, taker.port, client_id="same") as it:
        await eventually(lambda: it.transitions == [True])
        taker.disconnect_all(0x8E)
        await eventually(lambda: False in it.transitions)
    (down, *_) = [r.getMessage() for r in caplog.records if "[uplink-down" in r.getMessage()]
    assert "“same”" in down


async def test_a_command_can_follow_the_word_that_it_is_online(tmp_path: Path, taker: Broker) -> None:
    said: list[str] = []

    def listen(topic: str) -> bool:
        said.append(topic)
        return False

    taker.cut = listen
    async with gateway(tmp_path, taker.port):
        await eventually(lambda: f"{ROOT}/status" in said)
    assert f"{ROOT}/command" in said[: said.index(f"{ROOT}/status")]
