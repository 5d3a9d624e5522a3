"""When a device is asked: on a grid of its own, ever less often while it fails, and no slow one for longer
than its share of the line's time.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable

from gateway.model import MISSES_UNTIL_OFFLINE, Device, Sample

from .tally import Recent

PROBE = 60.0
"""Seconds between two probes of a device that is gone for long."""
QUICK = 0.25
"""Seconds on the line that take nobody's turn: who needs no more may be asked as often as is wanted."""
SLOTS = 32
"""Phases a device may have: polls never bunch up, yet the loop wakes once for those of several lines."""


class Slot:
    """A device's place in the schedule."""

    def __init__(self, device: Device, now: float = 0.0) -> None:
        self.device = device
        self.safety = device.safety
        self.recent = Recent(now)
        self.standing: frozenset[str] = frozenset()
        """Its points that are an alarm."""
        self.phase = zlib.crc32(device.name.encode()) % SLOTS / SLOTS
        self.due = 0.0
        self.failures = 0
        self.told_offline = False

    def plan(self, now: float, start: float, spent: float, share: float) -> int:
        """When to ask again: on the device's own grid, so that polls never bunch up, and so that it uses
        no more than its share of the line's time.

        Returns how many polls were missed because the line was busy.
        """
        every = self.device.every
        before = self.due
        if self.failures:
            # Soon at first, so that an outage is known; then ever less often.
            wait = (
                min(every, 1.0)
                if self.failures < MISSES_UNTIL_OFFLINE
                else doubled(every, self.failures - MISSES_UNTIL_OFFLINE)
            )
            self.due = now + wait
        else:
            anchor = start + self.phase * every
            self.due = anchor + max(0.0, (now - anchor) // every + 1) * every
        if spent > QUICK:
            self.due = max(self.due, now + spent / share - spent)
        missed = 0 if self.failures else max(0, round((self.due - before) / every) - 1)
        tally = self.recent.now(now)
        tally.busy += spent
        tally.missed += missed
        return missed

    def alarms(self, sample: Sample) -> frozenset[str]:
        """The points that are an alarm by this sample."""
        if not self.safety:
            return frozenset()
        specs = {name: self.device.points[name].alarm for name in sample.values}
        return frozenset(
            name for name, spec in specs.items() if spec and spec.exceeded(sample.values[name])
        )


def doubled(every: float, times: int, most: float = PROBE) -> float:
    """Seconds to wait: twice as long each time, up to `most`, and never less than `every`."""
    return min(every * float(2 ** min(times, 16)), max(every, most))


class Queue:
    """Slots by the time they are due."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._heap = [(slot.due, slot.device.name, slot) for slot in slots]
        heapq.heapify(self._heap)

    @property
    def due(self) -> float:
        return self._heap[0][0] if self._heap else float("inf")

    def push(self, slot: Slot) -> None:
        heapq.heappush(self._heap, (slot.due, slot.device.name, slot))

    def pop(self) -> Slot:
        return heapq.heappop(self._heap)[2]
