from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import pytest

from gateway import supervise
from gateway.config import BusSpec
from gateway.model import (
    AlarmSpec,
    Bus,
    Command,
    Device,
    Driver,
    GatewayError,
    Hazard,
    LinkDown,
    Listener,
    ListenerAction,
    Point,
    Quality,
    ReadFailed,
    Sample,
    Value,
)
from gateway.supervise import BusTask, Slot
from tests.clock import START, FakeClock

T = TypeVar("T")
FIRE = AlarmSpec(hazard=Hazard.FIRE)


class Nothing(msgspec.Struct, frozen=True):
    """A line without options."""


def a_device(name: str, every: float = 1.0, alarm: AlarmSpec | None = None) -> Device:
    return Device(
        name=name,
        title={},
        kind="thermometer",
        profile="",
        bus="line",
        address=None,
        points={"x": Point(min=0, alarm=alarm), "y": Point()},
        every=every,
    )


class Line(Bus):
    """A line whose devices answer after `latency` seconds with `answers`: errors are raised, of a list
    each once and the last for ever."""

    settle = 0.5

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.answers: dict[str, Any] = {}
        self.latency: dict[str, float] = {}
        self.polls: list[tuple[float, str]] = []
        self.writes: list[tuple[float, str, str]] = []
        self.write_error: Exception | None = None
        self.away: LinkDown | None = None
        """Why the line cannot be opened."""
        self.opened: list[float] = []
        self.asking = ""
        """Whom it is talking to."""

    async def _talk(self, device: Device) -> None:
        assert not self.asking, "two transactions overlap"
        self.asking = device.name
        try:
            await self.clock.sleep(self.latency.get(device.name, 0.01))
        finally:
            self.asking = ""

    async def read(self, device: Device) -> Any:
        self.polls.append((self.clock.mono(), device.name))
        await self._talk(device)
        answer = self.answers.get(device.name, {"x": 1, "y": 2})
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        self.writes.append((self.clock.mono(), device.name, action))
        await self._talk(device)
        if self.write_error:
            raise self.write_error
        return {"x": 5}

    def times(self, name: str) -> list[float]:
        return [moment for moment, device in self.polls if device == name]


class Rig:
    """A bus task on a scripted line, with what it said."""

    def __init__(self, *devices: Device) -> None:
        self.clock = FakeClock()
        self.line = Line(self.clock)
        self.pushing: asyncio.Queue[tuple[str, Any]] | None = None
        self.polled = False
        """Whether a line that pushes is polled as well."""
        self.samples: list[Sample] = []
        self.recalled: list[tuple[str, bytes]] = []
        spec = BusSpec("line", self._driver(), Nothing())
        self.task = BusTask(spec, devices, self.clock, self._sink, self._memories)

    async def _sink(self, sample: Sample) -> None:
        self.samples.append(sample)

    def _memories(self) -> dict[str, bytes]:
        return {sample.device: sample.memory for sample in self.samples if sample.memory is not None}

    def _driver(self) -> Driver:
        return Driver(
            options=Nothing,
            address=Nothing,
            point=Point,
            connect=self._connect,
            decode=lambda points, raw: raw,
            example=dict,
            show=str,
            remember=lambda raw: str(raw).encode(),
            actions=("open",),
        )

    @asynccontextmanager
    async def _connect(self, options: Any, devices: Any) -> AsyncIterator[Bus | Listener]:
        self.line.opened.append(self.clock.mono())
        if self.line.away:
            raise self.line.away
        if self.pushing is None:
            yield self.line
        elif self.polled:
            yield Both(self.line, self.pushing, self.recalled)
        else:
            yield Pushing(self.pushing, self.line, self.recalled)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        job = asyncio.create_task(self.task.run())
        await self.clock.settle()
        try:
            yield
            assert not job.done()
        finally:
            job.cancel()
            await asyncio.wait([job])

    async def until_asking(self, name: str) -> None:
        for _ in range(2000):
            await self.clock.advance(0.005)
            if self.line.asking == name:
                return
        raise AssertionError(f"{name} is not asked")

    def of(self, name: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.device == name]

    def command(self, device: str = "a", action: str = "open", seconds: float = 10) -> Command:
        at = self.clock.now()
        return Command(
            id="1",
            at=at,
            device=device,
            action=action,
            expires=at.wall + int(seconds * 1000),
            origin="console",
        )


