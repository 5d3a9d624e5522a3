"""What the dashboard has read from the journal and the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.model import Record, Rows, Stamp, Value

PointValues = Mapping[str, Mapping[str, tuple[Value, Stamp]]]
"""By device and point: the last value, and when it was measured."""


class DaemonHealth(msgspec.Struct, frozen=True):
    """What the daemon reports about itself; `trouble` is empty if there is none."""

    trouble: str = ""
    refused: Mapping[str, list[str]] = {}
    """Why it does not run the site file: sentences by language; empty if it does."""


class Snapshot(msgspec.Struct, frozen=True):
    """The latest state that was read."""

    rows: Mapping[str, Rows] | None = None
    """Each service's rows; None when there is no journal."""
    samples: Mapping[str, Record] = {}
    """The latest sample of each device, services' summaries included."""
    pending: Mapping[str, int] | None = None
    """How many records are still to be delivered."""
    health: DaemonHealth | None = None
    """None: the daemon does not answer."""
    trouble: str = ""
    """Why the journal cannot be read."""
    values: PointValues = {}
    """Beside `samples`, as some devices send their points in several messages."""
    removed: Mapping[str, tuple[tuple[Any, Stamp], ...]] = {}
    """By service: rows that were removed, and when; kept for `PagePart.removed_rows_s`."""
    history: Mapping[str, Any] = {}
    """By part: what its `PagePart.history` has read."""
    buses: Mapping[str, Any] | None = None
    """The bus doctor's report of each bus; None while it has not answered."""

    def service(self, name: str) -> Rows:
        """The rows of one service."""
        return (self.rows or {}).get(name, {})
