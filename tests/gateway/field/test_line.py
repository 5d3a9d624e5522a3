from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from gateway.field import line
from gateway.field.health import DeviceHealth
from gateway.field.schedule import ScheduledDevice
from gateway.model import (
    AlarmSpec,
    Command,
    Device,
    FailureKind,
    GatewayError,
    Hazard,
    LinkDown,
    ListenerAction,
    Quality,
    ReadFailed,
    Value,
)
from tests.clock import START, FakeClock
from tests.gateway.line import Pushing, Rig, a_device

T = TypeVar("T")


async def test_the_doctor_reports_what_a_bus_has_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(a_device("a"))
    rig.pushing = asyncio.Queue()
    facts = {"address": "192.0.2.1", "device": "a", "count": 3}
    monkeypatch.setattr(Pushing, "notices", lambda _: [("push-token", facts)])
    assert [finding["key"] for finding in rig.line.report()["findings"]] == ["line-down"]
    async with rig.running():
        assert {"key": "push-token", "device": "", "facts": facts} in rig.line.report()["findings"]


@pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.DAMAGED])
async def test_after_a_wrong_answer_or_none_the_line_is_left_to_settle(kind: FailureKind) -> None:
    rig = Rig(a_device("a"), a_device("b", every=0.1))
    rig.bus.answers["a"] = ReadFailed("garbage", kind, unit=1, bytes=1)
    async with rig.running():
        await rig.clock.advance(3)
    asked = rig.bus.times("a")[0]
    following = next(moment for moment, _ in rig.bus.polls if moment > asked)
    assert following - asked >= 0.01 + rig.bus.settle_s


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
    rig.bus.answers["a"] = answers
    async with rig.running():
        await rig.clock.advance(3)
    assert [sample.values for sample in rig.samples][:3] == values
    times = rig.bus.times("a")
    again = [b - a for a, b in itertools.pairwise(times) if b - a < 0.1]
    assert len(again) == 1, "only a new alarm is asked for again, and at once"


async def test_an_alarm_that_cannot_be_confirmed_is_believed() -> None:
    rig = Rig(a_device("a", alarm=HOT))
    rig.bus.answers["a"] = [{"x": 9}, ReadFailed("timeout", FailureKind.TIMEOUT)]
    async with rig.running():
        await rig.clock.advance(2)
    assert rig.samples[0].values == {"x": 9}


async def test_the_doctor_sees_who_takes_the_line_and_who_jumps(told: Any) -> None:
    rig = Rig(a_device("dead"), a_device("jumpy", alarm=HOT), a_device("well"))
    rig.bus.latency["dead"] = 0.5
    rig.bus.answers["dead"] = ReadFailed("timeout", FailureKind.TIMEOUT)
    async with rig.running():
        await rig.clock.advance(60)
        rig.bus.answers["jumpy"] = [{"x": 9}, {"x": 0}]
        await rig.clock.advance(2)
        report = rig.line.report()
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
    rig.bus.answers["a"] = {"x": -1, "y": 2}
    async with rig.running():
        await rig.clock.advance(1.5)
        rig.bus.answers["a"] = {"x": 1}
        await rig.clock.advance(1)
    first, *_, last = rig.samples
    assert (first.quality, first.values, first.bad) == (Quality.UNCERTAIN, {"y": 2}, {"x": "out-of-range"})
    assert (last.quality, last.values, last.bad) == (Quality.UNCERTAIN, {"x": 1}, {"y": "missing"})


async def test_an_answer_without_any_value_counts_as_a_failure(told: Any) -> None:
    rig = Rig(a_device("a"))
    rig.bus.answers["a"] = {}
    async with rig.running():
        await rig.clock.advance(1.5)
        assert rig.samples == []
        await rig.clock.advance(10)
    assert {sample.error for sample in rig.samples} == {"no-values"}
    assert told() == ["bus-up", "device-offline"]
    assert rig.line.counters.failures == rig.line.counters.polls


