"""What the broker will not take: found, put aside, and told of, with nothing lost around it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.model import ClockQuality, Lane, Record, Stamp
from gateway.uplink import lanes
from gateway.uplink import uplink as uplink_module
from gateway.uplink.lanes import (
    MAX_BLAME_DELAY_S,
    MAX_LOST_CONNECTIONS,
    MAX_SINGLE_SENDS,
    PoisonDetector,
    Thinning,
)
from gateway.wire import mqtt
from tests.gateway.uplink.broker import Broker, broker
from tests.gateway.uplink.kit import ROOT, Gateway, eventually, gateway, mosquitto, witness
from tests.ports import free_port

ALARM, EVENT, TELEMETRY = Lane
MARK = "poison!"
LANE_NAMES = [lane.name.lower() for lane in Lane]


@pytest.fixture
async def taker() -> AsyncIterator[Broker]:
    async with broker() as taker:
        yield taker


def put(it: Gateway, lane: Lane, value: object) -> None:
    if lane is TELEMETRY:
        it.measure(value)
    else:
        it.tell(lane, value)


async def fill(it: Gateway, lane: Lane, count: int, bad: int) -> None:
    """A backlog of that many records in each lane, one of which is bad, a row each ten."""
    for n in range(1, count + 1):
        for each in Lane:
            put(it, each, MARK if (each, n) == (lane, bad) else n)
        if n % 10 == 0:
            await it.close_window()


def missing(taker: Broker, lane: Lane, count: int) -> set[int]:
    name = lane.name.lower()
    return set(range(1, count + 1)) - {seq for _, _, seq in taker.records(name)}


def gaps(taker: Broker) -> list[tuple[str, int, int, str]]:
    return [
        (data["lane"], data["first"], data["last"], data["reason"])
        for _, payload in taker.taken
        for record in payload.get("records", ())
        if record["kind"] == "gap"
        for data in [record["data"]]
    ]


async def buried(it: Gateway) -> list[tuple[Lane, int, str]]:
    return [(letter.lane, letter.seq, letter.reason) for letter in await it.journal.reader.dead_letters()]


@pytest.mark.parametrize("lane", Lane)
async def test_a_poison_record_is_found_and_nothing_else_is_lost(
    tmp_path: Path, taker: Broker, lane: Lane
) -> None:
    taker.poison = MARK.encode()
    async with gateway(tmp_path) as it:
        await fill(it, lane, 400, 222)
        it.start(taker.port)
        await eventually(lambda: it.journal.dead_letter_count and it.caught_up(), 30)
        await eventually(lambda: gaps(taker))
        await it.journal.commit()
        assert await buried(it) == [(lane, 222, "poison")]
        assert gaps(taker) == [(lane.name.lower(), 222, 222, "dead")]
        for other in Lane:
            assert missing(taker, other, 400) == ({222} if other is lane else set())
        assert taker.connections <= 6
        ledger = {row.lane: row for row in await it.journal.reader.ledger()}
        assert ledger[lane].dropped == {"dead": 1}


async def test_the_newest_sample_may_be_poison(
    tmp_path: Path, taker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the message about the present is poison too, and no record may pay for it."""
    monkeypatch.setattr(uplink_module, "MAX_DOUBLINGS_AFTER_CONNECTION", 0)
    taker.poison = MARK.encode()
    async with gateway(tmp_path) as it:
        await fill(it, TELEMETRY, 100, 100)
        it.start(taker.port)
        await eventually(lambda: it.journal.dead_letter_count and it.caught_up(), 30)
        await it.journal.commit()
        assert await buried(it) == [(TELEMETRY, 100, "poison")]
        for lane in Lane:
            assert missing(taker, lane, 100) == ({100} if lane is TELEMETRY else set())


async def test_live_poison_is_found(tmp_path: Path, taker: Broker) -> None:
    taker.poison = MARK.encode()
    async with gateway(tmp_path, taker.port) as it:
        for n in range(1, 200):
            put(it, TELEMETRY, MARK if n == 50 else n)
            await asyncio.sleep(0.01)
        await eventually(lambda: it.journal.dead_letter_count and it.caught_up(), 30)
        await it.journal.commit()
        assert await buried(it) == [(TELEMETRY, 50, "poison")]
        assert missing(taker, TELEMETRY, 199) == {50}


async def test_random_breaks_condemn_nobody(
    tmp_path: Path, taker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "MAX_DOUBLINGS_AFTER_CONNECTION", 0)
    async with gateway(tmp_path) as it:
        await fill(it, TELEMETRY, 300, 0)
        it.start(taker.port)
        for n in range(10):
            await eventually(lambda: it.uplink.is_online)
            await asyncio.sleep(0.003 * n)
            if n % 2:  # Three breaks in a row during one message are no accident.
                before = len(taker.taken)
                await eventually(lambda before=before: len(taker.taken) > before + 5 or it.caught_up())
            taker.cut_all()
            await eventually(lambda: not it.uplink.is_online)
            if n % 3 == 0:
                await fill(it, TELEMETRY, 50, 0)
        await eventually(it.caught_up, 30)
        await it.journal.commit()
        assert await buried(it) == []
        for lane in Lane:
            assert missing(taker, lane, 500) == set()