class Pushing(Listener):
    """What is pushed is heard; writes go to the line, which may be busy with several."""

    def __init__(
        self, queue: asyncio.Queue[tuple[str, Any]], line: Line, recalled: list[tuple[str, bytes]]
    ) -> None:
        self._queue = queue
        self._line = line
        self._recalled = recalled

    def recall(self, device: str, memory: bytes) -> None:
        self._recalled.append((device, memory))

    async def listen(self) -> AsyncIterator[tuple[str, Any]]:
        while True:
            name, raw = await self._queue.get()
            if isinstance(raw, LinkDown):
                raise raw
            yield name, raw

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        self._line.writes.append((self._line.clock.mono(), device.name, action))
        await self._line.clock.sleep(self._line.latency.get(device.name, 0.01))
        if self._line.write_error:
            raise self._line.write_error
        return {"x": 5, "y": 2}


class Both(Pushing, Bus):
    def __init__(
        self, line: Line, queue: asyncio.Queue[tuple[str, Any]], recalled: list[tuple[str, bytes]]
    ) -> None:
        super().__init__(queue, line, recalled)
        self.read = line.read  # type: ignore[method-assign]
        self.write = line.write  # type: ignore[method-assign]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Any:
    """Keys of the log lines that were told, in order."""
    caplog.set_level(logging.INFO, "linli")
    return lambda: [
        record.getMessage().rpartition("  [")[2].split()[0].rstrip("]")
        for record in caplog.records
        if record.name == "linli" and record.getMessage()
    ]


def names(count: int, prefix: str = "d") -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]


async def test_each_device_is_asked_at_its_own_phase_and_pace() -> None:
    rig = Rig(*(a_device(name, every=10) for name in names(40)))
    async with rig.running():
        await rig.clock.advance(100)
    for name in names(40):
        times = rig.line.times(name)[1:]
        assert len(times) == pytest.approx(10, abs=1)
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx(
            [10] * (len(times) - 1), abs=0.2
        )
    # Spread over the period: no second of it has more than a third of them.
    crowd = Counter(int(rig.line.times(name)[2] % 10) for name in names(40))
    assert max(crowd.values()) < 14
    assert len(crowd) >= 8


async def test_the_phases_are_the_same_at_every_start() -> None:
    polls = []
    for _ in range(2):
        rig = Rig(*(a_device(name, every=3) for name in names(5)))
        async with rig.running():
            await rig.clock.advance(10)
        polls.append(rig.line.polls)
    assert polls[0] == polls[1]


async def test_everything_is_asked_within_a_second_of_the_start() -> None:
    rig = Rig(*(a_device(name, every=3600) for name in names(10)))
    async with rig.running():
        await rig.clock.advance(1.2)
    assert {sample.device for sample in rig.samples} == set(names(10))


@pytest.mark.parametrize(("crowd", "latency"), [(10, 0.2), (2, 0.6)])
async def test_polls_that_were_left_out_are_counted(crowd: int, latency: float) -> None:
    rig = Rig(*(a_device(name) for name in names(crowd)))
    rig.line.latency = dict.fromkeys(names(crowd), latency)
    async with rig.running():
        await rig.clock.advance(120)
    assert rig.task.stats.missed + rig.task.stats.polls == pytest.approx(120 * crowd, rel=0.03)
    assert rig.task.stats.busy == pytest.approx(len(rig.line.polls) * latency, abs=1)


async def test_a_dead_device_is_offline_after_three_failures_and_asked_ever_less(told: Any) -> None:
    rig = Rig(a_device("dead"), a_device("well"))
    rig.line.answers["dead"] = ReadFailed("timeout", unit=1)
    async with rig.running():
        await rig.clock.advance(1000)
        times = rig.line.times("dead")
        assert [s.quality for s in rig.of("dead")] == [Quality.OFFLINE] * (len(times) - 2)
        assert rig.of("dead")[0].error == "timeout"
        assert rig.of("dead")[0].at.mono / 1e9 == pytest.approx(times[2], abs=0.1)
        assert times[2] < 10
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert gaps[-1] == pytest.approx(60, abs=2)
        assert gaps[-1] / gaps[2] > 10
        assert told() == ["bus-up", "device-offline"]
        # Well again: found at the next probe, told once, and back at the old pace.
        del rig.line.answers["dead"]
        await rig.clock.advance(65)
        assert told() == ["bus-up", "device-offline", "device-online"]
        assert rig.of("dead")[-1].quality is Quality.GOOD
        rig.line.polls.clear()
        await rig.clock.advance(20)
        assert len(rig.line.times("dead")) == pytest.approx(20, abs=1)


async def test_two_failures_are_not_an_outage(told: Any) -> None:
    rig = Rig(a_device("a"))
    rig.line.answers["a"] = ReadFailed("timeout", unit=1)
    async with rig.running():
        while len(rig.line.polls) < 2:
            await rig.clock.advance(0.1)
        await rig.clock.advance(0.1)
        del rig.line.answers["a"]
        await rig.clock.advance(5)
    assert {sample.quality for sample in rig.samples} == {Quality.GOOD}
    assert told() == ["bus-up"]


