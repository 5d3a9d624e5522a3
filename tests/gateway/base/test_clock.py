"""The machine's clock, and local days."""

import asyncio
import datetime
import time
from zoneinfo import ZoneInfo

import pytest

from gateway.base.clock import MIN_PLAUSIBLE_TIME_S, SystemClock, local_day
from gateway.model import ClockQuality, Stamp


def stamp(text: str, zone: str) -> Stamp:
    moment = datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return Stamp(round(moment.timestamp() * 1000), 0, "b", ClockQuality.SYNCED)


@pytest.mark.parametrize(
    ("zone", "moment", "day"),
    [
        ("Asia/Shanghai", "2026-11-21T23:59:59.999", "2026-11-21"),
        ("Asia/Shanghai", "2026-11-22T00:00:00.000", "2026-11-22"),
        ("Asia/Kathmandu", "2026-11-21T23:59:59.999", "2026-11-21"),  # +05:45
        ("Asia/Kathmandu", "2026-11-22T00:00:00.000", "2026-11-22"),
        ("Europe/Berlin", "2026-03-28T23:59:59.999", "2026-03-28"),
        ("Europe/Berlin", "2026-03-29T00:00:00.000", "2026-03-29"),  # of 23 hours
        ("Europe/Berlin", "2026-03-29T23:59:59.999", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25T00:00:00.000", "2026-10-25"),  # of 25 hours
        ("Europe/Berlin", "2026-10-25T23:59:59.999", "2026-10-25"),
        ("America/Santiago", "2026-09-05T23:59:59.999", "2026-09-05"),
        ("America/Santiago", "2026-09-06T01:00:00.000", "2026-09-06"),  # without a midnight
    ],
)
def test_a_day_is_the_sites_own(zone: str, moment: str, day: str) -> None:
    assert local_day(zone)(stamp(moment, zone)) == day


def test_days_of_clock_change_have_their_own_length() -> None:
    day_of = local_day("Europe/Berlin")
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)):
        start = stamp(f"{day}T00:00", "Europe/Berlin").wall_ms
        quarters = [Stamp(start + n * 900_000, 0, "b", ClockQuality.SET) for n in range(-8, 120)]
        assert sum(day_of(at) == day for at in quarters) == hours * 4


def test_the_clocks_quality_follows_the_wall_clock_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, wall = SystemClock(), [12_000_000_000]
    monkeypatch.setattr(time, "time_ns", lambda: wall[0])
    assert clock.now().clock is ClockQuality.UNSET
    assert clock.now().wall_ms == 12_000
    wall[0] = MIN_PLAUSIBLE_TIME_S * 1_000_000_000 - 1_000_000
    assert clock.now().clock is ClockQuality.UNSET
    wall[0] = MIN_PLAUSIBLE_TIME_S * 1_000_000_000
    assert clock.now().clock in (ClockQuality.SET, ClockQuality.SYNCED), "not after ten seconds"
    wall[0] = 0
    assert clock.now().clock is ClockQuality.UNSET


async def test_monotonic_time_and_waiting() -> None:
    clock, event = SystemClock(), asyncio.Event()
    first = clock.now()
    await clock.wait(event, 0.02)
    second = clock.now()
    assert second.mono_ns - first.mono_ns >= 20_000_000
    assert second.boot == first.boot == SystemClock().now().boot
    event.set()
    began = clock.mono()
    await clock.wait(event, 30)
    assert clock.mono() - began < 5