async def test_a_broker_that_acknowledges_nothing_condemns_nobody(
    tmp_path: Path, taker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "RESPONSE_TIMEOUT_S", 0.5)
    taker.mute = True
    async with gateway(tmp_path, taker.port) as it:
        await fill(it, TELEMETRY, 100, 0)
        await eventually(lambda: taker.connections >= 4, 20)
        taker.mute = False
        await eventually(it.caught_up, 30)
        assert it.journal.dead_letter_count == 0
        for lane in Lane:
            assert missing(taker, lane, 100) == set()


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with mosquitto(tmp_path, port, "max_packet_size 2000"):
        yield port


async def test_messages_are_kept_below_the_brokers_limit(tmp_path: Path, narrow: int) -> None:
    devices = [f"device-{n}" for n in range(40)]
    with witness(narrow) as seen:
        async with gateway(tmp_path) as it:
            for n in range(100):
                for device in devices:
                    it.measure(n, device)
                it.measure("x" * 5000 if n == 50 else n)
                await it.close_window()
            it.start(narrow)
            await eventually(it.caught_up)
            await eventually(lambda: len(seen.seqs("event")) == 1)
            await it.journal.commit()
            await seen.caught_up()
            assert it.transitions == [True], "no connection is lost to it"
            assert await buried(it) == [(TELEMETRY, 51, "oversize")]
            assert seen.seqs() == [n for n in range(1, 102) if n != 51][:99]
            assert all(seen.seqs(device=device) == list(range(1, 101)) for device in devices)
            told = {record["device"] for message in seen.on("latest") for record in message["records"]}
            assert told == {*devices, "d"}


@pytest.mark.parametrize("lane", Lane)
async def test_a_record_refused_for_its_form_is_buried(tmp_path: Path, taker: Broker, lane: Lane) -> None:
    taker.refuse, taker.code = MARK.encode(), 0x99
    async with gateway(tmp_path) as it:
        await fill(it, lane, 100, 33)
        it.start(taker.port)
        await eventually(lambda: it.journal.dead_letter_count and it.caught_up(), 30)
        await it.journal.commit()
        await eventually(lambda: gaps(taker))
        assert await buried(it) == [(lane, 33, "format")]
        assert taker.connections <= 2
        for other in Lane:
            assert missing(taker, other, 100) == ({33} if other is lane else set())


