"""What the centre concludes from its devices: pure reducers, one file each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.model import Device, Service

from .commands import Commands
from .configuration import Configuration
from .lockers import Lockers
from .memory import Memory
from .parking import Parking
from .presence import Presence
from .safety import GATEWAY, Local, Rule, Safety
from .timekeeping import Timekeeping
from .visitors import Visitors


def services(
    devices: Mapping[str, Device],
    allowed: Mapping[str, Iterable[str]],
    rules: Iterable[Rule] = (),
    local: Local = lambda _: None,
) -> list[Service]:
    """All services, safety first. `allowed` maps a command's origin to the actions it may ask for, `rules`
    are the site's own, `local` is the time at the site."""
    return [
        Safety(devices, rules, local),
        Memory(),
        Presence(),
        Visitors(devices),
        Parking(devices),
        Lockers(devices),
        Timekeeping(),
        Configuration(),
        Commands({origin: frozenset(actions) for origin, actions in allowed.items()}, {*devices, GATEWAY}),
    ]
