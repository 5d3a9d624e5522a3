"""What a manager may change of safety: whom to notify, intervals, and the limits of rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.config.settable import (
    WEEKLY_HOURS,
    Setting,
    SettingGroup,
    SettingKind,
    SettingSection,
    number_setting,
    title_setting,
)
from gateway.config.site import Site
from gateway.model import MAX_DELAY_S, Point
from gateway.words import LANGUAGES, translate

from ..services.alarms import Rule
from ..services.escalation import DUTY_RECIPIENT
from ..services.findings import CLOSE_WITHIN_HOURS
from ..services.supervision import TEST_INTERVAL_DAYS
from .duties import MAX_INTERVAL_DAYS, PLAN_SOURCE_PREFIX, Duties
from .escalation import DEFAULT_PLAN, NotificationSettings


def notification_sections(part: NotificationSettings) -> Iterator[SettingSection]:
    """Contacts, and the hours of those on duty."""
    contact = (
        title_setting(label="contact-title"),
        Setting(key=("phone",), label="contact-phone"),
        Setting(key=("email",), label="contact-email"),
        Setting(key=("wecom",), label="contact-wecom"),
        Setting(key=("account",), label="contact-account"),
    )
    yield SettingSection(
        name="contacts",
        groups=tuple(
            SettingGroup(
                path=("contact", name),
                title=each.title,
                settings=contact,
                removable=True,
                test_call="notify-test" if part.channels else "",
            )
            for name, each in part.contacts.items()
        ),
        new=SettingGroup(path=("contact",), settings=contact, removable=True),
    )
    on_duty = Setting(
        key=("contacts",),
        label="roster-contacts",
        kind=SettingKind.NAMES,
        choices={name: each.title for name, each in part.contacts.items()},
    )
    if part.contacts:
        yield SettingSection(
            name="rosters",
            groups=tuple(
                SettingGroup(path=("roster", name), settings=(on_duty, WEEKLY_HOURS), removable=True)
                for name in part.shifts
            ),
            new=SettingGroup(path=("roster",), settings=(on_duty, WEEKLY_HOURS), removable=True),
        )


def escalation_sections(part: NotificationSettings) -> Iterator[SettingSection]:
    """Who is told of an alarm after how long."""
    if not (part.contacts and part.channels):
        return
    people = {name: each.title for name, each in part.contacts.items()}
    on_duty = {language: translate(language, "setting.on-duty") for language in LANGUAGES}
    steps = Setting(
        key=("steps",),
        label="step",
        kind=SettingKind.ROWS,
        columns=(
            number_setting("after", "step-after", 0, 86_400, unit="seconds", default="0"),
            Setting(
                key=("tell",), label="step-tell", kind=SettingKind.NAMES,
                choices={DUTY_RECIPIENT: on_duty, **people},
            ),
            Setting(
                key=("by",), label="step-by", kind=SettingKind.NAMES,
                choices={name: dict[str, str]() for name in part.channels},
            ),
        ),
    )  # fmt: skip
    settings = (
        steps,
        number_setting("repeat", "step-repeat", 60, 86_400, unit="seconds", default="600"),
        Setting(key=("fallback",), label="step-fallback", kind=SettingKind.NAMES, choices=people),
    )
    yield SettingSection(
        name="escalation",
        groups=tuple(
            SettingGroup(
                path=("escalation", name),
                title={
                    language: translate(
                        language, "setting.plan-default" if name == DEFAULT_PLAN else f"hazard.{name}"
                    )
                    for language in LANGUAGES
                },
                settings=settings,
                removable=name != DEFAULT_PLAN,
            )
            for name in part.plan_names
        ),
        new=SettingGroup(path=("escalation",), settings=settings),
    )


def duty_sections(part: Duties) -> Iterator[SettingSection]:
    """Intervals of tests, deadlines of findings, and patrols."""
    yield SettingSection(
        name="tests",
        groups=(
            SettingGroup(
                path=("tests",),
                settings=tuple(
                    number_setting(
                        kind, f"kind.{kind}", 0, MAX_INTERVAL_DAYS, unit="days",
                        default=f"{TEST_INTERVAL_DAYS.get(kind, 0):g}",
                    )
                    for kind in part.tests
                ),
            ),
            SettingGroup(
                path=("hazards",),
                settings=tuple(
                    number_setting(
                        severity, f"finding-{severity}", 1, 24 * MAX_INTERVAL_DAYS, unit="hours",
                        default=f"{hours:g}",
                    )
                    for severity, hours in CLOSE_WITHIN_HOURS.items()
                ),
            ),
        ),
    )  # fmt: skip
    if part.patrols:
        hours = Setting(key=("hours",), label="patrol-hours", default="00:00-24:00")
        yield SettingSection(
            name="patrols",
            groups=tuple(
                SettingGroup(path=("patrol", name), title=each.title, settings=(title_setting(), hours))
                for name, each in part.patrols.items()
            ),
        )


def plan_sections(part: Duties) -> Iterator[SettingSection]:
    """Who has approved the emergency plans."""
    approved = Setting(key=("approved",), label="plan-approved")
    yield SettingSection(
        name="plans",
        groups=tuple(
            SettingGroup(
                path=(), source=f"{PLAN_SOURCE_PREFIX}{hazard}", title=plan.title, settings=(approved,)
            )
            for hazard, plan in part.plans.items()
        ),
    )


def rule_sections(site: Site, rules: Mapping[str, Rule]) -> Iterator[SettingSection]:
    """The limits of the rules, no further than what their points can say."""
    groups = tuple(
        SettingGroup(
            path=("rule", name),
            title=rule.title,
            settings=(
                title_setting(),
                *_limits(site, rule),
                number_setting("delay", "rule-delay", 0, MAX_DELAY_S, unit="seconds", default="0"),
            ),
        )
        for name, rule in rules.items()
    )
    if groups:
        yield SettingSection(name="rules", groups=groups)


def _limits(site: Site, rule: Rule) -> Iterator[Setting]:
    for number, condition in enumerate(rule.conditions):
        device, _, name = condition.point.partition(".")
        point = site.devices[device].points.get(name, Point()) if device in site.devices else Point()
        for test in ("above", "below"):
            if getattr(condition, test) is not None:
                yield Setting(
                    key=("when", str(number), test),
                    label=f"rule-{test}",
                    kind=SettingKind.NUMBER,
                    unit=point.unit,
                    least=point.min,
                    most=point.max,
                )