@pytest.mark.parametrize("code", [0x97, 0x87])
async def test_a_refusal_that_may_pass_loses_nothing(
    tmp_path: Path, taker: Broker, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MIN_HELD_RETRY_S", 0.1)
    taker.refuse, taker.code = b"records", code
    async with gateway(tmp_path) as it:
        await fill(it, TELEMETRY, 50, 0)
        it.start(taker.port)
        await eventually(lambda: all(taker.refused[f"{ROOT}/d/{name}"] > 2 for name in LANE_NAMES))
        assert taker.connections == 1
        assert it.journal.deliveries["uplink"].positions == dict.fromkeys(Lane, 0)
        taker.refuse = b""
        await eventually(it.caught_up, 20)
        assert it.journal.dead_letter_count == 0
        for lane in Lane:
            assert missing(taker, lane, 50) == set()


async def test_a_silent_broker_is_owed_four_alarms_four_events_and_twelve_of_telemetry(
    tmp_path: Path, taker: Broker
) -> None:
    limits = {"alarm": 4, "event": 4, "telemetry": 12}

    def owed(found: Counter[str]) -> dict[str, int]:
        return {lane: found[lane] for lane in limits}

    taker.hold = True
    async with gateway(tmp_path) as it:
        for n in range(60):
            it.measure(n, f"d{n}")
            it.tell(ALARM, n, f"d{n}")
            it.tell(EVENT, n, f"d{n}")
        await it.close_window()
        it.start(taker.port)
        await eventually(lambda: owed(taker.owed) == limits)
        taker.release()
        await eventually(it.caught_up)
        assert owed(taker.most_owed) == limits, "nor were more ever under way until all had come"


async def test_no_more_is_under_way_than_the_broker_allows(tmp_path: Path, taker: Broker) -> None:
    taker.receive_maximum = 5
    async with gateway(tmp_path) as it:
        for _ in range(10):
            for n in range(30):
                it.measure(n, f"d{n}")
                it.tell(ALARM, n)
            await it.close_window()
        it.start(taker.port)
        await eventually(it.caught_up, 30)
        assert 3 <= taker.most <= 5
        assert missing(taker, ALARM, 300) == set()
        assert Counter(device for _, device, _ in taker.records("telemetry")) == {
            f"d{n}": 10 for n in range(30)
        }


async def test_an_older_broker_is_spoken_to_in_its_own_version(tmp_path: Path, taker: Broker) -> None:
    taker.answer = lambda connect: 1 if connect.version == 5 else 0
    async with gateway(tmp_path, taker.port) as it:
        await fill(it, TELEMETRY, 20, 0)
        await eventually(lambda: it.transitions[-1:] == [True] and it.caught_up())
        assert [connect.version for connect in taker.connects] == [5, 4]
        for lane in Lane:
            assert missing(taker, lane, 20) == set()


def aged(seq: int, second: float, boot: str = "boot", clock: ClockQuality = ClockQuality.SET) -> Record:
    at = Stamp(round(second * 1000), round(second * 1e9), boot, clock)
    return Record(TELEMETRY, "d", seq, "sample", at, {})


def test_thinning_chooses_the_same_however_its_batches_fall() -> None:
    records = [aged(n + 1, n * 7.0) for n in range(200)]
    now = aged(0, 10_000).at
    whole, _ = Thinning(100, 60).split_records(records, now)
    for size in (1, 7, 32):
        thinning, kept = Thinning(100, 60), list[Record]()
        for start in range(0, 200, size):
            batch = records[start : start + size]
            some, lost = thinning.split_records(batch, now)
            again, lost_again = thinning.split_records(batch, aged(0, 20_000).at)
            assert (again, lost_again) == (some, lost), "another connection, another choice"
            thinning.remove_acknowledged(some)
            kept += some
        assert kept == whole
    assert set(Counter(record.at.mono_ns // 60_000_000_000 for record in whole).values()) == {1}


def test_thinning_goes_by_no_clock_that_leaps() -> None:
    records = [aged(n + 1, n) for n in range(100)]
    leapt = Stamp(10**15, 100 * 10**9, "boot", ClockQuality.SYNCED)
    assert Thinning(3600, 60).split_records(records, leapt) == (records, [])
    unset = [aged(n + 1, n, "old", ClockQuality.UNSET) for n in range(100)]
    assert Thinning(3600, 60).split_records(unset, leapt) == (unset, [])
    old = [aged(n + 1, n, "old") for n in range(100)]
    kept, lost = Thinning(3600, 60).split_records(old, leapt)
    assert [record.seq for record in kept] == [1, 61]
    assert len(lost) == 98


def suspects(*numbers: int) -> tuple[list[Record], float]:
    """A message in flight with these records, sent just now."""
    return [aged(n, n) for n in numbers], 0.0


def test_a_record_is_convicted_at_exactly_the_third_connection_that_it_ends() -> None:
    detector = PoisonDetector()
    good, bad = suspects(1), suspects(2)
    detector.record_lost_connection([good, bad], closed_by_broker=True)
    assert detector.must_send_singly
    assert not detector.is_suspect(bad[0][0]), "so far it may have been any of them"
    for _ in range(MAX_LOST_CONNECTIONS - 1):
        detector.record_acknowledgement(good[0])
        detector.record_lost_connection([bad], closed_by_broker=True)
        assert detector.is_suspect(bad[0][0])
        assert not detector.is_poison(bad[0][0])
    detector.record_lost_connection([bad], closed_by_broker=True)
    assert detector.is_poison(bad[0][0])
    assert not detector.is_poison(good[0][0])
    assert not detector.must_send_singly, "the others go on as before"


@pytest.mark.parametrize(
    ("in_flight", "closed_by_broker"),
    [
        ([suspects(2), suspects(3)], True),
        ([suspects(2)], False),
        ([(suspects(2)[0], MAX_BLAME_DELAY_S + 0.1)], True),
        ([], True),
    ],
    ids=["two in flight", "the line broke", "long after it was sent", "nothing in flight"],
)
def test_a_connection_that_ends_otherwise_convicts_nobody(
    in_flight: list[tuple[list[Record], float]], closed_by_broker: bool
) -> None:
    detector = PoisonDetector()
    for _ in range(5 * MAX_LOST_CONNECTIONS):
        detector.record_lost_connection(in_flight, closed_by_broker=closed_by_broker)
    for record in (aged(2, 2), aged(3, 3)):
        assert not detector.is_suspect(record)
        assert not detector.is_poison(record)


def test_who_is_acknowledged_is_acquitted() -> None:
    detector = PoisonDetector()
    bad = suspects(2)
    for _ in range(MAX_LOST_CONNECTIONS):
        detector.record_lost_connection([bad], closed_by_broker=True)
    detector.record_acknowledgement(bad[0])
    assert not detector.must_send_singly
    for _ in range(MAX_LOST_CONNECTIONS):
        detector.record_lost_connection([bad], closed_by_broker=True)
        assert not detector.is_poison(bad[0][0])


def test_a_suspect_that_never_comes_again_does_not_slow_the_lanes_for_ever() -> None:
    detector = PoisonDetector()
    detector.record_lost_connection([suspects(1)], closed_by_broker=True)
    for n in range(MAX_SINGLE_SENDS):
        assert detector.must_send_singly, n
        detector.record_acknowledgement(suspects(2 + n)[0])
    assert not detector.must_send_singly