async def test_a_line_that_goes_down_takes_its_devices_and_is_reopened(told: Any) -> None:
    rig = Rig(a_device("a"), a_device("b"))
    async with rig.running():
        await rig.clock.advance(3)
        rig.bus.answers["a"] = rig.bus.away = LinkDown("line-down", reason="gone")
        await rig.clock.advance(1.1)
        assert [rig.of(name)[-1].error for name in "ab"] == ["line-down"] * 2
        assert not rig.line.counters.is_up
        await rig.clock.advance(3600)
        tries = rig.bus.opened[1:]
        gaps = [b - a for a, b in itertools.pairwise(tries)]
        assert max(gaps) <= line.MAX_REOPEN_DELAY_S
        assert len({round(gap, 3) for gap in gaps}) > 10, "no jitter"
        rig.bus.away = None
        del rig.bus.answers["a"]
        await rig.clock.advance(5)
        assert [rig.of(name)[-1].quality for name in "ab"] == [Quality.GOOD] * 2
        assert rig.line.counters.is_up
    down = ["bus-down", "device-offline", "device-offline"]
    assert told() == ["bus-up", *down, "bus-up", "device-online", "device-online"]


async def test_what_a_line_has_learned_outlives_the_connection() -> None:
    rig = Rig(a_device("a"))
    async with rig.running():
        await rig.clock.advance(2)
        rig.bus.quirks["a"] = "asks for less"
        rig.bus.answers["a"] = rig.bus.away = LinkDown("line-down")
        await rig.clock.advance(2)
        rig.bus.quirks = {}
        rig.bus.answers["a"], rig.bus.away = {"x": 1}, None
        await rig.clock.advance(10)
        assert rig.bus.quirks == {"a": "asks for less"}


async def test_a_line_that_opens_but_never_works_is_not_opened_ever_so_fast() -> None:
    rig = Rig(a_device("a"))
    rig.bus.answers["a"] = LinkDown("line-down", reason="closed at once")
    async with rig.running():
        await rig.clock.advance(600)
    assert len(rig.bus.opened) < 600 / 2


async def test_a_line_that_is_reopened_polls_nobody_much_sooner_than_usual() -> None:
    names = [f"d{n}" for n in range(8)]
    rig = Rig(*(a_device(name, every=2) for name in names), a_device("slow", every=60))
    async with rig.running():
        await rig.clock.advance(10)
        for _ in range(20):
            rig.bus.answers["d3"] = LinkDown("line-down", reason="closed")
            await rig.clock.advance(2)
            del rig.bus.answers["d3"]
            await rig.clock.advance(3)
        assert all(len(rig.bus.times(name)) <= 110 / 2 + 2 for name in names)
        assert len(rig.bus.times("slow")) <= 2 + 20 + 2
        assert rig.of("slow")[-1].quality is Quality.GOOD


async def test_a_line_that_is_away_at_the_start_is_told_once(told: Any) -> None:
    rig = Rig(a_device("a"))
    rig.bus.away = LinkDown("line-open", url="rtu:/dev/none", reason="no such file")
    async with rig.running():
        await rig.clock.advance(60)
        assert told() == ["bus-down", "device-offline"]
        assert rig.of("a")[-1].error == "line-open"


async def test_a_mistake_in_a_driver_costs_a_reopening_not_the_task(told: Any) -> None:
    rig = Rig(a_device("a"))
    async with rig.running():
        rig.bus.answers["a"] = ZeroDivisionError("in the driver")
        await rig.clock.advance(2)
        assert "crashed" in told()
        assert rig.of("a")[-1].error == "internal"
        del rig.bus.answers["a"]
        await rig.clock.advance(10)
        assert rig.of("a")[-1].quality is Quality.GOOD


async def test_a_command_runs_at_the_next_transaction_boundary_and_is_confirmed() -> None:
    rig = Rig(a_device("a"), a_device("b"))
    rig.bus.latency["b"] = 0.4
    async with rig.running():
        await rig.until_asking("b")
        began = rig.clock.mono()
        command = asyncio.create_task(rig.line.execute(rig.command()))
        await rig.clock.advance(0.6)
        assert [(name, action) for _, name, action in rig.bus.writes] == [("a", "open")]
        assert rig.bus.writes[0][0] == pytest.approx(began + 0.4, abs=0.02)
        assert not command.done()
        rig.bus.answers["a"] = {"x": 5, "y": 2}
        await rig.clock.advance(0.6)
        assert command.done()
        await command
    assert len(rig.bus.writes) == 1