async def test_five_dead_of_twenty_do_not_take_the_turns_of_the_others() -> None:
    dead, live = names(5, "dead"), names(15, "live")
    rig = Rig(*(a_device(name) for name in dead + live))
    for name in dead:
        rig.line.answers[name] = ReadFailed("timeout", unit=1)
        rig.line.latency[name] = 0.5
    async with rig.running():
        await rig.clock.advance(600)
    for name in live:
        assert len(rig.of(name)) >= 0.9 * 600, name
    for name in dead:
        assert rig.of(name)[0].at.mono / 1e9 < 45


async def test_five_dead_of_twenty_cost_the_others_little_from_the_beginning() -> None:
    dead, live = names(5, "dead"), names(15, "live")
    rig = Rig(*(a_device(name) for name in dead + live))
    rig.line.settle = 0.0
    rig.line.latency = dict.fromkeys(live, 0.045) | dict.fromkeys(dead, 0.5)
    rig.line.answers = {name: ReadFailed("timeout", unit=1) for name in dead}
    async with rig.running():
        await rig.clock.advance(60)
    assert sum(len(rig.of(name)) for name in live) >= 0.93 * 60 * len(live)
    for name in dead:
        assert rig.of(name)[0].at.mono / 1e9 < 30


async def test_a_safety_device_that_fails_with_others_is_soon_known_to_be_gone() -> None:
    dead, live = names(5, "dead"), names(15, "live")
    rig = Rig(a_device("smoke", alarm=FIRE), *(a_device(name) for name in dead + live))
    for name in ["smoke", *dead]:
        rig.line.answers[name] = ReadFailed("timeout", unit=1)
        rig.line.latency[name] = 0.5
    async with rig.running():
        await rig.clock.advance(60)
    assert rig.of("smoke")[0].at.mono / 1e9 < 15


async def test_a_slow_device_gets_no_more_than_its_share() -> None:
    rig = Rig(a_device("slow", every=0.1), a_device("quick"))
    rig.line.latency["slow"] = 0.8
    async with rig.running():
        await rig.clock.advance(200)
    assert len(rig.line.times("slow")) * 0.8 <= (supervise.SHARE + 0.01) * 200
    assert len(rig.line.times("quick")) >= 190


@pytest.mark.parametrize("key", ["timeout", "garbage", "reply-length"])
async def test_after_a_wrong_answer_or_none_the_line_is_left_to_settle(key: str) -> None:
    rig = Rig(a_device("a"), a_device("b", every=0.1))
    rig.line.answers["a"] = ReadFailed(key, unit=1, bytes=1, expected=1, got=2)
    async with rig.running():
        await rig.clock.advance(3)
    asked = rig.line.times("a")[0]
    following = next(moment for moment, _ in rig.line.polls if moment > asked)
    assert following - asked >= 0.01 + rig.line.settle


async def test_safety_devices_come_first_and_the_others_still_get_their_turn() -> None:
    safety, others = names(8, "smoke"), names(8, "other")
    rig = Rig(*(a_device(name, alarm=FIRE) for name in safety), *(a_device(name) for name in others))
    rig.line.latency = dict.fromkeys(safety + others, 0.125)  # twice what the line can carry
    async with rig.running():
        await rig.clock.advance(120)
    counts = Counter(name for _, name in rig.line.polls)
    assert sum(counts[name] for name in safety) >= 3.5 * sum(counts[name] for name in others)
    assert min(counts[name] for name in others) >= 120 / 0.125 / 5 / 8 * 0.9


HOT = AlarmSpec(hazard=Hazard.FIRE, above=5)


@pytest.mark.parametrize(
    ("answers", "values"),
    [
        ([{"x": 0}, {"x": 9}, {"x": 9}], [{"x": 0}, {"x": 9}, {"x": 9}]),
        ([{"x": 0}, {"x": 9}, {"x": 0}], [{"x": 0}, {"x": 0}, {"x": 0}]),
        ([{"x": 9}, {"x": 9}, {"x": 0}], [{"x": 9}, {"x": 0}, {"x": 0}]),
    ],
    ids=["confirmed", "one false reading", "true at the start"],
)
async def test_a_new_alarm_is_read_twice_and_the_second_reading_counts(
    answers: list[dict[str, Value]], values: list[dict[str, Value]]
) -> None:
    rig = Rig(a_device("a", alarm=HOT))
    rig.line.answers["a"] = answers
    async with rig.running():
        await rig.clock.advance(3)
    assert [sample.values for sample in rig.samples][:3] == values
    times = rig.line.times("a")
    again = [b - a for a, b in itertools.pairwise(times) if b - a < 0.1]
    assert len(again) == 1, "only a new alarm is asked for again, and at once"


