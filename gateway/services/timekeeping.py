"""Timekeeping: where the wall clock stood in each boot, so that stamps of a clock that was not set can be
corrected, and every leap of it is written down. Nothing is ever ordered or expired by the wall clock."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.model import GATEWAY, Changes, ClockQuality, Fact, Lane, Message, Rows, Service, Stamp, Tick

LEAP = 500
"""Milliseconds the wall clock may move against the monotonic one unremarked: NTP slews."""
BOOTS = 16
"""Boots remembered."""


class Boot(msgspec.Struct, frozen=True):
    """One boot; its key is the boot's id. `zero` is the Unix time in milliseconds it began at, by the
    clock's latest word; `order` counts boots."""

    zero: int
    clock: ClockQuality
    order: int


class Timekeeping(Service):
    """Follows the difference between the two clocks."""

    name = "timekeeping"
    row = Boot

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if not isinstance(message, Tick):
            return {}, []
        at = message.at
        zero = at.wall - at.mono // 1_000_000
        old: Boot | None = rows.get(at.boot)
        if old is not None and abs(zero - old.zero) <= LEAP and old.clock == at.clock:
            return {}, []
        order = old.order if old else max((boot.order for boot in rows.values()), default=0) + 1
        changes: Changes = {at.boot: Boot(zero, at.clock, order)}
        changes |= {key: None for key, boot in rows.items() if boot.order <= order - BOOTS}
        if old is None:
            return changes, []
        body = {"leap": zero - old.zero, "before": old.clock, "clock": at.clock}
        return changes, [Fact(Lane.EVENT, GATEWAY, "clock", at, body)]


def correct(boots: Mapping[str, Boot], at: Stamp) -> Stamp:
    """A stamp from before the clock was set, by what its boot's clock said later; others as they are."""
    boot = boots.get(at.boot)
    if at.is_set or boot is None or boot.clock is ClockQuality.UNSET:
        return at
    return Stamp(boot.zero + at.mono // 1_000_000, at.mono, at.boot, ClockQuality.CORRECTED)
