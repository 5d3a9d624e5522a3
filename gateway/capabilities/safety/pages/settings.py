"""The settings of the pages of safety."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.capabilities.safety.channels.push import Options as PushOptions
from gateway.capabilities.safety.services.alarms import Output
from gateway.capabilities.safety.services.emergency_plans import EmergencyPlan
from gateway.capabilities.safety.services.escalation import DUTY_RECIPIENT
from gateway.capabilities.safety.services.findings import CLOSE_WITHIN_HOURS
from gateway.capabilities.safety.services.patrols import Patrol
from gateway.capabilities.safety.services.supervision import UNTESTABLE_HAZARDS
from gateway.capabilities.safety.site import NotificationSettings, SafetySite
from gateway.capabilities.safety.testlog import LogNames, log_names
from gateway.config import Site
from gateway.model import Hazard
from gateway.web.people import normalized_name


class RingingPhones(msgspec.Struct, frozen=True):
    """The channel that makes phones ring."""

    own_service: str
    """The push service in the local network, if there is one."""
    people: frozenset[str]
    """Those of the dashboard whom a plan notifies by it."""


class SafetySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The site's outputs, plans, patrols and detectors."""

    outputs: Mapping[str, Output] = {}
    plans: Mapping[Hazard, EmergencyPlan] = {}
    patrols: Mapping[str, Patrol] = {}
    finding_hours: Mapping[str, float] = msgspec.field(default_factory=lambda: dict(CLOSE_WITHIN_HOURS))
    """Hours in which a finding is to be closed, by severity."""
    tested_points: Mapping[str, tuple[str, ...]] = {}
    """By device: the points that a walk test checks."""
    rule_points: Mapping[str, str] = {}
    """By rule: the point whose value its alarms show, of the device that they are recorded for."""
    log: LogNames = LogNames()
    """What the test log and the history name."""
    people_inside: str = ""
    """The figure with the number of people in the centre: `service.figure`."""
    ringing: RingingPhones | None = None
    """None: the site has no channel to phones."""


def ringing_phones(part: NotificationSettings) -> RingingPhones | None:
    """The channel of the site that makes phones ring."""
    pushes = {
        name: each.options for name, each in part.channels.items() if isinstance(each.options, PushOptions)
    }
    if not pushes:
        return None
    on_duty = {name for shift in part.shifts.values() for name in shift.contacts}
    contacts: set[str] = set()
    for plan in part.plans.values():
        for step in plan.steps:
            if pushes.keys() & set(step.by):
                contacts |= {
                    *step.tell,
                    *(on_duty.union(plan.fallback_contacts) if DUTY_RECIPIENT in step.tell else ()),
                }
    accounts = (part.contacts[name].account for name in contacts if name in part.contacts)
    own_service = next((each.own_service for each in pushes.values() if each.own_service), "")
    return RingingPhones(own_service, frozenset(normalized_name(name) for name in accounts if name))


def settings(site: Site) -> SafetySettings:
    """The settings of a site."""
    tested = {
        device.name: tuple(
            name
            for name, point in device.points.items()
            if point.alarm and point.alarm.hazard not in UNTESTABLE_HAZARDS
        )
        for device in site.devices.values()
    }
    part = site.part(SafetySite)
    return SafetySettings(
        outputs=part.outputs,
        plans=part.duties.plans,
        patrols=part.duties.patrols,
        finding_hours=part.duties.hazards,
        rule_points={
            rule.point: rule.conditions[0].point.removeprefix(f"{rule.device}.")
            for rule in part.rules.values()
        },
        log=log_names(site),
        people_inside=part.people_inside,
        ringing=ringing_phones(part.notification),
        tested_points={name: points for name, points in tested.items() if points},
    )
