"""`[contact.…]`, `[roster.…]`, `[channel.…]` and `[escalation.…]`: who is notified of alarms, and how.

A plan that could leave an alarm without anyone to notify is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

import msgspec

from gateway.capabilities.safety.channels import Contact, is_email, load_channel
from gateway.capabilities.safety.notifications import ConfiguredChannel
from gateway.capabilities.safety.services.escalation import (
    DUTY_RECIPIENT,
    DutyRoster,
    EscalationPlan,
    EscalationStep,
    ReachableContacts,
)
from gateway.config.fields import Table
from gateway.config.options import DashboardOptions
from gateway.config.reading import TomlReader, localized
from gateway.model import Checks, ConfigError, Hazard, Stamp, is_delay_s
from gateway.model.hours import WEEKDAY_KEYS, WeeklyHours

NOTIFICATION_TABLES = ("contact", "roster", "channel", "escalation")
DEFAULT_PLAN = "default"
"""The plan of every hazard without one of its own."""
_PHONE = re.compile(r"\+?[0-9]{3,20}")


class ContactKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`[contact.…]`: a person who can be notified."""

    title: str | dict[str, str] = ""
    phone: str = ""
    email: str = ""
    wecom: str = ""
    account: str = ""

    CHECKS: ClassVar[Checks] = {
        "phone": (lambda text: not text or _PHONE.fullmatch(text) is not None, "contact-phone"),
        "email": (lambda text: not text or is_email(text), "channel-email"),
    }


class Shift(msgspec.Struct, frozen=True):
    """`[roster.…]`: who is on duty, and when."""

    contacts: tuple[str, ...]
    hours: WeeklyHours


class PlanKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`[escalation.…]`, by hazard or `default`."""

    steps: tuple[EscalationStep, ...]
    repeat: float = EscalationPlan(steps=()).repeat_interval_s
    fallback: tuple[str, ...] = ()
    pause: float = EscalationPlan(steps=()).flap_window_s
    drills: bool = False

    CHECKS: ClassVar[Checks] = {
        "steps": (bool, "plan-empty"),
        "repeat": (lambda seconds: 60 <= seconds <= 86_400, "plan-repeat"),
        "pause": (is_delay_s, "delay-range"),
    }


class NotificationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who is notified of alarms, by which channels, and when."""

    contacts: dict[str, Contact] = {}
    channels: dict[str, ConfiguredChannel] = {}
    shifts: dict[str, Shift] = {}
    plans: dict[Hazard, EscalationPlan] = {}
    plan_names: tuple[str, ...] = ()
    """Of the plans in the site file: hazards, and `default`."""

    @property
    def reachable_contacts(self) -> ReachableContacts:
        return {
            name: contacts_reachable_by(configured, self.contacts.values())
            for name, configured in self.channels.items()
        }

    def duty_roster(self, local: Callable[[Stamp], datetime | None]) -> DutyRoster:
        """Who is on duty; everyone on the roster while the local time is unknown."""

        def on_duty(at: Stamp) -> tuple[str, ...]:
            time = local(at)
            now = (shift for shift in self.shifts.values() if time is None or time in shift.hours)
            return tuple(dict.fromkeys(name for shift in now for name in shift.contacts))

        return on_duty


def inspect_channels(
    settings: NotificationSettings, dashboard: DashboardOptions, reader: TomlReader
) -> None:
    """Report channels that need HTTPS where the dashboard has none, neither its own nor a proxy's."""
    if dashboard.local_ca or dashboard.certificate_file or dashboard.trusted_proxies:
        return
    for name, configured in settings.channels.items():
        if configured.channel.needs_https:
            reader.add_mistake(("channel", name, "type"), "channel-https")


def contacts_reachable_by(
    configured: ConfiguredChannel, people: Iterable[Contact]
) -> frozenset[str] | None:
    """The contacts that a channel reaches by their own address; None: it reaches a group."""
    needs = configured.channel.address_field
    return frozenset(person.name for person in people if getattr(person, needs)) if needs else None


def read_notification_settings(reader: TomlReader, data: Table) -> NotificationSettings:
    """Contacts, roster, channels and plans, as far as they are valid."""
    people = {
        name: Contact(
            name=name,
            title=localized(keys.title or name),
            phone=keys.phone,
            email=keys.email,
            wecom=keys.wecom,
            account=keys.account,
        )
        for name, keys in _read_contacts(reader, data)
    }
    channels = dict(_read_channels(reader, data))
    shifts = dict(_read_shifts(reader, data, people))
    found = NotificationSettings(contacts=people, channels=channels, shifts=shifts)
    # Plans are checked against what is valid above; names that were reported there are skipped.
    plans = _read_plans(reader, data, found)
    names = tuple(plans)
    default = plans.pop(DEFAULT_PLAN, None)
    every = dict.fromkeys(Hazard, default) if default else {}
    return msgspec.structs.replace(
        found,
        plans={**every, **{Hazard(name): plan for name, plan in plans.items()}},
        plan_names=names,
    )


def _read_contacts(reader: TomlReader, data: Table) -> Iterator[tuple[str, ContactKeys]]:
    for name, table in reader.named_tables(data, "contact"):
        if name == DUTY_RECIPIENT:
            reader.add_mistake(("contact", name), "name-reserved", name=name)
        if keys := reader.build_struct(ContactKeys, table, ("contact", name)):
            yield name, keys


