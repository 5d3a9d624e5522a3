"""Which alarms switch on which outputs: sirens, strobes, valves and doors. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from gateway.model import Checks, Hazard

from .service import Alarm, AlarmMode

OUTPUTS_DEVICE = "outputs"
"""The device that reports the outputs: `siren` is whether it is on, `siren.failed` whether it failed."""


class Output(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`[output.…]`: a device that alarms of these hazards switch on, with the actions that switch it.

    Without `off` the output stays on until a person resets it by hand (a gas valve). An output that must
    be safe without power or gateway (a door that opens) is wired accordingly: `on` removes its power.
    """

    device: str
    on: str = "on"
    off: str | None = None
    hazards: tuple[Hazard, ...]
    sound: bool = False
    """It makes a sound: it can be muted, and stops when an acknowledged alarm clears."""
    drill: bool = False
    """It is switched on by drills, too."""
    unless: tuple[Hazard, ...] = ()
    """Interlock: it stays off while an alarm of these hazards stands (a relay must not spark in gas)."""

    CHECKS: ClassVar[Checks] = {"hazards": (bool, "output-hazards")}


def alarms_requiring(output: Output, alarms: Iterable[Alarm]) -> list[Alarm]:
    """The alarms that require an output to be on; empty when it must be off."""
    standing = [alarm for alarm in alarms if alarm.is_current]
    if any(alarm.hazard in output.unless and alarm.mode is not AlarmMode.DRILL for alarm in standing):
        return []
    return [
        alarm
        for alarm in standing
        if alarm.hazard in output.hazards
        and (alarm.is_sounding or not output.sound)
        and (output.drill or alarm.mode is not AlarmMode.DRILL)
    ]
