from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from gateway.field import polled
from gateway.model import FailureKind, Quality, ReadFailed, Sample
from tests.gateway.line import FIRE, Rig, a_device, names


async def test_each_device_is_asked_at_its_own_phase_and_pace() -> None:
    rig = Rig(*(a_device(name, every=10) for name in names(40)))
    async with rig.running():
        await rig.clock.advance(100)
    for name in names(40):
        times = rig.bus.times(name)[1:]
        assert len(times) == pytest.approx(10, abs=1)
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx(
            [10] * (len(times) - 1), abs=0.2
        )
    # Spread over the period: no second of it has more than a third of them.
    crowd = Counter(int(rig.bus.times(name)[2] % 10) for name in names(40))
    assert max(crowd.values()) < 14
    assert len(crowd) >= 8


async def test_the_phases_are_the_same_at_every_start() -> None:
    polls = []
    for _ in range(2):
        rig = Rig(*(a_device(name, every=3) for name in names(5)))
        async with rig.running():
            await rig.clock.advance(10)
        polls.append(rig.bus.polls)
    assert polls[0] == polls[1]


async def test_everything_is_asked_within_a_second_of_the_start() -> None:
    rig = Rig(*(a_device(name, every=3600) for name in names(10)))
    async with rig.running():
        await rig.clock.advance(1.2)
    assert {sample.device for sample in rig.samples} == set(names(10))


@pytest.mark.parametrize(("crowd", "latency"), [(10, 0.2), (2, 0.6)])
async def test_polls_that_were_left_out_are_counted(crowd: int, latency: float) -> None:
    rig = Rig(*(a_device(name) for name in names(crowd)))
    rig.bus.latency = dict.fromkeys(names(crowd), latency)
    async with rig.running():
        await rig.clock.advance(120)
    assert rig.line.counters.missed + rig.line.counters.polls == pytest.approx(120 * crowd, rel=0.03)
    assert rig.line.counters.busy_s == pytest.approx(len(rig.bus.polls) * latency, abs=1)


async def test_a_dead_device_is_offline_after_three_failures_and_asked_ever_less(told: Any) -> None:
    rig = Rig(a_device("dead"), a_device("well"))
    rig.bus.answers["dead"] = ReadFailed("timeout", FailureKind.TIMEOUT, unit=1)
    async with rig.running():
        await rig.clock.advance(1000)
        times = rig.bus.times("dead")
        assert [s.quality for s in rig.of("dead")] == [Quality.OFFLINE] * (len(times) - 2)
        assert rig.of("dead")[0].error == "timeout"
        assert rig.of("dead")[0].at.mono_ns / 1e9 == pytest.approx(times[2], abs=0.1)
        assert times[2] < 10
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert gaps[-1] == pytest.approx(60, abs=2)
        assert gaps[-1] / gaps[2] > 10
        assert told() == ["bus-up", "device-offline"]
        # Well again: found at the next probe, told once, and back at the old pace.
        del rig.bus.answers["dead"]
        await rig.clock.advance(65)
        assert told() == ["bus-up", "device-offline", "device-online"]
        assert rig.of("dead")[-1].quality is Quality.GOOD
        rig.bus.polls.clear()
        await rig.clock.advance(20)
        assert len(rig.bus.times("dead")) == pytest.approx(20, abs=1)


async def test_a_dead_device_adds_nothing_to_the_polls_that_were_left_out() -> None:
    """Neither while it fails nor by its ever longer pauses: the line had time for it."""
    rig = Rig(a_device("dead"), a_device("well"))
    rig.bus.answers["dead"] = ReadFailed("timeout", FailureKind.TIMEOUT, unit=1)
    async with rig.running():
        await rig.clock.advance(600)
        assert len(rig.bus.times("dead")) < 30
        now = rig.clock.mono()
        tallies = {name: health.tally.total(now)[0] for name, health in rig.line.health.devices.items()}
        assert tallies["dead"].missed == 0
        assert tallies["dead"].readings == 0
        assert rig.line.counters.missed == tallies["well"].missed


async def test_two_failures_are_not_an_outage(told: Any) -> None:
    rig = Rig(a_device("a"))
    rig.bus.answers["a"] = ReadFailed("timeout", FailureKind.TIMEOUT, unit=1)
    async with rig.running():
        while len(rig.bus.polls) < 2:
            await rig.clock.advance(0.1)
        await rig.clock.advance(0.1)
        del rig.bus.answers["a"]
        await rig.clock.advance(5)
    assert {sample.quality for sample in rig.samples} == {Quality.GOOD}
    assert told() == ["bus-up"]


async def test_five_dead_of_twenty_do_not_take_the_turns_of_the_others() -> None:
    dead, live = names(5, "dead"), names(15, "live")
    rig = Rig(*(a_device(name) for name in dead + live))
    for name in dead:
        rig.bus.answers[name] = ReadFailed("timeout", FailureKind.TIMEOUT, unit=1)
        rig.bus.latency[name] = 0.5
    async with rig.running():
        await rig.clock.advance(600)
    for name in live:
        assert len(rig.of(name)) >= 0.9 * 600, name
    for name in dead:
        assert rig.of(name)[0].at.mono_ns / 1e9 < 45


async def test_five_dead_of_twenty_cost_the_others_little_from_the_beginning() -> None:
    dead, live = names(5, "dead"), names(15, "live")
    rig = Rig(*(a_device(name) for name in dead + live))
    rig.bus.settle_s = 0.0
    rig.bus.latency = dict.fromkeys(live, 0.045) | dict.fromkeys(dead, 0.5)
    rig.bus.answers = {name: ReadFailed("timeout", FailureKind.TIMEOUT, unit=1) for name in dead}
    async with rig.running():
        await rig.clock.advance(60)
    assert sum(len(rig.of(name)) for name in live) >= 0.93 * 60 * len(live)
    for name in dead:
        assert rig.of(name)[0].at.mono_ns / 1e9 < 30