async def test_a_long_reading_pauses_for_safety_devices_and_commands() -> None:
    rig = Rig(a_device("meter", every=60), a_device("smoke", alarm=HOT), a_device("siren", every=60))
    rig.bus.latency["meter"], rig.bus.requests["meter"] = 0.5, 12
    rig.bus.answers["siren"] = {"x": 5, "y": 2}
    async with rig.running():
        await rig.until_asking("meter")
        began = rig.clock.mono()
        command = asyncio.create_task(rig.line.execute(rig.command("siren")))
        await rig.clock.advance(9.0)
        await command
        (sent,) = [at for at, *_ in rig.bus.writes]
        assert sent - began < 0.6
        polls = [at for at in rig.bus.times("smoke") if at >= began]
        assert max(after - before for before, after in itertools.pairwise(polls)) < 1.6
        assert len(rig.bus.times("meter")) == 1
        assert len(rig.of("meter")) == 1
        (meter,) = [each for each in rig.line.report()["devices"] if each["device"] == "meter"]
        # The pauses are no part of its own time, of which doctor judges it.
        assert meter["p99"] == pytest.approx(6000, rel=0.1)


async def test_a_command_to_the_device_that_is_being_read_waits_for_the_end() -> None:
    rig = Rig(a_device("a", every=60))
    rig.bus.latency["a"], rig.bus.requests["a"] = 0.5, 4
    rig.bus.answers["a"] = {"x": 5, "y": 2}
    async with rig.running():
        await rig.until_asking("a")
        began = rig.clock.mono()
        command = asyncio.create_task(rig.line.execute(rig.command()))
        await rig.clock.advance(6.0)
        await command
    assert rig.bus.writes[0][0] - began == pytest.approx(2.0, abs=0.1)


async def test_a_command_that_shows_no_effect_is_unconfirmed_and_not_repeated() -> None:
    rig = Rig(a_device("a"))
    async with rig.running():
        command = asyncio.create_task(rig.line.execute(rig.command()))
        await rig.clock.advance(10)
        with pytest.raises(ReadFailed, match="unconfirmed"):
            await command
    assert len(rig.bus.writes) == 1


async def test_one_lost_confirmation_is_no_failure() -> None:
    rig = Rig(a_device("a", every=60))
    async with rig.running():
        await rig.clock.advance(2)
        rig.bus.answers["a"] = ReadFailed("timeout", FailureKind.TIMEOUT, unit=1)
        command = asyncio.create_task(rig.line.execute(rig.command()))
        await rig.clock.advance(0.3)
        rig.bus.answers["a"] = {"x": 5, "y": 2}
        await rig.clock.advance(2)
        assert command.done()
        await command
    assert len(rig.bus.writes) == 1


async def test_a_refused_command_fails_and_is_not_repeated() -> None:
    rig = Rig(a_device("a"))
    rig.bus.write_error = ReadFailed("lock-unknown", lock=99, last=16)
    async with rig.running():
        command = asyncio.create_task(rig.line.execute(rig.command()))
        await rig.clock.advance(10)
        with pytest.raises(ReadFailed, match="lock-unknown"):
            await command
    assert len(rig.bus.writes) == 1


async def test_a_command_whose_time_is_over_when_its_turn_comes_is_not_sent() -> None:
    rig = Rig(a_device("a"), a_device("slow"))
    rig.bus.latency["slow"] = 3
    async with rig.running():
        await rig.until_asking("slow")
        command = asyncio.create_task(rig.line.execute(rig.command(seconds=2)))
        await rig.clock.advance(5)
        with pytest.raises(ReadFailed, match="too-late"):
            await command
    assert rig.bus.writes == []


