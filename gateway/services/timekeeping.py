"""Timekeeping: the wall clock of each boot, by which stamps from before it was set are corrected. Each leap
of the wall clock is recorded."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.model import (
    GATEWAY_DEVICE,
    ClockQuality,
    Fact,
    Lane,
    Message,
    RowChanges,
    Rows,
    Service,
    Stamp,
    Tick,
)

MAX_DRIFT_MS = 500
"""How far the wall clock may move against the monotonic one without a record: NTP slews."""
MAX_BOOTS = 16
"""The newest are kept."""


class Boot(msgspec.Struct, frozen=True):
    """One boot; the key of its row is the boot's id. `zero` is its start in Unix milliseconds, by the
    newest reading of the clock; `order` counts boots."""

    zero: int
    clock: ClockQuality
    order: int


class Timekeeping(Service):
    """Tracks the difference between the wall clock and the monotonic clock."""

    name = "timekeeping"
    row = Boot

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if not isinstance(message, Tick):
            return {}, []
        at = message.at
        zero = at.wall_ms - at.mono_ns // 1_000_000
        old: Boot | None = rows.get(at.boot)
        if old is not None and abs(zero - old.zero) <= MAX_DRIFT_MS and old.clock == at.clock:
            return {}, []
        order = old.order if old else max((boot.order for boot in rows.values()), default=0) + 1
        changes: RowChanges = {at.boot: Boot(zero, at.clock, order)}
        changes |= {key: None for key, boot in rows.items() if boot.order <= order - MAX_BOOTS}
        if old is None:
            return changes, []
        body = {"leap": zero - old.zero, "before": old.clock, "clock": at.clock}
        return changes, [Fact(Lane.EVENT, GATEWAY_DEVICE, "clock", at, body)]


def correct_stamp(boots: Mapping[str, Boot], at: Stamp) -> Stamp:
    """A stamp from before the clock was set, corrected by the later clock of its boot; others unchanged."""
    boot = boots.get(at.boot)
    if at.is_set or boot is None or boot.clock is ClockQuality.UNSET:
        return at
    return Stamp(boot.zero + at.mono_ns // 1_000_000, at.mono_ns, at.boot, ClockQuality.CORRECTED)