async def test_an_alarm_that_cannot_be_confirmed_is_believed() -> None:
    rig = Rig(a_device("a", alarm=HOT))
    rig.line.answers["a"] = [{"x": 9}, ReadFailed("timeout")]
    async with rig.running():
        await rig.clock.advance(2)
    assert rig.samples[0].values == {"x": 9}


async def test_the_doctor_sees_who_takes_the_line_and_who_jumps(told: Any) -> None:
    rig = Rig(a_device("dead"), a_device("jumpy", alarm=HOT), a_device("well"))
    rig.line.latency["dead"] = 0.5
    rig.line.answers["dead"] = ReadFailed("timeout")
    async with rig.running():
        await rig.clock.advance(60)
        rig.line.answers["jumpy"] = [{"x": 9}, {"x": 0}]
        await rig.clock.advance(2)
        report = rig.task.report()
    by_name = {device["device"]: device for device in report["devices"]}
    assert by_name["dead"]["offline"]
    assert by_name["dead"]["share"] > 5 * by_name["well"]["share"]
    assert by_name["well"]["p50"] == pytest.approx(10, rel=0.1)
    assert by_name["well"]["readings"] == by_name["well"]["polls"] == pytest.approx(62, abs=2)
    findings = {(finding["key"], finding["device"]) for finding in report["findings"]}
    assert findings == {("device-dead", "dead"), ("device-jumpy", "jumpy")}
    assert report["use"] == pytest.approx(sum(device["share"] for device in report["devices"]), abs=0.3)


async def test_an_impossible_or_missing_value_is_left_out_and_said_so() -> None:
    rig = Rig(a_device("a"))
    rig.line.answers["a"] = {"x": -1, "y": 2}
    async with rig.running():
        await rig.clock.advance(1.5)
        rig.line.answers["a"] = {"x": 1}
        await rig.clock.advance(1)
    first, *_, last = rig.samples
    assert (first.quality, first.values, first.bad) == (Quality.UNCERTAIN, {"y": 2}, {"x": "out-of-range"})
    assert (last.quality, last.values, last.bad) == (Quality.UNCERTAIN, {"x": 1}, {"y": "missing"})


async def test_an_answer_without_any_value_counts_as_a_failure(told: Any) -> None:
    rig = Rig(a_device("a"))
    rig.line.answers["a"] = {}
    async with rig.running():
        await rig.clock.advance(1.5)
        assert rig.samples == []
        await rig.clock.advance(10)
    assert {sample.error for sample in rig.samples} == {"no-values"}
    assert told() == ["bus-up", "device-offline"]
    assert rig.task.stats.failures == rig.task.stats.polls


async def test_a_line_that_goes_down_takes_its_devices_and_is_reopened(told: Any) -> None:
    rig = Rig(a_device("a"), a_device("b"))
    async with rig.running():
        await rig.clock.advance(3)
        rig.line.answers["a"] = rig.line.away = LinkDown("line-down", reason="gone")
        await rig.clock.advance(1.1)
        assert [rig.of(name)[-1].error for name in "ab"] == ["line-down"] * 2
        assert not rig.task.stats.up
        await rig.clock.advance(3600)
        tries = rig.line.opened[1:]
        gaps = [b - a for a, b in itertools.pairwise(tries)]
        assert max(gaps) <= supervise.REOPEN
        assert len({round(gap, 3) for gap in gaps}) > 10, "no jitter"
        rig.line.away = None
        del rig.line.answers["a"]
        await rig.clock.advance(5)
        assert [rig.of(name)[-1].quality for name in "ab"] == [Quality.GOOD] * 2
        assert rig.task.stats.up
    down = ["bus-down", "device-offline", "device-offline"]
    assert told() == ["bus-up", *down, "bus-up", "device-online", "device-online"]


async def test_what_a_line_has_learned_outlives_the_connection() -> None:
    rig = Rig(a_device("a"))
    async with rig.running():
        await rig.clock.advance(2)
        rig.line.lessons["a"] = "asks for less"
        rig.line.answers["a"] = LinkDown("line-down")
        await rig.clock.advance(2)
        rig.line.lessons = {}
        rig.line.answers["a"] = {"x": 1}
        await rig.clock.advance(10)
        assert rig.line.lessons == {"a": "asks for less"}


async def test_a_line_that_opens_but_never_works_is_not_opened_ever_so_fast() -> None:
    rig = Rig(a_device("a"))
    rig.line.answers["a"] = LinkDown("line-down", reason="closed at once")
    async with rig.running():
        await rig.clock.advance(600)
    assert len(rig.line.opened) < 600 / 2


