"""When a device is polled: at its own phase of its own period, less and less often while it fails, and
never longer than its share of the line's time allows."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable

from gateway.model import FAILURES_UNTIL_OFFLINE

from .health import DeviceHealth

MAX_PROBE_INTERVAL_S = 60.0
"""Between two polls of a device that has been offline for long."""
MAX_UNLIMITED_POLL_S = 0.25
"""A device whose poll takes no longer may be polled as often as configured, whatever its share."""
PHASE_COUNT = 32
"""Phases a device may have: polls never bunch up, yet one wake-up serves those of several lines."""


class ScheduledDevice:
    """A device with the time at which it is polled next, in monotonic seconds."""

    def __init__(self, health: DeviceHealth) -> None:
        self.health = health
        self.device = health.device
        self.is_safety_device = health.is_safety_device
        self.phase = zlib.crc32(self.device.name.encode()) % PHASE_COUNT / PHASE_COUNT
        self.period_s = self.device.every
        """Seconds between its polls at present."""
        self.due_s = 0.0
        self._last_spent_s = 0.0

    def schedule_next(self, now_s: float, spent_s: float, max_share: float, stretch: float) -> int:
        """Set the time of the next poll: in the device's own phase of the monotonic clock, and so that it
        uses at most `max_share` (0 to 1) of the line's time. `spent_s` is what its last poll took; the
        period is `stretch` times the configured one.

        Returns how many polls were missed because the line was busy.
        """
        period_s, failures = self.device.every * stretch, self.health.failures_in_a_row
        was_due = self.due_s
        earlier_period_s, self.period_s = self.period_s, period_s
        if failures:
            # Soon at first, so that an outage is known; then less and less often.
            delay_s = (
                min(period_s, 1.0)
                if failures < FAILURES_UNTIL_OFFLINE
                else backoff_s(period_s, failures - FAILURES_UNTIL_OFFLINE)
            )
            self.due_s = now_s + delay_s
        else:
            anchor = self.phase * period_s
            # Other periods have other phases: polls come early and late, but not twice as often on the way.
            earliest_s = max(now_s, was_due + period_s / 2) if period_s != earlier_period_s else now_s
            self.due_s = anchor + max(0.0, (earliest_s - anchor) // period_s + 1) * period_s
        # One slow answer may be the machine's doing: a device is slow if two in a row are.
        slow_s = spent_s if failures else min(spent_s, self._last_spent_s)
        self._last_spent_s = spent_s
        if slow_s > MAX_UNLIMITED_POLL_S:
            self.due_s = max(self.due_s, now_s + slow_s / max_share - slow_s)
        missed = 0 if failures else max(0, round((self.due_s - was_due) / period_s) - 1)
        tally = self.health.tally.current(now_s)
        tally.busy_s += spent_s
        tally.missed += missed
        return missed


def backoff_s(base_s: float, doublings: int, max_s: float = MAX_PROBE_INTERVAL_S) -> float:
    """Seconds to wait: twice as long each time, up to `max_s`, and never less than `base_s`."""
    return min(base_s * float(2 ** min(doublings, 16)), max(base_s, max_s))


class PollQueue:
    """Devices by the time they are due."""

    def __init__(self, devices: Iterable[ScheduledDevice]) -> None:
        self._heap = [(scheduled.due_s, scheduled.device.name, scheduled) for scheduled in devices]
        heapq.heapify(self._heap)

    @property
    def next_due_s(self) -> float:
        """Monotonic seconds; infinite for an empty queue."""
        return self._heap[0][0] if self._heap else float("inf")

    def push(self, scheduled: ScheduledDevice) -> None:
        heapq.heappush(self._heap, (scheduled.due_s, scheduled.device.name, scheduled))

    def pop(self) -> ScheduledDevice:
        return heapq.heappop(self._heap)[2]
