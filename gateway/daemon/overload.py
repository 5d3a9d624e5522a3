"""What the gateway does when its site asks for more than the computer can do: it polls less often.

The periods of all devices become longer by the same factor, except those of safety devices. Without that,
polls would be missed at random, and delivery would fall behind.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.base.log import log_event
from gateway.model import Clock

MEASURING_INTERVAL_S = 1.0
BUSY_IDLE_FRACTION = 0.1
"""With less idle time, the computer is the cause of what is missed; with more, a line or the network is."""
SPARE_IDLE_FRACTION, TARGET_IDLE_FRACTION, SPARE_INTERVALS = 0.05, 0.03, 3
"""With more idle time than the first over so many intervals, polls become more frequent again, up to the
second."""
SPARE_WHILE_BEHIND = 0.3
"""The same while a backlog is being delivered: the broker may be what it waits for, and everything else on
this computer then waits for the broker."""
MIN_INCREASE, MAX_COUNTED_MISSED_FRACTION = 1.01, 0.5
"""Of the periods in one interval, so that they suffice for the polls; they are doubled at most."""
INCREASE_WHILE_BEHIND = 1.1
"""Of the periods, for each interval in which delivery has fallen behind."""
MAX_STRETCH = 10.0
"""Whatever holds the event loop, no device is polled less often than this allows."""
MAX_WINDOWS_BEHIND, DRAIN_INTERVALS = 1, 5
"""More windows than that are a backlog; it is being delivered if it has shrunk in so many intervals."""
MIN_REPORTED_STRETCH, REPORT_DELAY_S = 1.1, 10.0
"""An overload is reported when the periods have been that long, or as configured, for so many seconds."""


class LoadCounters(msgspec.Struct, frozen=True):
    """What the control of the load is based on."""

    idle_s: float
    """Seconds since the start in which the event loop had nothing to do."""
    polls: int
    missed: int
    """Polls since the start, and those for which there was no time."""
    windows_behind: int
    """Windows of telemetry that the platform has not acknowledged, while it is connected."""


class Overload:
    """Decides once per interval by how much the periods are stretched."""

    def __init__(self, clock: Clock, measure: Callable[[], LoadCounters]) -> None:
        self._clock = clock
        self._measure = measure
        self._recent_windows_behind: deque[int] = deque(maxlen=DRAIN_INTERVALS)
        self._idle_fractions: list[float] = []
        self._last_missed_fraction = 0.0
        self._agreed_at_s = clock.mono()
        self.stretch = 1.0
        """The factor of the periods, 1 to `MAX_STRETCH`."""
        self.is_reported = False
        """Whether an overload has been reported and is not over."""

    async def run(self) -> None:
        """Measure until cancelled; log once when an overload begins, and once when it is over."""
        began, before = self._clock.mono(), self._measure()
        while True:
            await self._clock.sleep(MEASURING_INTERVAL_S)
            now, after = self._clock.mono(), self._measure()
            polls, missed = after.polls - before.polls, after.missed - before.missed
            self.update(
                (after.idle_s - before.idle_s) / (now - began),
                missed / max(1, polls + missed),
                after.windows_behind,
            )
            began, before = now, after
            self._report(now)

    def update(self, idle_fraction: float, missed_fraction: float, windows_behind: int) -> None:
        """Adapt to the last interval: the part of it in which the event loop was idle, the part of the
        polls for which there was no time, and the windows that the platform has not acknowledged.

        A backlog that is being delivered takes all the time there is, and is no overload by itself.
        """
        recent = self._recent_windows_behind
        is_behind = windows_behind > MAX_WINDOWS_BEHIND
        falls_behind = is_behind and bool(recent) and windows_behind >= max(recent)
        recent.append(windows_behind)
        # One interval with missed polls, as after a start, is no overload.
        missed = min(missed_fraction, self._last_missed_fraction)
        self._last_missed_fraction = missed_fraction
        increase = 1 / (1 - min(missed, MAX_COUNTED_MISSED_FRACTION))
        if falls_behind:
            increase = max(increase, INCREASE_WHILE_BEHIND)
        self._idle_fractions = [*self._idle_fractions, idle_fraction][-SPARE_INTERVALS:]
        idle = sum(self._idle_fractions) / SPARE_INTERVALS
        if idle_fraction < BUSY_IDLE_FRACTION and increase > MIN_INCREASE:
            self._set_stretch(self.stretch * increase)
        elif len(self._idle_fractions) == SPARE_INTERVALS and idle > (
            SPARE_WHILE_BEHIND if is_behind else SPARE_IDLE_FRACTION
        ):
            self._set_stretch(self.stretch * (1 - (idle - TARGET_IDLE_FRACTION)))

    def _set_stretch(self, stretch: float) -> None:
        """What was measured before says nothing about the new periods."""
        self.stretch = min(MAX_STRETCH, max(1.0, stretch))
        self._idle_fractions = []
        self._recent_windows_behind.clear()
        self._last_missed_fraction = 0.0

    def facts(self) -> dict[str, Any]:
        """How much longer the periods are than configured, for a sentence."""
        return {"times": round(self.stretch, 2)}

    def _report(self, now: float) -> None:
        is_overload = self.stretch > 1 if self.is_reported else self.stretch >= MIN_REPORTED_STRETCH
        if is_overload is self.is_reported:
            self._agreed_at_s = now
        elif now - self._agreed_at_s >= REPORT_DELAY_S:
            self.is_reported = not self.is_reported
            if self.is_reported:
                log_event(logging.WARNING, "overloaded", **self.facts())
            else:
                log_event(logging.INFO, "overload-over")