async def test_a_line_that_is_away_at_the_start_is_told_once(told: Any) -> None:
    rig = Rig(a_device("a"))
    rig.line.away = LinkDown("line-open", url="rtu:/dev/none", reason="no such file")
    async with rig.running():
        await rig.clock.advance(60)
        assert told() == ["bus-down", "device-offline"]
        assert rig.of("a")[-1].error == "line-open"


async def test_a_mistake_in_a_driver_costs_a_reopening_not_the_task(told: Any) -> None:
    rig = Rig(a_device("a"))
    async with rig.running():
        rig.line.answers["a"] = ZeroDivisionError("in the driver")
        await rig.clock.advance(2)
        assert "crashed" in told()
        assert rig.of("a")[-1].error == "internal"
        del rig.line.answers["a"]
        await rig.clock.advance(10)
        assert rig.of("a")[-1].quality is Quality.GOOD


async def test_a_command_runs_at_the_next_transaction_boundary_and_is_confirmed() -> None:
    rig = Rig(a_device("a"), a_device("b"))
    rig.line.latency["b"] = 0.4
    async with rig.running():
        await rig.until_asking("b")
        began = rig.clock.mono()
        command = asyncio.create_task(rig.task.execute(rig.command()))
        await rig.clock.advance(0.6)
        assert [(name, action) for _, name, action in rig.line.writes] == [("a", "open")]
        assert rig.line.writes[0][0] == pytest.approx(began + 0.4, abs=0.02)
        assert not command.done()
        rig.line.answers["a"] = {"x": 5, "y": 2}
        await rig.clock.advance(0.6)
        assert command.done()
        await command
    assert len(rig.line.writes) == 1


async def test_a_command_that_shows_no_effect_is_unconfirmed_and_not_repeated() -> None:
    rig = Rig(a_device("a"))
    async with rig.running():
        command = asyncio.create_task(rig.task.execute(rig.command()))
        await rig.clock.advance(10)
        with pytest.raises(ReadFailed, match="unconfirmed"):
            await command
    assert len(rig.line.writes) == 1


async def test_one_lost_confirmation_is_no_failure() -> None:
    rig = Rig(a_device("a", every=60))
    async with rig.running():
        await rig.clock.advance(2)
        rig.line.answers["a"] = ReadFailed("timeout", unit=1)
        command = asyncio.create_task(rig.task.execute(rig.command()))
        await rig.clock.advance(0.3)
        rig.line.answers["a"] = {"x": 5, "y": 2}
        await rig.clock.advance(2)
        assert command.done()
        await command
    assert len(rig.line.writes) == 1


async def test_a_refused_command_fails_and_is_not_repeated() -> None:
    rig = Rig(a_device("a"))
    rig.line.write_error = ReadFailed("lock-unknown", lock=99, last=16)
    async with rig.running():
        command = asyncio.create_task(rig.task.execute(rig.command()))
        await rig.clock.advance(10)
        with pytest.raises(ReadFailed, match="lock-unknown"):
            await command
    assert len(rig.line.writes) == 1


async def test_a_command_whose_time_is_over_when_its_turn_comes_is_not_sent() -> None:
    rig = Rig(a_device("a"), a_device("slow"))
    rig.line.latency["slow"] = 3
    async with rig.running():
        await rig.until_asking("slow")
        command = asyncio.create_task(rig.task.execute(rig.command(seconds=2)))
        await rig.clock.advance(5)
        with pytest.raises(ReadFailed, match="too-late"):
            await command
    assert rig.line.writes == []


async def test_a_command_that_its_asker_gave_up_is_not_sent_and_harms_nobody(told: Any) -> None:
    rig = Rig(a_device("a"), a_device("slow"))
    rig.line.latency["slow"] = 0.5
    async with rig.running():
        await rig.until_asking("slow")
        jobs = [
            asyncio.create_task(rig.task.execute(rig.command())),
            asyncio.create_task(rig.task.read("a")),
        ]
        await rig.clock.settle()
        for job in jobs:
            job.cancel()
        await rig.clock.advance(5)
    assert rig.line.writes == []
    assert told() == ["bus-up"]


async def test_an_asker_that_gives_up_in_the_middle_harms_nobody(told: Any) -> None:
    rig = Rig(a_device("a"))
    async with rig.running():
        await rig.clock.advance(1.5)
        for ask in (lambda: rig.task.read("a"), lambda: rig.task.execute(rig.command())):
            job = asyncio.ensure_future(ask())
            await rig.clock.settle()
            assert rig.line.asking
            job.cancel()
            await rig.clock.advance(5)
    assert told() == ["bus-up"]


