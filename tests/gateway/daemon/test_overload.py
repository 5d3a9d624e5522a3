from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.daemon.calls import ControlCalls
from gateway.daemon.gateway import Gateway
from gateway.daemon.loop_lag import LoopLag
from gateway.daemon.overload import MAX_STRETCH, REPORT_DELAY_S, LoadCounters, Overload
from gateway.words import translate
from tests.clock import FakeClock
from tests.gateway.line import FIRE, Rig, a_device, names


def stretches(*intervals: tuple[float, float, int]) -> list[float]:
    """The factor after each interval: the idle part, the missed part, and the windows behind."""
    overload = Overload(FakeClock(), lambda: LoadCounters(0, 0, 0, 0))
    found = []
    for interval in intervals:
        overload.update(*interval)
        found.append(overload.stretch)
    return found


def test_two_intervals_with_missed_polls_stretch_the_periods_by_what_was_missed() -> None:
    assert stretches((0.02, 0.4, 0), (0.02, 0.5, 0)) == pytest.approx([1, 1 / 0.6])
    assert stretches((0.02, 0.5, 0), (0.3, 0, 0), (0.02, 0.5, 0)) == [1, 1, 1]


def test_polls_missed_by_a_slow_line_are_no_overload() -> None:
    assert stretches(*[(0.11, 0.5, 0)] * 10) == [1] * 10


def test_a_busy_loop_that_misses_nothing_is_no_overload() -> None:
    assert stretches(*[(0.0, 0.009, 1)] * 10) == [1] * 10


def test_delivery_that_falls_behind_is_an_overload_and_a_backlog_that_shrinks_is_none() -> None:
    growing = [(0.0, 0.0, rows) for rows in range(100, 120)]
    assert stretches(*growing) == pytest.approx([1.1 ** (n // 2) for n in range(1, 21)])
    assert stretches(*((0.0, 0.0, rows) for rows in range(120, 20, -1))) == [1] * 100
    standing_still = stretches(*[(0.0, 0.0, 100)] * 20)
    assert standing_still[-1] > 2


def test_a_slow_platform_is_no_overload() -> None:
    assert stretches(*((0.5, 0.0, rows) for rows in range(50))) == [1] * 50


def test_it_is_limited_and_ends_within_seconds() -> None:
    overload = [(0.0, 0.99, 0)] * 20
    found = stretches(*overload, *[(0.7, 0.0, 0)] * 10)
    assert max(found) == MAX_STRETCH
    assert found[-1] == 1
    assert all(after <= before for before, after in itertools.pairwise(found[20:]))


def test_without_spare_time_it_stays_as_it_is() -> None:
    found = stretches((0.0, 0.4, 0), (0.0, 0.4, 0), *[(0.049, 0.0, 0)] * 50)
    assert len(set(found[1:])) == 1
    # One quiet interval among busy ones changes nothing.
    quiet = stretches((0.0, 0.4, 0), (0.0, 0.4, 0), *[(0.1, 0, 0), (0.01, 0, 0), (0.01, 0, 0)] * 20)
    assert set(quiet[1:]) == {found[1]}


def test_while_a_backlog_is_delivered_the_periods_become_shorter_only_with_much_time_to_spare() -> None:
    overload = [(0.0, 0.4, 0), (0.0, 0.4, 0)]
    little = stretches(*overload, *((0.29, 0.0, rows) for rows in range(50, 2, -1)))
    assert set(little[1:]) == {little[1]}
    much = stretches(*overload, *((0.31, 0.0, rows) for rows in range(50, 2, -1)))
    assert much[-1] == 1
    delivered = stretches(*overload, *[(0.29, 0.0, 1)] * 3)
    assert delivered[-1] == pytest.approx(delivered[1] * 0.74)


class Loaded(Rig):
    """A line whose polls take all the time that a computer has for them."""

    def __init__(self) -> None:
        self.safety, self.others = names(4, "smoke"), names(100, "other")
        super().__init__(
            *(a_device(name, alarm=FIRE) for name in self.safety), *(a_device(name) for name in self.others)
        )
        self.overload = Overload(self.clock, self._measure)

    def stretch(self) -> float:
        return self.overload.stretch

    def _measure(self) -> LoadCounters:
        counters = self.line.counters
        return LoadCounters(self.clock.mono() - counters.busy_s, counters.polls, counters.missed, 0)

    def set_load(self, load: float) -> None:
        count = len(self.safety) + len(self.others)
        self.bus.latency = dict.fromkeys([*self.safety, *self.others], load / count)

    @contextlib.asynccontextmanager
    async def controlled(self) -> AsyncIterator[None]:
        control = asyncio.create_task(self.overload.run())
        async with self.running():
            yield
        control.cancel()
        await asyncio.wait([control])


@pytest.mark.parametrize("load", [1.1, 1.5, 2.0, 4.0])
async def test_all_but_safety_devices_are_polled_less_often_by_the_same_factor(
    load: float, told: Any
) -> None:
    rig = Loaded()
    async with rig.controlled():
        rig.set_load(0.8)
        await rig.clock.advance(30)
        assert rig.overload.stretch == 1
        rig.set_load(load)
        await rig.clock.advance(30)
        missed, before = rig.line.counters.missed, len(rig.bus.polls)
        await rig.clock.advance(60)
        polls = Counter(name for _, name in rig.bus.polls[before:])
        assert min(polls[name] for name in rig.safety) >= 59
        counts = [polls[name] for name in rig.others]
        assert max(counts) - min(counts) <= 3
        assert polls.total() >= 0.95 * 60 * (len(rig.safety) + len(rig.others)) / load
        assert rig.line.counters.missed - missed <= 0.03 * polls.total()
        assert [key for key in told() if key != "bus-up"] == ["overloaded"]
        rig.set_load(0.3)
        await rig.clock.advance(8)
        assert rig.overload.stretch == 1
        await rig.clock.advance(REPORT_DELAY_S)
        assert [key for key in told() if key != "bus-up"] == ["overloaded", "overload-over"]


async def test_the_doctor_tells_an_overload_in_both_languages() -> None:
    rig = Loaded()
    rig.set_load(2.0)
    async with rig.running():
        await rig.clock.advance(60)
    rig.overload.stretch, rig.overload.is_reported = 1.639, True
    gateway: Any = SimpleNamespace(
        lines={"hall": rig.line},
        jobs=[],
        uplinks={},
        findings=list,
        engine=SimpleNamespace(rows=lambda _: {}),
        clock=rig.clock,
        loop_lag=LoopLag(rig.clock),
        overload=rig.overload,
    )
    gateway.doctor_report = functools.partial(Gateway.doctor_report, gateway)
    report = await ControlCalls(gateway)["doctor"]({})
    (finding,) = report["gateway"]
    assert report["buses"]["hall"]["findings"] == []
    for language in ("zh", "en"):
        assert "1.64" in translate(language, f"doctor.{finding['key']}", **finding["facts"])
    rig.overload.is_reported = False
    report = await ControlCalls(gateway)["doctor"]({})
    assert report["gateway"] == []
    assert [each["key"] for each in report["buses"]["hall"]["findings"]] == ["line-full"]
