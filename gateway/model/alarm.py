"""What an alarm warns of, and when a value is one."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gateway.model.sample import Value


class Hazard(StrEnum):
    """What an alarm warns of, most urgent first."""

    FIRE = "fire"
    GAS = "gas"
    ELECTRICAL = "electrical"
    SOS = "sos"
    EXIT = "exit"
    """A fire lane, an exit or a way out is blocked."""
    CROWD = "crowd"
    """More people inside than the place is made for."""
    WATER = "water"
    FOOD = "food"
    TAMPER = "tamper"
    FAULT = "fault"


LATCHING = frozenset({Hazard.FIRE, Hazard.GAS, Hazard.ELECTRICAL, Hazard.SOS})
"""What stays an alarm until a named person has reset it, although the condition is gone
(GB 26875.1-2011; GB 14287.5-2025)."""


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a value is beyond what it may be: a boolean when true, a number beyond `above` or `below`.

    A number must come back by `hysteresis` before it counts as back.
    """

    above: float | None = None
    below: float | None = None
    hysteresis: float = 0.0

    def exceeded(self, value: Value, already: bool = False) -> bool:
        """Whether the value is beyond its limit, or with `already` still so."""
        if isinstance(value, bool | str):
            return value is True
        band = self.hysteresis if already else 0.0
        high = self.above is not None and value > self.above - band
        low = self.below is not None and value < self.below + band
        return high or low


class AlarmSpec(Limit, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a point is an alarm, in a device's profile.

    It must last for `delay` seconds, and be gone for `off_delay`, before it counts (ISA-18.2, 16.5: on-
    and off-delay): an input that flaps is one alarm.
    """

    hazard: Hazard
    delay: float = 0.0
    off_delay: float = 5.0
    latch: bool | None = None
    """Whether it stays until it is reset; by default what its hazard asks for."""
    while_open: bool = False
    """Of tampering: it is an alarm in the site's opening hours alone, where there are any. When the lights
    are out, a camera sees nothing, either."""