async def test_an_unknown_action_and_a_line_that_is_down_are_refused_at_once() -> None:
    rig = Rig(a_device("a"))
    rig.line.away = LinkDown("line-open", url="rtu:/dev/none", reason="no such file")
    async with rig.running():
        with pytest.raises(GatewayError, match="action-unknown"):
            await rig.task.execute(rig.command(action="dance"))
        with pytest.raises(GatewayError, match="line-down"):
            await rig.task.execute(rig.command())


async def test_jobs_that_wait_when_the_line_goes_down_fail() -> None:
    rig = Rig(a_device("a"), a_device("slow"))
    rig.line.latency["slow"] = 0.5
    rig.line.answers["slow"] = LinkDown("line-down", reason="gone")
    async with rig.running():
        await rig.until_asking("slow")
        jobs = [
            asyncio.create_task(rig.task.execute(rig.command())),
            asyncio.create_task(rig.task.read("a")),
        ]
        await rig.clock.advance(1)
        for job in jobs:
            with pytest.raises(LinkDown):
                await job
    assert rig.line.writes == []


async def test_a_reading_on_demand_is_out_of_turn() -> None:
    rig = Rig(a_device("a", every=3600))
    async with rig.running():
        await rig.clock.advance(2)
        rig.line.answers["a"] = {"x": 7, "y": 2}
        reading = asyncio.create_task(rig.task.read("a"))
        await rig.clock.advance(0.1)
        assert reading.done()
        result = await reading
    assert result.sample.values == {"x": 7, "y": 2}
    assert result.sample in rig.samples
    assert result.seconds == pytest.approx(0.01)


async def test_a_reading_on_demand_that_fails_says_why() -> None:
    rig = Rig(a_device("a", every=3600))
    async with rig.running():
        await rig.clock.advance(2)
        rig.line.answers["a"] = ReadFailed("timeout", unit=1)
        reading = asyncio.create_task(rig.task.read("a"))
        await rig.clock.advance(0.1)
        with pytest.raises(ReadFailed, match="timeout"):
            await reading


async def test_what_a_device_pushes_is_a_sample_and_its_silence_an_outage(told: Any) -> None:
    rig = Rig(a_device("a", every=10), a_device("b", every=100))
    rig.pushing = asyncio.Queue()
    async with rig.running():
        rig.pushing.put_nowait(("a", {"x": 1, "y": 2}))
        await rig.clock.advance(29)
        assert [s.quality for s in rig.samples] == [Quality.GOOD]
        await rig.clock.advance(3)
        assert rig.of("a")[-1].error == "silent"
        await rig.clock.advance(60)
        assert len(rig.samples) == 2
        rig.pushing.put_nowait(("a", {"x": 1, "y": 2}))
        await rig.clock.advance(1)
        assert rig.of("a")[-1].quality is Quality.GOOD
        assert told() == ["bus-up", "device-offline", "device-online"]
        rig.pushing.put_nowait(("a", LinkDown("broker-lost", reason="x")))
        await rig.clock.advance(0.1)
        assert [rig.of(name)[-1].error for name in "ab"] == ["broker-lost"] * 2


async def test_a_line_that_begins_anew_is_reminded_of_what_its_devices_told() -> None:
    rig = Rig(a_device("a", every=10), a_device("b", every=10))
    rig.pushing = asyncio.Queue()
    async with rig.running():
        assert rig.recalled == []
        for raw in ({"x": 1, "y": 2}, {"x": 3, "y": 2}, LinkDown("broker-lost", reason="x")):
            rig.pushing.put_nowait(("a", raw))
        await rig.clock.advance(5)
        assert rig.recalled == [("a", b"{'x': 3, 'y': 2}")]


async def test_a_message_that_is_no_reading_is_no_outage_yet(told: Any) -> None:
    rig = Rig(a_device("a", every=10))
    rig.pushing = asyncio.Queue()
    async with rig.running():
        for stray in ({"linkquality": 90}, ReadFailed("not-json", reason="x")):
            for _ in range(2):
                rig.pushing.put_nowait(("a", stray))
            rig.pushing.put_nowait(("a", {"x": 1, "y": 2}))
        await rig.clock.advance(1)
        assert told() == ["bus-up"]
        for _ in range(3):
            rig.pushing.put_nowait(("a", ReadFailed("not-json", reason="x")))
        await rig.clock.advance(1)
    assert rig.samples[-1].error == "not-json"


@contextlib.asynccontextmanager
async def pushing(*devices: Device) -> AsyncIterator[Rig]:
    rig = Rig(*devices)
    rig.pushing = asyncio.Queue()
    async with rig.running():
        await rig.clock.advance(1)
        yield rig