async def test_a_command_that_its_asker_gave_up_is_not_sent_and_harms_nobody(told: Any) -> None:
    rig = Rig(a_device("a"), a_device("slow"))
    rig.bus.latency["slow"] = 0.5
    async with rig.running():
        await rig.until_asking("slow")
        jobs = [
            asyncio.create_task(rig.line.execute(rig.command())),
            asyncio.create_task(rig.line.read("a")),
        ]
        await rig.clock.settle()
        for job in jobs:
            job.cancel()
        await rig.clock.advance(5)
    assert rig.bus.writes == []
    assert told() == ["bus-up"]


async def test_an_asker_that_gives_up_in_the_middle_harms_nobody(told: Any) -> None:
    rig = Rig(a_device("a"))
    async with rig.running():
        await rig.clock.advance(1.5)
        for ask in (lambda: rig.line.read("a"), lambda: rig.line.execute(rig.command())):
            job = asyncio.ensure_future(ask())
            await rig.clock.settle()
            assert rig.bus.asking
            job.cancel()
            await rig.clock.advance(5)
    assert told() == ["bus-up"]


async def test_an_unknown_action_and_a_line_that_is_down_are_refused_at_once() -> None:
    rig = Rig(a_device("a"))
    rig.bus.away = LinkDown("line-open", url="rtu:/dev/none", reason="no such file")
    async with rig.running():
        with pytest.raises(GatewayError, match="action-unknown"):
            await rig.line.execute(rig.command(action="dance"))
        with pytest.raises(GatewayError, match="line-open"):
            await rig.line.execute(rig.command())


async def test_jobs_that_wait_when_the_line_goes_down_fail() -> None:
    rig = Rig(a_device("a"), a_device("slow"))
    rig.bus.latency["slow"] = 0.5
    rig.bus.answers["slow"] = LinkDown("line-down", reason="gone")
    async with rig.running():
        await rig.until_asking("slow")
        jobs = [
            asyncio.create_task(rig.line.execute(rig.command())),
            asyncio.create_task(rig.line.read("a")),
        ]
        await rig.clock.advance(1)
        for job in jobs:
            with pytest.raises(LinkDown):
                await job
    assert rig.bus.writes == []


async def test_a_reading_on_demand_is_out_of_turn() -> None:
    rig = Rig(a_device("a", every=3600))
    async with rig.running():
        await rig.clock.advance(2)
        rig.bus.answers["a"] = {"x": 7, "y": 2}
        reading = asyncio.create_task(rig.line.read("a"))
        await rig.clock.advance(0.1)
        assert reading.done()
        result = await reading
    assert result.sample.values == {"x": 7, "y": 2}
    assert result.sample in rig.samples
    assert result.duration_s == pytest.approx(0.01)


async def test_a_reading_on_demand_that_fails_says_why() -> None:
    rig = Rig(a_device("a", every=3600))
    async with rig.running():
        await rig.clock.advance(2)
        rig.bus.answers["a"] = ReadFailed("timeout", FailureKind.TIMEOUT, unit=1)
        reading = asyncio.create_task(rig.line.read("a"))
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
        assert (rig.of("a")[-1].error, rig.of("a")[-1].facts) == ("silent", {"seconds": "30"})
        await rig.clock.advance(60)
        assert len(rig.samples) == 2
        rig.pushing.put_nowait(("a", {"x": 1, "y": 2}))
        await rig.clock.advance(1)
        assert rig.of("a")[-1].quality is Quality.GOOD
        assert told() == ["bus-up", "device-offline", "device-online"]
        rig.pushing.put_nowait(("a", LinkDown("broker-lost", reason="x")))
        await rig.clock.advance(0.1)
        assert [rig.of(name)[-1].error for name in "ab"] == ["broker-lost"] * 2


