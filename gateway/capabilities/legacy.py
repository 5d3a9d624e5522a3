"""What the centre concludes from its devices: pure reducers, one file each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from gateway.capabilities.needs.services import Needs, Reception
from gateway.capabilities.parcels.services import Lockers
from gateway.capabilities.parking.services import Parking
from gateway.capabilities.safety.services.alarms import Local, Rule, Safety
from gateway.capabilities.safety.services.batteries import Batteries
from gateway.capabilities.safety.services.findings import HOURS, Hazards
from gateway.capabilities.safety.services.patrols import Patrol, Patrols
from gateway.capabilities.safety.services.response import Plan, Response
from gateway.capabilities.safety.services.supervision import DAYS, Supervision
from gateway.capabilities.visitors.services import Layout, Visitors
from gateway.model import GATEWAY, Device, Hazard, Service
from gateway.model.hours import Hours
from gateway.services.commands import Commands
from gateway.services.configuration import Configuration
from gateway.services.driver_state import DriverState
from gateway.services.presence import Presence
from gateway.services.timekeeping import Timekeeping

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
        DriverState(),
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
