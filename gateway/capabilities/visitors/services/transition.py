"""What one message changes: the rows it was given stay as they are."""

from __future__ import annotations

from typing import TypeVar

from gateway.model import Changes, Fact, Row, Rows, Stamp

from .opening_hours import Day

COUNTER, DOOR, PLACE, BOOKING, DAY = "counter/", "door/", "place/", "booking/", "day/"
"""What the keys of the rows begin with; the centre's place and the day are called no more than that."""

R = TypeVar("R", bound=Row)


class Tally(Row, frozen=True, kw_only=True, tag="door", omit_defaults=True):
    """One door's day; its key is `door/` and its name, that of its counter where it has none."""

    came: int = 0
    left: int = 0
    active: str = ""
    """The counter that counts; none can be trusted where it is empty."""
    counters: tuple[str, ...] = ()
    """All that it had when one was last heard."""


class Step:
    """Rows as they become, and facts as they are told."""

    def __init__(self, rows: Rows, at: Stamp) -> None:
        self._rows = rows
        self.at = at
        self.changes: Changes = {}
        self.facts: list[Fact] = []

    @property
    def day(self) -> Day:
        return self.get(DAY, Day())

    def get(self, key: str, otherwise: R) -> R:
        """A row, which is of the kind that its key says."""
        row = self.changes[key] if key in self.changes else self._rows.get(key)
        return otherwise if row is None else row  # type: ignore[return-value]

    def all(self, prefix: str, kind: type[R]) -> list[tuple[str, R]]:
        """The rows whose keys begin so."""
        rows = {**self._rows, **self.changes}
        return [(key, row) for key, row in rows.items() if key.startswith(prefix) and isinstance(row, kind)]

    def put(self, key: str, row: Row) -> None:
        if row == self._rows.get(key):
            self.changes.pop(key, None)
        else:
            self.changes[key] = row

    def drop(self, key: str) -> None:
        self.changes[key] = None