async def test_a_safety_device_that_fails_with_others_is_soon_known_to_be_gone() -> None:
    dead, live = names(5, "dead"), names(15, "live")
    rig = Rig(a_device("smoke", alarm=FIRE), *(a_device(name) for name in dead + live))
    for name in ["smoke", *dead]:
        rig.bus.answers[name] = ReadFailed("timeout", FailureKind.TIMEOUT, unit=1)
        rig.bus.latency[name] = 0.5
    async with rig.running():
        await rig.clock.advance(60)
    assert rig.of("smoke")[0].at.mono_ns / 1e9 < 15


async def test_a_slow_device_gets_no_more_than_its_share() -> None:
    rig = Rig(a_device("slow", every=0.1), a_device("quick"))
    rig.bus.latency["slow"] = 0.8
    async with rig.running():
        await rig.clock.advance(200)
    assert len(rig.bus.times("slow")) * 0.8 <= (polled.MAX_DEVICE_SHARE + 0.01) * 200
    assert len(rig.bus.times("quick")) >= 190


class SlowDisk(Rig):
    """It takes half a second to store an alarm."""

    stored_s: float = 0.0

    async def _sink(self, sample: Sample) -> None:
        if sample.values.get("x") == 200:
            await self.clock.sleep(0.5)
            self.stored_s = self.clock.mono()
        await super()._sink(sample)


async def test_storing_an_alarm_makes_no_later_poll_late() -> None:
    rig = SlowDisk(a_device("smoke", every=0.5, alarm=FIRE), a_device("other"))
    rig.bus.answers["smoke"] = [{"x": 1}, {"x": 200}, {"x": 200}, {"x": 200}, {"x": 200}, {"x": 1}]
    async with rig.running():
        await rig.clock.advance(10)
    following = next(at for at in rig.bus.times("smoke") if at >= rig.stored_s)
    assert rig.stored_s
    assert following - rig.stored_s <= 0.51
    assert rig.line.counters.busy_s == pytest.approx(len(rig.bus.polls) * 0.01, abs=0.1)


async def test_one_slow_answer_makes_no_later_poll_late() -> None:
    rig = Rig(a_device("smoke", every=0.5, alarm=FIRE), a_device("other"))
    async with rig.running():
        await rig.clock.advance(5)
        await rig.until_asking("smoke")
        rig.bus.latency["smoke"] = 0.4
        await rig.clock.advance(0.1)
        await rig.until_asking("smoke")
        asked = rig.bus.times("smoke")[-1]
        del rig.bus.latency["smoke"]
        await rig.clock.advance(5)
    following = next(at for at in rig.bus.times("smoke") if at > asked)
    assert following - asked <= 1.0


async def test_safety_devices_come_first_and_the_others_still_get_their_turn() -> None:
    safety, others = names(8, "smoke"), names(8, "other")
    rig = Rig(*(a_device(name, alarm=FIRE) for name in safety), *(a_device(name) for name in others))
    rig.bus.latency = dict.fromkeys(safety + others, 0.125)  # twice what the line can carry
    async with rig.running():
        await rig.clock.advance(120)
    counts = Counter(name for _, name in rig.bus.polls)
    assert sum(counts[name] for name in safety) >= 3.5 * sum(counts[name] for name in others)
    assert min(counts[name] for name in others) >= 120 / 0.125 / 5 / 8 * 0.9


class Stretched(Rig):
    """A line whose periods are longer than configured."""

    factor = 1.0

    def stretch(self) -> float:
        return self.factor


async def test_longer_periods_are_even_and_spare_safety_devices() -> None:
    rig = Stretched(a_device("smoke", alarm=FIRE), *(a_device(name) for name in names(20)))
    rig.factor = 1.6
    async with rig.running():
        await rig.clock.advance(5)
        before = len(rig.bus.polls)
        await rig.clock.advance(160)
    polls = Counter(name for _, name in rig.bus.polls[before:])
    assert polls == pytest.approx({"smoke": 160, **dict.fromkeys(names(20), 100)}, abs=2)
    for name in names(20):
        times = rig.bus.times(name)[4:]
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx(
            [1.6] * (len(times) - 1), abs=0.3
        )
    assert rig.line.counters.missed == 0


async def test_a_change_of_the_periods_makes_no_poll_come_early_and_none_count_as_missed() -> None:
    rig = Stretched(*(a_device(name) for name in names(20)))
    async with rig.running():
        await rig.clock.advance(5)
        for factor in (1.25, 1.3, 2.6, 2.5, 1.4, 1.3, 1.1, 1.0):
            rig.factor = factor
            before = rig.clock.mono()
            await rig.clock.advance(10)
            counts = Counter(name for moment, name in rig.bus.polls if moment >= before)
            assert counts == pytest.approx(dict.fromkeys(names(20), 10 / factor), abs=2)
    for name in names(20):
        times = rig.bus.times(name)[1:]
        assert min(b - a for a, b in itertools.pairwise(times)) > 0.4
    assert rig.line.counters.missed == 0


async def test_polls_are_missed_by_the_longer_period() -> None:
    rig = Stretched(*(a_device(name) for name in names(10)))
    rig.bus.latency = dict.fromkeys(names(10), 0.18)
    rig.factor = 2.1
    async with rig.running():
        await rig.clock.advance(120)
    assert rig.line.counters.missed == 0
    assert rig.line.counters.polls == pytest.approx(120 * 10 / 2.1, rel=0.05)