async def test_a_message_without_a_value_is_a_sign_of_life_and_no_value(told: Any) -> None:
    rig = Rig(optional_device("a", every=10))
    rig.pushing = asyncio.Queue()
    async with rig.running():
        for _ in range(5):
            rig.pushing.put_nowait(("a", {}))
            await rig.clock.advance(5)
        assert (rig.samples, rig.line.counters.failures) == ([], 0)
        rig.pushing.put_nowait(("a", {}))
        await rig.clock.advance(7)
        # Heard for longer than it may be silent, and nothing of what it is there for.
        valueless = {"x": "missing", "y": "missing"}
        assert [(s.error, s.values, s.bad) for s in rig.samples] == [("", {}, valueless)]
        rig.pushing.put_nowait(("a", {"x": 1}))
        await rig.clock.advance(1)
        assert rig.samples[-1].quality is Quality.GOOD
        await rig.clock.advance(35)
        assert rig.samples[-1].error == "silent"
        rig.pushing.put_nowait(("a", {}))
        await rig.clock.advance(1)
        assert (rig.samples[-1].error, rig.samples[-1].bad) == ("", valueless)
    assert told() == ["bus-up", "device-valueless", "device-offline", "device-online", "device-valueless"]


async def test_a_message_that_says_that_the_device_is_away_is_an_outage_at_once() -> None:
    rig = Rig(a_device("a", every=10))
    rig.pushing = asyncio.Queue()
    async with rig.running():
        rig.pushing.put_nowait(("a", {"x": 1, "y": 2}))
        rig.pushing.put_nowait(("a", ReadFailed("timeout", FailureKind.SILENT)))
        await rig.clock.advance(1)
        assert [sample.error for sample in rig.samples] == ["", "timeout"]


def optional_device(name: str, every: float) -> Device:
    device = a_device(name, every=every)
    points = {key: msgspec.structs.replace(point, optional=True) for key, point in device.points.items()}
    return msgspec.structs.replace(device, points=points)


async def test_a_line_that_begins_anew_is_reminded_of_what_its_devices_told() -> None:
    rig = Rig(a_device("a", every=10), a_device("b", every=10))
    rig.pushing = asyncio.Queue()
    async with rig.running():
        assert rig.restored == []
        for raw in ({"x": 1, "y": 2}, {"x": 3, "y": 2}, LinkDown("broker-lost", reason="x")):
            rig.pushing.put_nowait(("a", raw))
        await rig.clock.advance(5)
        assert rig.restored == [("a", b"{'x': 3, 'y': 2}")]


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
    task = asyncio.create_task(rig.line.execute(command))
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
    assert [(name, action) for _, name, action in rig.bus.writes] == [("a", "open")]
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
    assert len(rig.bus.writes) == 1


async def test_what_is_said_while_one_still_writes_counts() -> None:
    async with pushing(a_device("a")) as rig:
        rig.bus.latency["a"] = 2
        command = await ordered(rig, rig.command())
        rig.pushing.put_nowait(("a", {"x": 5, "y": 2}))
        await rig.clock.advance(1.9)
        assert not command.done()
        await rig.clock.advance(0.2)
        assert command.done()
        await command


async def test_one_device_that_takes_its_time_keeps_neither_the_others_nor_what_is_heard() -> None:
    async with pushing(a_device("a", every=100), a_device("b", every=100)) as rig:
        rig.bus.latency["a"] = 50
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
        rig.bus.latency["a"] = 1000
        command = await ordered(rig, rig.command())
        await rig.clock.advance(4)
        with pytest.raises(ReadFailed, match="unconfirmed"):
            await command


async def test_a_device_that_pushes_is_not_told_what_is_refused_too_late_or_unasked() -> None:
    async with pushing(a_device("a")) as rig:
        command = rig.command(seconds=5)
        rig.clock.wall += 6000
        with pytest.raises(ReadFailed, match="too-late"):
            await rig.line.execute(command)
        given_up = asyncio.create_task(rig.line.execute(rig.command()))
        given_up.cancel()
        await rig.clock.advance(1)
        assert rig.bus.writes == []
        rig.bus.write_error = ReadFailed("lock-unknown", lock=99, last=16)
        refused = await ordered(rig, rig.command())
        await rig.clock.advance(1)
        with pytest.raises(ReadFailed, match="lock-unknown"):
            await refused
        rig.pushing.put_nowait(("a", {"x": 5, "y": 2}))
        await rig.clock.advance(1)
        assert rig.line.counters.is_up
    assert len(rig.bus.writes) == 1


