"""What one poll or one push of one device gave."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from gateway.model.time import Stamp

Value = bool | int | float | str
"""One measured or counted thing, in the unit its point declares."""

Raw = Any
"""What a driver read, before decoding; only that driver knows its shape."""


class Quality(StrEnum):
    """How good one sample is."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    """Some values were impossible and left out: `Sample.bad` says which."""
    OFFLINE = "offline"
    """The device does not answer; there are no values."""


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One poll or one push of one device. An outage is a sample too: no values, and why in `error`."""

    device: str
    at: Stamp
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    error: str = ""
    driver_state: bytes | None = None
    """What its driver must know of it when it begins anew; kept with the alarms, and never sent."""

    @property
    def quality(self) -> Quality:
        if self.error:
            return Quality.OFFLINE
        return Quality.UNCERTAIN if self.bad else Quality.GOOD
