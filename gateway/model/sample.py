"""The result of one poll or push of one device."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from gateway.model.time import Stamp

Value = bool | int | float | str
"""One measured or counted thing, in the unit its point declares."""

Raw = Any
"""What a driver read, before decoding; its shape is private to the driver."""


MORE_PLACES = "*"
"""In `Sample.places`, the address that stands for all places that find no room."""


class Quality(StrEnum):
    """The quality of one sample."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    """Impossible values were left out (`Sample.bad` has their names and reasons), or the time of the
    measurement is unknown (`Sample.arrival`)."""
    OFFLINE = "offline"
    """The device does not answer; there are no values."""


class Arrival(StrEnum):
    """How a reading came here."""

    LIVE = "live"
    QUEUED = "queued"
    """It was sent at an unknown time while the gateway was away, and queued for it."""
    RETAINED = "retained"
    """The last state of the device that somebody has kept. It may have any age, and is no sign that the
    device still works."""


class StoredReading(msgspec.Struct, frozen=True):
    """A raw reading that did not come directly from its device."""

    raw: Raw
    arrival: Arrival


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One poll or push of one device. An outage is a sample without values, with the reason in `error`."""

    device: str
    at: Stamp
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    error: str = ""
    facts: dict[str, Any] = {}
    """What is in the sentence `error.{error}`."""
    places: dict[str, dict[str, str]] = {}
    """Of a boolean point that stands for many places behind one device: those where it is true, by their
    addresses, each with its name for people (or ""). The address "" is the device itself. Each place is an
    alarm of its own; in the journal are only its alarms."""
    arrival: Arrival = Arrival.LIVE
    """Unless it is live, the values were measured at an unknown time before `at`."""
    driver_state: bytes | None = None
    """What its driver must know after a restart; stored like an alarm, and never sent upstream."""

    @property
    def quality(self) -> Quality:
        if self.error:
            return Quality.OFFLINE
        return Quality.UNCERTAIN if self.bad or self.arrival is not Arrival.LIVE else Quality.GOOD
