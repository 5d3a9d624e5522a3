"""What an alarm warns of, and when a value is one."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

from gateway.model.checks import Checks, is_delay_s
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
    """More people inside than allowed."""
    WATER = "water"
    FOOD = "food"
    TAMPER = "tamper"
    FAULT = "fault"


LATCHING_HAZARDS = frozenset({Hazard.FIRE, Hazard.GAS, Hazard.ELECTRICAL, Hazard.SOS})
"""Alarms that stay until a named person resets them, even if the condition is gone
(GB 26875.1-2011; GB 14287.5-2025)."""


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a value is out of bounds: a boolean when true, a number above `above` or below `below`.

    A number must return by `hysteresis` before it is within bounds again.
    """

    above: float | None = None
    below: float | None = None
    hysteresis: float = 0.0

    CHECKS: ClassVar[Checks] = {"hysteresis": (lambda band: band >= 0, "not-negative")}
    STRUCT_CHECKS: ClassVar[Checks] = {
        "above": (
            lambda limit: limit.above is None or limit.below is None or limit.below <= limit.above,
            "limit-always",
        ),
        "hysteresis": (
            lambda limit: not limit.hysteresis or limit.above is not None or limit.below is not None,
            "limit-none",
        ),
    }

    def exceeded(self, value: Value, was_exceeded: bool = False) -> bool:
        """Whether the value is out of bounds; `was_exceeded`: whether it was before, so that hysteresis
        applies."""
        if isinstance(value, bool | str):
            return value is True
        band = self.hysteresis if was_exceeded else 0.0
        high = self.above is not None and value > self.above - band
        low = self.below is not None and value < self.below + band
        return high or low


class AlarmSpec(Limit, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a point is an alarm, in a device's profile.

    It must last for `delay` seconds to start, and be gone for `off_delay` seconds to end (ISA-18.2, 16.5:
    on- and off-delay), so that a flapping input is one alarm.
    """

    hazard: Hazard
    delay: float = 0.0
    off_delay: float = 5.0
    latch: bool | None = None
    """Whether it stays until it is reset; None: as its hazard demands."""
    while_open: bool = False
    """Of tampering: it is an alarm only in the site's opening hours, if there are any. A camera is also
    dark when the lights are out."""

    CHECKS: ClassVar[Checks] = {
        "delay": (is_delay_s, "delay-range"),
        "off_delay": (is_delay_s, "delay-range"),
    }
