"""Strangers' requests between the polls of a line, on a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from gateway.field.polled import MAX_SAFETY_DELAY_PERIODS, SCAN_REQUEST_S
from gateway.model import Bus, FailureKind, GatewayError, LinkDown, ReadFailed
from tests.gateway.line import FIRE, Rig, a_device, names


class Visitor:
    """Somebody who scans: `answer` is what he gets, after `seconds`, or else nobody answers."""

    def __init__(self, rig: Rig, answer: Any = None, seconds: float = 0.03) -> None:
        self._rig = rig
        self._answer = answer
        self._seconds = seconds
        self.times: list[float] = []
        self.results: list[Any] = []

    async def ask(self, bus: Bus) -> Any:
        assert not self._rig.bus.asking, "two transactions overlap"
        self.times.append(self._rig.clock.mono())
        self._rig.bus.asking = "stranger"
        try:
            await self._rig.clock.sleep(self._seconds if self._answer else bus.timeout_s)
        finally:
            self._rig.bus.asking = ""
        if isinstance(self._answer, Exception):
            raise self._answer
        if self._answer is None:
            raise ReadFailed("timeout", FailureKind.TIMEOUT)
        return self._answer

    async def go(self, times: int = 1) -> None:
        for _ in range(times):
            try:
                self.results.append(await self._rig.line.run_scan_request(self.ask))
            except GatewayError as error:
                self.results.append(error.key)


@pytest.mark.parametrize(("count", "every"), [(1, 1.0), (10, 1.0), (20, 1.0), (1, 0.3)], ids=str)
async def test_a_scan_makes_no_safety_device_wait_for_long(count: int, every: float) -> None:
    rig = Rig(*(a_device(name, every, FIRE) for name in names(count)))
    visitor = Visitor(rig)
    usual = rig.bus.timeout_s
    async with rig.running():
        scan = asyncio.create_task(visitor.go(100))
        await rig.clock.advance(60)
        assert scan.done()
        stats = rig.line.counters
        assert (stats.missed, stats.failures) == (0, 0)
    assert visitor.results == ["timeout"] * 100
    assert rig.bus.timeout_s == usual
    for name in names(count):
        gaps = [b - a for a, b in itertools.pairwise(rig.bus.times(name)[1:])]
        # Late by no more than the slack, one visit's overhang and its neighbours' polls.
        assert max(gaps) <= every + MAX_SAFETY_DELAY_PERIODS * every + 0.01 * count + 0.02, name
        assert len(gaps) >= 60 / every - 3


async def test_nobody_is_asked_while_a_late_answer_may_come() -> None:
    rig = Rig(a_device("a", 1.0, FIRE))
    visitor = Visitor(rig)
    async with rig.running():
        scan = asyncio.create_task(visitor.go(10))
        await rig.clock.advance(10)
        assert scan.done()
    moments = sorted([*visitor.times, *rig.bus.times("a")])
    for asked in visitor.times:
        after = [moment for moment in moments if moment > asked]
        assert not after or after[0] - asked >= SCAN_REQUEST_S - 0.001


async def test_what_a_stranger_says_comes_back_and_concerns_nobody_else() -> None:
    rig = Rig(a_device("a"))
    visitor = Visitor(rig, {"says": {}})
    async with rig.running():
        await asyncio.gather(visitor.go(), rig.clock.advance(1))
        assert visitor.results == [{"says": {}}]
        assert rig.line.counters.failures == 0
    assert {sample.device for sample in rig.samples} == {"a"}


async def test_a_line_that_breaks_under_a_visitor_is_opened_again() -> None:
    rig = Rig(a_device("a"))
    visitor = Visitor(rig, LinkDown("line-down"))
    async with rig.running():
        await asyncio.gather(visitor.go(), rig.clock.advance(5))
        assert visitor.results == ["line-down"]
        assert len(rig.bus.opened) == 2
        assert rig.line.counters.is_up


async def test_a_busy_line_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.field.polled.SCAN_REQUEST_TIMEOUT_S", 0.05)
    rig = Rig(a_device("a", 0.1, FIRE))
    visitor = Visitor(rig, {"says": {}})
    async with rig.running():
        scan = asyncio.create_task(visitor.go())
        await rig.clock.advance(5)
        await scan
        # Who has given up is not served later.
        await rig.clock.advance(5)
    assert (visitor.results, visitor.times) == (["scan-busy"], [])


async def test_a_line_that_is_down_or_whose_devices_speak_refuses() -> None:
    rig = Rig(a_device("a"))
    rig.bus.away = LinkDown("line-open")
    visitor = Visitor(rig)
    async with rig.running():
        await visitor.go()
    speaking = Rig(a_device("a"))
    speaking.pushing = asyncio.Queue()
    guest = Visitor(speaking)
    async with speaking.running():
        await guest.go()
    assert (visitor.results, guest.results) == (["line-open"], ["scan-speaks"])
