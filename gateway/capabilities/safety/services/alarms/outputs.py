"""Sirens, strobes, valves and doors: which alarms ask for which of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from gateway.model import Checks, Hazard

from .service import Alarm, Mode

OUTPUTS = "outputs"
"""The device that they are reported as: `siren` says whether it is on, `siren.failed` whether it obeys."""


class Output(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`[output.…]`: what is switched `on` by an alarm of its hazards, and by which actions of a device.

    Without `off` it stays as it is until a person has seen to it (a gas valve). What must be safe
    without power or gateway (a door that opens) is wired so: `on` then takes the power away.
    """

    device: str
    on: str = "on"
    off: str | None = None
    hazards: tuple[Hazard, ...]
    sound: bool = False
    """It makes a noise: it can be muted, and is quiet once the alarm was acknowledged and is gone."""
    drill: bool = False
    """It takes part in drills."""
    unless: tuple[Hazard, ...] = ()
    """Interlock: it is left off while an alarm of these stands (no relay sparks in gas)."""

    CHECKS: ClassVar[Checks] = {"hazards": (bool, "output-hazards")}


def asking(output: Output, alarms: Iterable[Alarm]) -> list[Alarm]:
    """The alarms for which an output must be on; none when it must be off."""
    standing = [alarm for alarm in alarms if alarm.stands]
    if any(alarm.hazard in output.unless and alarm.mode is not Mode.DRILL for alarm in standing):
        return []
    return [
        alarm
        for alarm in standing
        if alarm.hazard in output.hazards
        and (alarm.sounds or not output.sound)
        and (output.drill or alarm.mode is not Mode.DRILL)
    ]