async def test_a_listener_that_ends_takes_its_commands_along(told: Any) -> None:
    async with pushing(a_device("a"), a_device("b")) as rig:
        waiting = await ordered(rig, rig.command("a"))
        await rig.clock.advance(0.5)
        rig.pushing.put_nowait(("a", LinkDown("broker-lost", reason="x")))
        unbegun = asyncio.create_task(rig.line.execute(rig.command("b")))
        await rig.clock.advance(0.5)
        assert waiting.done()
        with pytest.raises(ReadFailed, match="unconfirmed"):
            await waiting
        assert unbegun.done()
        with pytest.raises(LinkDown):
            await unbegun
    assert len(rig.bus.writes) == 1
    assert "crashed" not in told()


async def test_a_write_that_finds_the_line_dead_reopens_it(told: Any) -> None:
    async with pushing(a_device("a")) as rig:
        rig.bus.write_error = LinkDown("broker-lost", reason="x")
        command = await ordered(rig, rig.command())
        await rig.clock.advance(0.1)
        with pytest.raises(LinkDown):
            await command
        assert not rig.line.counters.is_up
        await rig.clock.advance(5)
        assert rig.line.counters.is_up
    assert told() == ["bus-up", "bus-down", "device-offline", "bus-up"]


async def test_a_reading_of_a_device_that_pushes_is_its_next_message() -> None:
    rig = Rig(a_device("a", every=10))
    rig.pushing = asyncio.Queue()
    async with rig.running():
        reading = asyncio.create_task(rig.line.read("a"))
        await rig.clock.advance(4)
        rig.pushing.put_nowait(("a", {"x": 3, "y": 2}))
        await rig.clock.advance(1)
        result = await reading
        assert result.sample.values == {"x": 3, "y": 2}
        assert result.duration_s == pytest.approx(4)
        rig.bus.away = LinkDown("broker-away", url="", reason="x")
        rig.pushing.put_nowait(("a", rig.bus.away))
        await rig.clock.advance(0.1)
        with pytest.raises(GatewayError, match="broker-away"):
            await rig.line.read("a")


async def test_the_last_message_of_a_device_that_pushes_is_there_at_once_with_its_age() -> None:
    rig = Rig(a_device("a", every=10), a_device("b", every=10))
    rig.pushing = asyncio.Queue()
    async with rig.running():
        assert rig.line.last_reading("a") is None
        assert rig.line.longest_wait_s("a") == 30
        rig.pushing.put_nowait(("a", {"x": 3, "y": 2}))
        await rig.clock.advance(4)
        rig.pushing.put_nowait(("a", ReadFailed("not-json", reason="x")))
        await rig.clock.advance(3)
        last = rig.line.last_reading("a")
        assert last
        assert (last.sample.values, last.raw) == ({"x": 3, "y": 2}, "{'x': 3, 'y': 2}")
        assert last.duration_s == pytest.approx(7, abs=0.1)
        assert rig.line.last_reading("b") is None
        # A sign of life makes its values no newer.
        rig.pushing.put_nowait(("a", {}))
        await rig.clock.advance(2)
        last = rig.line.last_reading("a")
        assert last
        assert last.sample.values == {"x": 3, "y": 2}
        assert last.duration_s == pytest.approx(9, abs=0.1)
        # What cannot be used is what it says now.
        rig.pushing.put_nowait(("a", {"x": "ERR"}))
        await rig.clock.advance(1)
        last = rig.line.last_reading("a")
        assert last
        assert (last.sample.values, last.sample.bad["x"]) == ({}, "wrong-type")
        assert last.duration_s == pytest.approx(1, abs=0.1)


async def test_why_a_line_is_down_can_cross_the_control_socket() -> None:
    rig = Rig(a_device("a"))
    file = Path("/etc/linli/ca.pem")
    rig.bus.away = LinkDown("secret-missing", file=file, reason=ReadFailed("silent", folder=file.parent))
    async with rig.running():
        await rig.clock.advance(1)
        report = json.loads(msgspec.json.encode(rig.line.report()))
        assert report["devices"][0]["reason"]["facts"]["file"] == str(file)


