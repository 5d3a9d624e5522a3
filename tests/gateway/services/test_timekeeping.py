"""Timekeeping, by itself and on the way through a real journal and uplink."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.model import ClockQuality, Fact, Lane, Stamp, Tick
from gateway.services.timekeeping import MAX_BOOTS, MAX_DRIFT_MS, Timekeeping, correct_stamp
from gateway.uplink import NativeDialect
from tests.gateway.services.kit import Fold
from tests.gateway.uplink.kit import Shifted, Witness, eventually, gateway, mosquitto, witness
from tests.ports import free_port

NOW = 1_800_000_000_000
UNSET, SET, SYNCED, CORRECTED = (
    ClockQuality.UNSET,
    ClockQuality.SET,
    ClockQuality.SYNCED,
    ClockQuality.CORRECTED,
)


def at(second: float, wall: int, clock: ClockQuality = SYNCED, boot: str = "b") -> Stamp:
    """A moment of a boot whose wall clock stood at `wall` milliseconds when it began."""
    return Stamp(wall + round(second * 1000), round(second * 1e9), boot, clock)


def step(fold: Fold, *moments: Stamp) -> list[Fact]:
    return fold.step(*(Tick(moment, "2027-01-15") for moment in moments))


def test_a_clock_that_is_set_late_corrects_what_it_stamped() -> None:
    fold, early = Fold(Timekeeping()), at(5, 0, UNSET)
    assert step(fold, early, at(6, 0, UNSET)) == []
    assert correct_stamp(fold.rows, early) == early
    (fact,) = step(fold, at(60, NOW, SET))
    assert fact.kind == "clock"
    assert fact.body == {"leap": NOW, "before": UNSET, "clock": SET}
    assert correct_stamp(fold.rows, early) == at(5, NOW, CORRECTED)
    late = at(61, NOW, SET)
    assert correct_stamp(fold.rows, late) == late
    other = at(5, 0, UNSET, "another boot")
    assert correct_stamp(fold.rows, other) == other


@pytest.mark.parametrize("leap", [MAX_DRIFT_MS + 1, -MAX_DRIFT_MS - 1, 3_600_000, -3_600_000, 86_400_000])
def test_a_leap_is_told_once(leap: int) -> None:
    fold = Fold(Timekeeping())
    step(fold, at(1, NOW))
    facts = step(fold, *(at(second, NOW + leap) for second in range(2, 20)))
    assert [fact.body["leap"] for fact in facts] == [leap]


def test_slewing_is_not_told() -> None:
    fold = Fold(Timekeeping())
    assert step(fold, *(at(n, NOW + n * MAX_DRIFT_MS // 1000) for n in range(1000))) == []


def test_the_clock_getting_better_or_worse_is_told() -> None:
    fold = Fold(Timekeeping())
    facts = step(fold, at(1, NOW, SET), at(2, NOW), at(3, NOW), at(4, NOW, SET))
    assert [(fact.body["before"], fact.body["clock"]) for fact in facts] == [(SET, SYNCED), (SYNCED, SET)]


def test_the_oldest_boots_are_forgotten() -> None:
    fold = Fold(Timekeeping())
    for n in range(MAX_BOOTS + 5):
        step(fold, at(1, NOW, boot=f"b{n}"), at(2, NOW, boot=f"b{n}"))
    assert set(fold.rows) == {f"b{n}" for n in range(5, MAX_BOOTS + 5)}


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with mosquitto(tmp_path, port):
        yield port


@pytest.fixture
def seen(port: int) -> Iterator[Witness]:
    with witness(port) as seen:
        yield seen


class Pi(Shifted):
    """A machine whose clock says 1970 until it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.set = False

    def now(self) -> Stamp:
        at = super().now()
        if self.set:
            return Stamp(at.wall_ms, at.mono_ns, at.boot, SET)
        return Stamp(at.mono_ns // 1_000_000, at.mono_ns, at.boot, UNSET)


async def test_what_1970_stamped_arrives_with_the_right_time(
    tmp_path: Path, port: int, seen: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, fold = Pi(), Fold(Timekeeping())
    true: list[int] = []

    def aware(site: str, epoch: str, **_: object) -> NativeDialect:
        return NativeDialect(site, epoch, lambda at: correct_stamp(fold.rows, at))

    monkeypatch.setattr("tests.gateway.uplink.kit.NativeDialect", aware)
    async with gateway(tmp_path, clock=clock) as it:
        step(fold, clock.now())
        for n in range(5):
            true.append(Shifted.now(clock).wall_ms)
            it.measure(n)
            await it.close_window()
        clock.set = True
        step(fold, clock.now())
        it.measure(5)
        it.start(port)
        await eventually(lambda: len(seen.seqs()) == 6)
    records = seen.records()
    assert [record["clock"] for record in records] == ["corrected"] * 5 + ["set"]
    for record, wall in zip(records, true, strict=False):
        assert abs(record["at"] - wall) <= 50


async def test_leaps_of_the_clock_neither_reorder_nor_expire(
    tmp_path: Path, port: int, seen: Witness
) -> None:
    clock = Shifted()
    options: dict[str, Any] = {"thin_after": 1800, "thin_to": 60}
    async with gateway(tmp_path, clock=clock) as it:
        for n, leap in enumerate((0, -3600, 86_400, 0)):
            clock.leap = leap
            for _ in range(10):
                it.measure(n)
                await it.close_window()
        clock.leap = 86_400
        it.start(port, **options)
        for leap in (86_400, -3600, 0):
            clock.leap = leap
            await eventually(it.caught_up)
            for _ in range(10):
                it.measure()
            await it.close_window()
        await eventually(it.caught_up)
        await eventually(lambda: len(seen.seqs()) >= 70)
        assert seen.seqs() == list(range(1, 71))
        assert it.journal.dropped_count == 0
        order = [record["mono"] for record in seen.records()]
        assert order == sorted(order)
        assert {row.dropped.__len__() for row in await it.journal.reader.ledger()} == {0}
        assert (
            sum(row.measured for row in await it.journal.reader.ledger() if row.lane is Lane.TELEMETRY)
            == 70
        )
