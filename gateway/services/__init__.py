"""What the centre concludes from its devices: pure reducers, one file each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from gateway.hours import Hours
from gateway.model import GATEWAY, Device, Hazard, Service

from .batteries import Batteries
from .commands import Commands
from .configuration import Configuration
from .hazards import HOURS, Hazards
from .lockers import Lockers
from .memory import Memory
from .needs import Needs, Reception
from .parking import Parking
from .patrols import Patrol, Patrols
from .presence import Presence
from .response import Plan, Response
from .safety import Local, Rule, Safety
from .supervision import DAYS, Supervision
from .timekeeping import Timekeeping
from .visitors import Layout, Visitors

ACTIONS = (
    Safety.actions | Response.actions | Patrols.actions | Hazards.actions | Needs.actions | Visitors.actions
)
"""The commands that services carry out, rather than devices."""


class Duties(msgspec.Struct, frozen=True, kw_only=True):
    """What a site asks of its people: plans by hazard, patrols by name, days between tests by kind of
    device, hours in which a hazard is to be closed, by severity, and how residents' needs are received."""

    plans: Mapping[Hazard, Plan] = {}
    patrols: Mapping[str, Patrol] = {}
    tests: Mapping[str, float] = msgspec.field(default_factory=lambda: dict(DAYS))
    hazards: Mapping[str, float] = msgspec.field(default_factory=lambda: dict(HOURS))
    needs: Reception | None = None


def services(
    devices: Mapping[str, Device],
    allowed: Mapping[str, Iterable[str]],
    rules: Iterable[Rule] = (),
    local: Local = lambda _: None,
    duties: Duties | None = None,
    layout: Layout | None = None,
    hours: Hours | None = None,
) -> list[Service]:
    """All services, safety first. `allowed` maps a command's origin to the actions it may ask for, `rules`
    are the site's own, `local` is the time at the site, `layout` its rooms and doors, `hours` when it is
    open to visitors."""
    duties = duties or Duties()
    return [
        Safety(devices, rules, local, hours),
        Memory(),
        Response(duties.plans),
        Presence(),
        Supervision(devices, duties.tests),
        Batteries(devices),
        Patrols(duties.patrols, local),
        Hazards(duties.hazards),
        Needs(duties.needs),
        Visitors(devices, layout, hours, local),
        Parking(devices),
        Lockers(devices),
        Timekeeping(),
        Configuration(),
        Commands({origin: frozenset(actions) for origin, actions in allowed.items()}, {*devices, GATEWAY}),
    ]
