"""The tables of safety in the site file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.base.clock import local_time
from gateway.config.capability import Figure, Figures, SiteDraft, SiteSection
from gateway.config.reading import TomlReader
from gateway.config.settable import SettingSection
from gateway.config.site import Site
from gateway.model import AlarmSpec, Hazard, Service
from gateway.words import preferred_language, translate

from ..services.alarms import OUTPUTS_DEVICE, Output, Rule, Safety, rule_of_point
from ..services.batteries import Batteries
from ..services.emergency_plans import EmergencyPlans
from ..services.escalation import Escalation
from ..services.findings import Findings
from ..services.patrols import Patrols
from ..services.shift_log import ShiftLog
from ..services.supervision import Supervision
from . import duties, escalation, rules
from .duties import Duties, load_plan
from .escalation import NotificationSettings
from .settings import (
    duty_sections,
    escalation_sections,
    notification_sections,
    plan_sections,
    rule_sections,
)

__all__ = ["SITE", "Duties", "NotificationSettings", "SafetySite", "load_plan"]


class SafetySite(msgspec.Struct, frozen=True, kw_only=True):
    """Safety's part of a site."""

    rules: dict[str, Rule] = {}
    outputs: dict[str, Output] = {}
    notification: NotificationSettings = NotificationSettings()
    """Who is notified of alarms, and how."""
    duties: Duties = Duties()
    people_inside: str = ""
    """The figure with the number of people in the centre: `service.figure`."""


def read(draft: SiteDraft) -> SafetySite:
    """Everything but the rules, which may use figures of other capabilities."""
    outputs = rules.read_outputs(draft)
    plans, texts = duties.read_plans(draft.reader, draft.folders("plans"), draft.saved_sources)
    draft.sources.update(texts)
    asked = duties.read_duties(draft.reader, draft.data, plans)
    return SafetySite(
        outputs=outputs,
        notification=escalation.read_notification_settings(draft.reader, draft.data),
        duties=asked,
    )


def resolve(draft: SiteDraft, part: SafetySite, figures: Figures) -> SafetySite:
    """The part with its rules."""
    inside = (
        f"{service}.{name}"
        for service, own in figures.items()
        for name, figure in own.items()
        if figure.people_inside
    )
    return msgspec.structs.replace(
        part, rules=rules.read_rules(draft, figures), people_inside=next(inside, "")
    )


def inspect(site: Site, reader: TomlReader) -> None:
    """Report rules that start, but can never be right, and channels that nobody can turn on."""
    part = site.part(SafetySite)
    rules.inspect_durations(site, part.rules, reader)
    escalation.inspect_channels(part.notification, site.dashboard, reader)


def services(site: Site) -> list[Service]:
    """The services of safety, alarms first."""
    part, now = site.part(SafetySite), local_time(site.centre.timezone)
    fault = AlarmSpec(hazard=Hazard.FAULT)
    obeyed = (rule_of_point(OUTPUTS_DEVICE, f"{name}.failed", fault) for name in part.outputs)
    reached = (
        rule_of_point(Escalation.name, f"{name}.failed", fault) for name in part.notification.channels
    )
    own = [*part.rules.values(), *obeyed, *reached]
    return [
        Safety(site.devices, own, now, site.hours, part.people_inside),
        EmergencyPlans(part.duties.plans),
        Supervision(site.devices, part.duties.tests),
        Batteries(site.devices),
        Patrols(part.duties.patrols, now),
        Findings(part.duties.hazards),
        ShiftLog(),
        Escalation(
            part.notification.plans,
            part.notification.reachable_contacts,
            part.notification.duty_roster(now),
        ),
    ]


def settings(site: Site) -> list[SettingSection]:
    """What a manager may change."""
    part = site.part(SafetySite)
    return [
        *notification_sections(part.notification),
        *escalation_sections(part.notification),
        *duty_sections(part.duties),
        *plan_sections(part.duties),
        *rule_sections(site, part.rules),
    ]


def _check_plan(file: Path) -> str:
    plan = load_plan(file)
    lang = preferred_language()
    approved = plan.approved or translate(lang, "cli.template")
    return translate(lang, "cli.well-plan", file=file, steps=len(plan.steps), approved=approved)


SITE = SiteSection(
    tables=("rule", "output", "tests", "patrol", "hazards", *escalation.NOTIFICATION_TABLES),
    read=read,
    resolve=resolve,
    inspect=inspect,
    figures=lambda part: {
        Supervision.name: {name: Figure() for name in ("tests_due", "silent")},
        Batteries.name: {"low": Figure()},
        Patrols.name: {"missed": Figure()},
        Findings.name: {name: Figure() for name in ("open", "overdue")},
    },
    service_types=(Safety, EmergencyPlans, Supervision, Batteries, Patrols, Findings, ShiftLog, Escalation),
    services=services,
    settings=settings,
    reserved=(OUTPUTS_DEVICE, "rule", "drill"),
    documents={"plan": _check_plan},
)