async def test_a_device_whose_alarm_cannot_be_read_is_not_called_well(told: Any) -> None:
    rig = Rig(a_device("a", every=10, alarm=HOT))
    rig.pushing = asyncio.Queue()

    def findings() -> list[tuple[str, Any]]:
        return [(each["key"], each["facts"].get("points")) for each in rig.line.report()["findings"]]

    async with rig.running():
        for x in ("ERR", "ERR", 1, -1):
            rig.pushing.put_nowait(("a", {"x": x, "y": 2}))
            await rig.clock.advance(1)
            assert findings() == ([] if x == 1 else [("points-unusable", "x")])
        # The next message of a device that sends parts may have what this one lacks.
        for _ in range(5):
            rig.pushing.put_nowait(("a", {"x": 1}))
            await rig.clock.advance(8)
            assert findings() == ([] if rig.clock.mono() < 33 else [("points-unusable", "y")])
    assert told() == ["bus-up", "point-unusable", "point-unusable"]


async def test_a_line_that_pushes_may_be_polled_as_well(told: Any) -> None:
    rig = Rig(a_device("a", every=10))
    rig.pushing, rig.polled = asyncio.Queue(), True
    rig.bus.answers["a"] = {"x": 5, "y": 2}
    async with rig.running():
        await rig.clock.advance(95)
        assert [s.quality for s in rig.samples] == [Quality.GOOD] * 11
        rig.pushing.put_nowait(("a", {"x": 1, "y": 2}))
        await rig.clock.advance(0.01)
        assert rig.of("a")[-1].values == {"x": 1, "y": 2}
        assert (await finished(rig, rig.line.read("a"))).sample.values == {"x": 5, "y": 2}
        assert (rig.line.last_reading("a"), rig.line.longest_wait_s("a")) == (None, 0)
        await finished(rig, rig.line.execute(rig.command()))
        assert [action for _, _, action in rig.bus.writes] == ["open"]
        # Whichever of the two finds that the line is gone, both begin anew.
        rig.pushing.put_nowait(("a", LinkDown("line-down", reason="x")))
        await rig.clock.advance(0.01)
        assert rig.of("a")[-1].error == "line-down"
        await rig.clock.advance(20)
        rig.bus.away = LinkDown("line-down", reason="x")
        rig.bus.answers["a"] = rig.bus.away
        await rig.clock.advance(10)
        rig.bus.answers["a"], rig.bus.away = {"x": 5, "y": 2}, None
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
    assert FakeClock().now().wall_ms == START
    first, again, other = (ScheduledDevice(DeviceHealth(a_device(name), 0.0)).phase for name in "aab")
    assert first == again != other


async def test_a_line_ends_between_two_transactions_and_nobody_waits_for_it() -> None:
    rig = Rig(a_device("a"))
    rig.bus.latency["a"] = 0.3
    running = asyncio.create_task(rig.line.run())
    await rig.until_asking("a")
    asked = asyncio.create_task(rig.line.read("a"))
    await rig.clock.settle()
    ending = asyncio.create_task(rig.line.stop(running))
    await rig.clock.advance(0.2)
    assert rig.bus.asking
    assert not ending.done()
    await rig.clock.advance(0.2)
    assert not rig.bus.asking
    assert running.cancelled()
    assert len(rig.of("a")) == len(rig.bus.polls)
    with pytest.raises(GatewayError, match="line-down"):
        await asked
    await ending


@pytest.mark.parametrize("turns", range(12))
async def test_a_line_that_goes_down_at_the_moment_it_is_ended_ends(turns: int) -> None:
    rig = Rig(a_device("a"))
    rig.pushing = asyncio.Queue()
    running = asyncio.create_task(rig.line.run())
    await rig.clock.settle()
    rig.pushing.put_nowait(("a", LinkDown("broker-lost", reason="x")))
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=1)
    assert running.cancelled()
