"""The changes and facts that one message causes; the rows themselves are not modified."""

from __future__ import annotations

from typing import TypeVar

from gateway.model import Fact, Row, RowChanges, Rows, Stamp

from .opening_hours import Day

COUNTER_PREFIX, DOOR_PREFIX, PLACE_PREFIX, BOOKING_PREFIX, DAY_KEY = (
    "counter/",
    "door/",
    "place/",
    "booking/",
    "day/",
)
"""Prefixes of row keys; the key of the centre's place is the bare prefix."""

R = TypeVar("R", bound=Row)


class DoorTally(Row, frozen=True, kw_only=True, tag="door", omit_defaults=True):
    """The current day of one door; its key is `door/` and its name, or its counter's name if it has
    none."""

    came: int = 0
    left: int = 0
    active: str = ""
    """The active counter; empty if none is trustworthy."""
    counters: tuple[str, ...] = ()
    """All counters of the door at the last report of one."""


class VisitorsTransition:
    """Collects changed rows and new facts."""

    def __init__(self, rows: Rows, at: Stamp) -> None:
        self._rows = rows
        self.at = at
        self.changes: RowChanges = {}
        self.facts: list[Fact] = []

    @property
    def day(self) -> Day:
        return self.get_row(DAY_KEY, Day())

    def get_row(self, key: str, default: R) -> R:
        """The row with that key, including changes; its type follows from the key's prefix."""
        row = self.changes[key] if key in self.changes else self._rows.get(key)
        return default if row is None else row  # type: ignore[return-value]

    def rows_of_kind(self, prefix: str, kind: type[R]) -> list[tuple[str, R]]:
        """The rows whose keys have the prefix, including changes."""
        rows = {**self._rows, **self.changes}
        return [(key, row) for key, row in rows.items() if key.startswith(prefix) and isinstance(row, kind)]

    def set_row(self, key: str, row: Row) -> None:
        if row == self._rows.get(key):
            self.changes.pop(key, None)
        else:
            self.changes[key] = row

    def delete_row(self, key: str) -> None:
        self.changes[key] = None