def _read_channels(reader: TomlReader, data: Table) -> Iterator[tuple[str, ConfiguredChannel]]:
    for name, table in reader.named_tables(data, "channel"):
        path = ("channel", name)
        if "type" not in table:
            reader.add_mistake(path, "key-missing", key="type")
            continue
        try:
            channel = load_channel(str(table.pop("type")))
        except ConfigError as error:
            reader.add_mistake((*path, "type"), error.key, 0, **error.facts)
            continue
        options = reader.build_struct(channel.options, table, path)
        if options is not None:
            yield name, ConfiguredChannel(channel, options)


def _read_shifts(
    reader: TomlReader, data: Table, people: Mapping[str, Contact]
) -> Iterator[tuple[str, Shift]]:
    for name, table in reader.named_tables(data, "roster"):
        path = ("roster", name)
        contacts = _contact_names(reader, (*path, "contacts"), table.pop("contacts", None))
        _check_names(reader, (*path, "contacts"), contacts, people, data)
        if hours := reader.read_week(table, path):
            yield name, Shift(contacts, hours)


def _contact_names(reader: TomlReader, path: tuple[str, ...], names: Any) -> tuple[str, ...]:
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    reader.add_mistake(path, "roster-contacts")
    return ()


def _check_names(
    reader: TomlReader, path: tuple[str, ...], names: Iterable[str], known: Mapping[str, Any], data: Table
) -> None:
    """Report unknown names, except those of tables that have been reported as wrong already."""
    section = "contact" if path[-1] != "by" else "channel"
    written = data.get(section, {})
    for name in names:
        if name not in known and not (isinstance(written, dict) and name in written):
            key = f"{section}-unknown-name"
            reader.add_mistake(path, key, name=name, known=", ".join(known) or "–")


def _read_plans(
    reader: TomlReader, data: Table, settings: NotificationSettings
) -> dict[str, EscalationPlan]:
    plans: dict[str, EscalationPlan] = {}
    for name, table in reader.named_tables(data, "escalation"):
        path = ("escalation", name)
        if name != DEFAULT_PLAN and name not in list(Hazard):
            reader.add_mistake(path, "plan-hazard", known=", ".join((DEFAULT_PLAN, *Hazard)))
            continue
        before = len(reader.mistakes)
        keys = reader.build_struct(PlanKeys, table, path)
        if keys is None:
            continue
        _check_plan(reader, data, path, keys, settings)
        if len(reader.mistakes) == before:
            plans[name] = EscalationPlan(
                steps=keys.steps,
                repeat_interval_s=keys.repeat,
                fallback_contacts=keys.fallback,
                flap_window_s=keys.pause,
                include_drills=keys.drills,
            )
    return plans


def _check_plan(
    reader: TomlReader, data: Table, path: tuple[str, ...], keys: PlanKeys, settings: NotificationSettings
) -> None:
    """Report steps that would notify no one, at any time of the roster."""
    times = [step.after for step in keys.steps]
    if times != sorted(times) or not 0 <= times[0] <= times[-1] <= 86_400:
        reader.add_mistake((*path, "steps"), "plan-order")
    _check_names(reader, (*path, "fallback"), keys.fallback, settings.contacts, data)
    for number, step in enumerate(keys.steps, 1):
        at = (*path, "steps")
        if not step.tell or not step.by:
            reader.add_mistake(at, "plan-nobody", number=number)
            continue
        named = [name for name in step.tell if name != DUTY_RECIPIENT]
        _check_names(reader, at, named, settings.contacts, data)
        _check_names(reader, (*at, "by"), step.by, settings.channels, data)
        if DUTY_RECIPIENT in step.tell:
            named += [name for shift in settings.shifts.values() for name in shift.contacts]
            named += keys.fallback
            hole = first_uncovered_time(settings.shifts.values())
            if hole is not None and not keys.fallback:
                reader.add_mistake(at, "roster-hole", number=number, hole=hole)
        channels = [settings.channels[name] for name in step.by if name in settings.channels]
        if len(channels) < len(step.by):
            continue
        sets = [contacts_reachable_by(configured, settings.contacts.values()) for configured in channels]
        for name in dict.fromkeys(named):
            if name in settings.contacts and not any(whom is None or name in whom for whom in sets):
                by = ", ".join(step.by)
                reader.add_mistake(at, "plan-unreached", number=number, contact=name, by=by)


def first_uncovered_time(shifts: Iterable[Shift]) -> str | None:
    """The first time when no one is on duty, such as `tue 20:00` or a date and time; None: there is none.

    Only the boundaries of shifts and days need to be checked: duty changes nowhere else.
    """
    shifts = tuple(shifts)
    monday = datetime(2024, 1, 1)  # noqa: DTZ001  local time, whatever the zone
    closed = {day for shift in shifts for day in shift.hours.closed}
    minutes = {edge % 1440 for s in shifts for day in s.hours.week for span in day for edge in span} | {0}
    begins = [(WEEKDAY_KEYS[n], monday + timedelta(days=n)) for n in range(7)]
    # The following day too: a night shift that does not start is missing in the morning.
    for day in sorted(closed):
        midnight = datetime.combine(day, datetime.min.time())
        begins += [(f"{each:%Y-%m-%d}", each) for each in (midnight, midnight + timedelta(days=1))]
    for label, midnight in begins:
        for minute in sorted(minutes):
            time = midnight + timedelta(minutes=minute)
            if not any(time in shift.hours for shift in shifts):
                return f"{label} {time:%H:%M}"
    return None