async def ordered(rig: Rig, command: Command) -> asyncio.Task[None]:
    task = asyncio.create_task(rig.task.execute(command))
    await rig.clock.settle()
    return task


async def test_a_device_that_pushes_is_told_once_and_shows_the_effect_in_its_own_time() -> None:
    async with pushing(a_device("a", every=600)) as rig:
        rig.pushing.put_nowait(("a", {"x": 5, "y": 2}))  # Said before, it proves nothing.
        command = await ordered(rig, rig.command())
        await rig.clock.advance(900)
        rig.pushing.put_nowait(("a", {"x": 5, "y": 1}))
        await rig.clock.advance(1)
        assert not command.done()
        # A device that speaks in parts shows the rest later.
        rig.pushing.put_nowait(("a", {"y": 2}))
        await rig.clock.advance(1)
        assert command.done()
        await command
    assert [(name, action) for _, name, action in rig.line.writes] == [("a", "open")]
    assert len(rig.of("a")) == 3


@pytest.mark.parametrize(("within", "limit"), [(0.0, 30), (90.0, 90)])
async def test_what_a_device_that_pushes_never_shows_is_unconfirmed(within: float, limit: float) -> None:
    device = msgspec.structs.replace(
        a_device("a", every=10), actions={"open": ListenerAction(confirm_within=within)}
    )
    async with pushing(device) as rig:
        command = await ordered(rig, rig.command())
        for _ in range(int(limit) - 1):
            rig.pushing.put_nowait(("a", {"x": 4, "y": 2}))
            await rig.clock.advance(1)
        assert not command.done()
        await rig.clock.advance(1.1)
        with pytest.raises(ReadFailed, match="unconfirmed"):
            await command
    assert len(rig.line.writes) == 1


async def test_what_is_said_while_one_still_writes_counts() -> None:
    async with pushing(a_device("a")) as rig:
        rig.line.latency["a"] = 2
        command = await ordered(rig, rig.command())
        rig.pushing.put_nowait(("a", {"x": 5, "y": 2}))
        await rig.clock.advance(1.9)
        assert not command.done()
        await rig.clock.advance(0.2)
        assert command.done()
        await command


async def test_one_device_that_takes_its_time_keeps_neither_the_others_nor_what_is_heard() -> None:
    async with pushing(a_device("a", every=100), a_device("b", every=100)) as rig:
        rig.line.latency["a"] = 50
        slow, quick = await ordered(rig, rig.command("a")), await ordered(rig, rig.command("b"))
        rig.pushing.put_nowait(("b", {"x": 5, "y": 2}))
        await rig.clock.advance(1)
        assert quick.done()
        await quick
        rig.pushing.put_nowait(("a", {"x": 5, "y": 2}))
        await rig.clock.advance(1)
        assert len(rig.of("a")) == 1
        assert not slow.done()
        await rig.clock.advance(50)
        assert slow.done()
        await slow


async def test_a_write_that_never_ends_is_cut_off() -> None:
    async with pushing(a_device("a", every=1)) as rig:
        rig.line.latency["a"] = 1000
        command = await ordered(rig, rig.command())
        await rig.clock.advance(4)
        with pytest.raises(ReadFailed, match="unconfirmed"):
            await command


async def test_a_device_that_pushes_is_not_told_what_is_refused_too_late_or_unasked() -> None:
    async with pushing(a_device("a")) as rig:
        command = rig.command(seconds=5)
        rig.clock.wall += 6000
        with pytest.raises(ReadFailed, match="too-late"):
            await rig.task.execute(command)
        given_up = asyncio.create_task(rig.task.execute(rig.command()))
        given_up.cancel()
        await rig.clock.advance(1)
        assert rig.line.writes == []
        rig.line.write_error = ReadFailed("lock-unknown", lock=99, last=16)
        refused = await ordered(rig, rig.command())
        await rig.clock.advance(1)
        with pytest.raises(ReadFailed, match="lock-unknown"):
            await refused
        rig.pushing.put_nowait(("a", {"x": 5, "y": 2}))
        await rig.clock.advance(1)
        assert rig.task.stats.up
    assert len(rig.line.writes) == 1


async def test_a_listener_that_ends_takes_its_commands_along(told: Any) -> None:
    async with pushing(a_device("a"), a_device("b")) as rig:
        waiting = await ordered(rig, rig.command("a"))
        await rig.clock.advance(0.5)
        rig.pushing.put_nowait(("a", LinkDown("broker-lost", reason="x")))
        unbegun = asyncio.create_task(rig.task.execute(rig.command("b")))
        await rig.clock.advance(0.5)
        assert waiting.done()
        with pytest.raises(ReadFailed, match="unconfirmed"):
            await waiting
        assert unbegun.done()
        with pytest.raises(LinkDown):
            await unbegun
    assert len(rig.line.writes) == 1
    assert "crashed" not in told()


