"""Walk tests, from the records of the alarm lane: who tested which detectors, and which answered."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from gateway.model import Record, Stamp

LocalClock = Callable[[Stamp], datetime.datetime | None]


class TestedPoint(msgspec.Struct):
    """One detector of a walk test, and when it answered; None: it did not."""

    device: str
    point: str
    answered: datetime.datetime | None = None


class WalkTest(NamedTuple):
    """The tests of one person on one day."""

    day: datetime.date
    by: str
    began: datetime.datetime
    points: tuple[TestedPoint, ...]

    @property
    def answered(self) -> int:
        """How many detectors answered."""
        return sum(point.answered is not None for point in self.points)

    @property
    def last(self) -> datetime.datetime:
        """When the last one answered; when it began, if none did."""
        return max((point.answered for point in self.points if point.answered), default=self.began)


class WalkTestLog:
    """Collects the walk tests of one month (`2026-11`) or year (`2026`), from records oldest first."""

    def __init__(self, period: str, local_time: LocalClock) -> None:
        self.period = period
        self._local_time = local_time
        self._tests: dict[tuple[datetime.date, str], dict[tuple[str, str], TestedPoint]] = {}
        self._began: dict[tuple[datetime.date, str], datetime.datetime] = {}
        self._running: dict[tuple[str, str], tuple[datetime.date, str]] = {}
        """The test that each detector is in."""

    def add_record(self, record: Record) -> None:
        """Add a record of the alarm lane."""
        body = record.body
        change = body.get("change")
        if record.kind != "alarm" or change not in ("test-begun", "tested", "test-ended"):
            return
        at, detector = self._local_time(record.at), (record.device, str(body["point"]))
        if at is None:
            return
        if change == "test-begun":
            key = at.date(), str(body["by"])
            self._running[detector] = key
            if f"{at:%Y-%m}".startswith(self.period):
                self._began.setdefault(key, at)
                self._tests.setdefault(key, {}).setdefault(detector, TestedPoint(*detector))
        elif change == "tested":
            point = self._tests.get(self._running.get(detector, (at.date(), "")), {}).get(detector)
            if point is not None and point.answered is None:
                point.answered = at
        else:
            self._running.pop(detector, None)

    def tests(self) -> list[WalkTest]:
        """Newest first."""
        found = [
            WalkTest(*key, self._began[key], tuple(points.values())) for key, points in self._tests.items()
        ]
        return sorted(found, key=lambda test: test.began, reverse=True)
