"""Every service there is, without a site file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.capabilities.needs.services import Needs, Reception
from gateway.capabilities.parcels.services import Lockers
from gateway.capabilities.parking.services import Parking
from gateway.capabilities.safety.services.alarms import LocalClock, Rule, Safety
from gateway.capabilities.safety.services.batteries import Batteries
from gateway.capabilities.safety.services.emergency_plans import EmergencyPlans
from gateway.capabilities.safety.services.findings import Findings
from gateway.capabilities.safety.services.patrols import Patrols
from gateway.capabilities.safety.services.shift_log import ShiftLog
from gateway.capabilities.safety.services.supervision import Supervision
from gateway.capabilities.safety.site import Duties
from gateway.capabilities.visitors.services import Layout, Visitors
from gateway.model import GATEWAY_DEVICE, Device, Service
from gateway.model.hours import WeeklyHours
from gateway.services.commands import Commands
from gateway.services.configuration import Configuration
from gateway.services.driver_state import DriverState
from gateway.services.presence import Presence
from gateway.services.timekeeping import Timekeeping


def services(
    devices: Mapping[str, Device],
    allowed: Mapping[str, Iterable[str]],
    rules: Iterable[Rule] = (),
    local: LocalClock = lambda _: None,
    duties: Duties | None = None,
    layout: Layout | None = None,
    hours: WeeklyHours | None = None,
    reception: Reception | None = None,
) -> list[Service]:
    """In the order of the daemon. `allowed` maps a command's origin to the actions it may ask for."""
    duties = duties or Duties()
    return [
        Safety(devices, rules, local, hours, "visitors.inside"),
        EmergencyPlans(duties.plans),
        Supervision(devices, duties.tests),
        Batteries(devices),
        Patrols(duties.patrols, local),
        Findings(duties.hazards),
        ShiftLog(),
        Visitors(devices, layout, hours, local),
        Needs(reception),
        Parking(devices),
        Lockers(devices),
        DriverState(),
        Presence(),
        Timekeeping(),
        Configuration(),
        Commands(
            {origin: frozenset(actions) for origin, actions in allowed.items()}, {*devices, GATEWAY_DEVICE}
        ),
    ]