async def test_a_write_that_finds_the_line_dead_reopens_it(told: Any) -> None:
    async with pushing(a_device("a")) as rig:
        rig.line.write_error = LinkDown("broker-lost", reason="x")
        command = await ordered(rig, rig.command())
        await rig.clock.advance(0.1)
        with pytest.raises(LinkDown):
            await command
        assert not rig.task.stats.up
        await rig.clock.advance(5)
        assert rig.task.stats.up
    assert told() == ["bus-up", "bus-down", "device-offline", "bus-up"]


async def test_a_reading_of_a_device_that_pushes_is_its_next_message() -> None:
    rig = Rig(a_device("a", every=10))
    rig.pushing = asyncio.Queue()
    async with rig.running():
        reading = asyncio.create_task(rig.task.read("a"))
        await rig.clock.advance(4)
        rig.pushing.put_nowait(("a", {"x": 3, "y": 2}))
        await rig.clock.advance(1)
        result = await reading
        assert result.sample.values == {"x": 3, "y": 2}
        assert result.seconds == pytest.approx(4)
        rig.line.away = LinkDown("broker-away", url="", reason="x")
        rig.pushing.put_nowait(("a", rig.line.away))
        await rig.clock.advance(0.1)
        with pytest.raises(GatewayError, match="line-down"):
            await rig.task.read("a")


async def test_a_line_that_pushes_may_be_polled_as_well(told: Any) -> None:
    rig = Rig(a_device("a", every=10))
    rig.pushing, rig.polled = asyncio.Queue(), True
    rig.line.answers["a"] = {"x": 5, "y": 2}
    async with rig.running():
        await rig.clock.advance(95)
        assert [s.quality for s in rig.samples] == [Quality.GOOD] * 11
        rig.pushing.put_nowait(("a", {"x": 1, "y": 2}))
        await rig.clock.advance(0.01)
        assert rig.of("a")[-1].values == {"x": 1, "y": 2}
        assert (await finished(rig, rig.task.read("a"))).sample.values == {"x": 5, "y": 2}
        await finished(rig, rig.task.execute(rig.command()))
        assert [action for _, _, action in rig.line.writes] == ["open"]
        # Whichever of the two finds that the line is gone, both begin anew.
        rig.pushing.put_nowait(("a", LinkDown("line-down", reason="x")))
        await rig.clock.advance(0.01)
        assert rig.of("a")[-1].error == "line-down"
        await rig.clock.advance(20)
        rig.line.away = LinkDown("line-down", reason="x")
        rig.line.answers["a"] = rig.line.away
        await rig.clock.advance(10)
        rig.line.answers["a"], rig.line.away = {"x": 5, "y": 2}, None
        await rig.clock.advance(20)
        rig.pushing.put_nowait(("a", {"x": 9, "y": 2}))
        await rig.clock.advance(0.01)
        assert rig.of("a")[-1].values == {"x": 9, "y": 2}
    assert told() == ["bus-up", *["bus-down", "device-offline", "bus-up", "device-online"] * 2]


async def finished(rig: Rig, work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.create_task(work)
    await rig.clock.advance(2)
    return await task


def test_the_wall_clock_of_a_sample_is_that_of_its_reading() -> None:
    assert FakeClock().now().wall == START
    assert Slot(a_device("a")).phase == Slot(a_device("a")).phase != Slot(a_device("b")).phase


async def test_a_line_ends_between_two_transactions_and_nobody_waits_for_it() -> None:
    rig = Rig(a_device("a"))
    rig.line.latency["a"] = 0.3
    running = asyncio.create_task(rig.task.run())
    await rig.until_asking("a")
    asked = asyncio.create_task(rig.task.read("a"))
    await rig.clock.settle()
    ending = asyncio.create_task(rig.task.end(running))
    await rig.clock.advance(0.2)
    assert rig.line.asking
    assert not ending.done()
    await rig.clock.advance(0.2)
    assert not rig.line.asking
    assert running.cancelled()
    assert len(rig.of("a")) == len(rig.line.polls)
    with pytest.raises(GatewayError, match="line-down"):
        await asked
    await ending


@pytest.mark.parametrize("turns", range(12))
async def test_a_line_that_goes_down_at_the_moment_it_is_ended_ends(turns: int) -> None:
    rig = Rig(a_device("a"))
    rig.pushing = asyncio.Queue()
    running = asyncio.create_task(rig.task.run())
    await rig.clock.settle()
    rig.pushing.put_nowait(("a", LinkDown("broker-lost", reason="x")))
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=1)
    assert running.cancelled()
