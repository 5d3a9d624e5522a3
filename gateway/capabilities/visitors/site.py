"""`[visitors]`, `[room.…]` and `[door.…]`: rooms, doors, and limits of the number of people."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import msgspec

from gateway.base.clock import local_time
from gateway.config.booking_rules import read_booking_rules
from gateway.config.capability import Figure, Figures, SiteDraft, SiteSection
from gateway.config.fields import Table
from gateway.config.reading import TomlReader, localized, table_names
from gateway.config.settable import (
    WEEKLY_HOURS,
    SettingGroup,
    SettingSection,
    number_setting,
    title_setting,
)
from gateway.config.site import Site
from gateway.model import AlarmSpec, Checks, Hazard, Point, Service
from gateway.scheduling import Resource
from gateway.words import LANGUAGES, translate

from .services import (
    CENTRE,
    OUTSIDE,
    Door,
    Layout,
    Room,
    Visitors,
    counts_visitors,
    reachable,
    with_counters,
)

CROWD_HYSTERESIS = 0.05
"""The fraction of its limit by which a place must fall below it before it is no longer crowded."""
MINUTES_PER_HOUR = 60
MAX_PEOPLE = 99_999
Text = str | dict[str, str]


def _is_people_limit(limit: int | None) -> bool:
    return limit is None or limit > 0


def _is_minutes(minutes: float) -> bool:
    return 0 <= minutes <= 6 * MINUTES_PER_HOUR


class _VisitorsKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`settle` and `grace` in minutes: see `Layout`."""

    limit: int | None = None
    settle: float = 30.0
    grace: float = 15.0

    CHECKS: ClassVar[Checks] = {
        "limit": (_is_people_limit, "visitors-limit"),
        "settle": (_is_minutes, "visitors-minutes"),
        "grace": (_is_minutes, "visitors-minutes"),
    }


class _RoomKeys(msgspec.Struct, frozen=True, kw_only=True):
    title: Text = ""
    limit: int | None = None
    booking: dict[str, Any] = {}

    CHECKS: ClassVar[Checks] = {
        "limit": (_is_people_limit, "visitors-limit"),
        "title": (lambda text: text != {}, "title-empty"),
    }


class _DoorKeys(msgspec.Struct, frozen=True, kw_only=True, rename={"outer": "from", "inner": "to"}):
    title: Text = ""
    counters: tuple[str, ...]
    outer: str = OUTSIDE
    inner: str = CENTRE

    CHECKS: ClassVar[Checks] = {
        "counters": (bool, "door-counters"),
        "title": (lambda text: text != {}, "title-empty"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {"to": (lambda door: door.outer != door.inner, "door-nowhere")}


class StatisticsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[statistics]`: the path of the statistics file; by default beside the journal."""

    path: Path | None = None


class VisitorsSite(msgspec.Struct, frozen=True, kw_only=True):
    """Rooms, doors and limits, and the path of the statistics file."""

    layout: Layout = Layout()
    statistics: StatisticsOptions = StatisticsOptions()


def statistics_file(site: Site) -> Path:
    """The path of the statistics file."""
    return site.part(VisitorsSite).statistics.path or site.journal.path.with_name("statistics.db")


def read(draft: SiteDraft) -> VisitorsSite:
    """Read the valid rooms and doors."""
    statistics = (
        draft.reader.read_section(StatisticsOptions, draft.data, "statistics") or StatisticsOptions()
    )
    return VisitorsSite(layout=_read_layout(draft), statistics=statistics)


def _read_layout(draft: SiteDraft) -> Layout:
    reader, data, devices = draft.reader, draft.data, draft.devices
    before = len(reader.mistakes)
    keys = reader.read_section(_VisitorsKeys, data, "visitors") or _VisitorsKeys()
    rooms = _read_rooms(reader, data)
    doors = _read_doors(draft)
    found = Layout(
        rooms=rooms, doors=doors, limit=keys.limit, settle_s=keys.settle * 60, grace_s=keys.grace * 60
    )
    if draft.core_is_valid and len(reader.mistakes) == before:
        there = reachable(with_counters(found, devices.values()).doors.values())
        for name in rooms:
            # A room without a counter can still be booked.
            if name not in there and "booking" not in data["room"][name]:
                reader.add_mistake(("room", name), "room-unreachable", room=name)
    return found


def figures(part: VisitorsSite) -> Figures:
    """Those of the centre, its rooms and its doors; a place with a limit raises an alarm above it. The
    centre is first, as rules are evaluated in this order."""
    layout = part.layout
    rooms = (f"room.{name}.{figure}" for name in layout.rooms for figure in ("inside", "in", "out"))
    doors = (f"door.{name}.{figure}" for name in layout.doors for figure in ("in", "out"))
    found = {name: Figure() for name in ("inside", "in", "out", "tours", "near", "unheard", *rooms, *doors)}
    found["inside"] = Figure(people_inside=True)
    for room, limit in layout.limits():
        name = f"room.{room}.inside" if room else "inside"
        title = {
            language: layout.rooms[room].title[language] if room else translate(language, "visits.centre")
            for language in LANGUAGES
        }
        alarm = AlarmSpec(hazard=Hazard.CROWD, above=limit, hysteresis=max(1.0, limit * CROWD_HYSTERESIS))
        found[name] = Figure(
            point=Point(alarm=alarm),
            rule=f"crowd-{room}" if room else "crowd",
            title=title,
            people_inside=not room,
        )
    return {Visitors.name: found}


def _read_rooms(reader: TomlReader, data: Table) -> dict[str, Room]:
    rooms = {}
    for name, table in reader.named_tables(data, "room"):
        if name in (OUTSIDE, CENTRE):
            reader.add_mistake(("room", name), "name-reserved", name=name)
        keys = reader.build_struct(_RoomKeys, table, ("room", name))
        if keys is not None:
            rules = read_booking_rules(reader, keys.booking, ("room", name, "booking"), "room")
            rooms[name] = Room(
                title=localized(keys.title or name),
                limit=keys.limit,
                resource=rules or Resource(kind="room"),
            )
    return rooms


def _read_doors(draft: SiteDraft) -> dict[str, Door]:
    reader, data, devices = draft.reader, draft.data, draft.devices
    doors: dict[str, Door] = {}
    taken: dict[str, str] = {}
    counters = [device.name for device in devices.values() if counts_visitors(device)]
    places = (OUTSIDE, CENTRE, *table_names(data, "room"))
    for name, table in reader.named_tables(data, "door"):
        path = ("door", name)
        keys = reader.build_struct(_DoorKeys, table, path)
        if keys is None:
            continue
        if name in counters and name not in keys.counters:
            reader.add_mistake(path, "door-name", name=name)
        for counter in keys.counters:
            if counter in taken:
                other = taken[counter]
                reader.add_mistake((*path, "counters"), "door-counter-twice", counter=counter, other=other)
            elif counter not in counters and not draft.is_reported(counter):
                known = ", ".join(counters) or "–"
                reader.add_mistake((*path, "counters"), "door-counter", counter=counter, known=known)
            taken[counter] = name
        for key, side in (("from", keys.outer), ("to", keys.inner)):
            if side not in places:
                reader.add_mistake((*path, key), "door-side", side=side, known=", ".join(places))
        doors[name] = Door(
            title=localized(keys.title or name), counters=keys.counters, outer=keys.outer, inner=keys.inner
        )
    return doors


def services(site: Site) -> list[Service]:
    """The service that counts visitors."""
    layout = site.part(VisitorsSite).layout
    zone = ZoneInfo(site.centre.timezone)
    return [Visitors(site.devices, layout, site.hours, local_time(site.centre.timezone), zone)]


def settings(site: Site) -> list[SettingSection]:
    """Limits of the number of people, and the names of rooms and doors."""
    layout = site.part(VisitorsSite).layout
    most_minutes = 6 * MINUTES_PER_HOUR
    people = number_setting("limit", "people-limit", 1, MAX_PEOPLE, unit="people")
    own = SettingGroup(
        path=("visitors",),
        settings=(
            people,
            number_setting("settle", "visitors-settle", 0, most_minutes, unit="minutes", default="30"),
            number_setting("grace", "visitors-grace", 0, most_minutes, unit="minutes", default="15"),
        ),
    )
    rooms = tuple(
        SettingGroup(path=("room", name), title=room.title, settings=(title_setting(), people))
        for name, room in layout.rooms.items()
    )
    doors = tuple(
        SettingGroup(path=("door", name), title=door.title, settings=(title_setting(),))
        for name, door in layout.doors.items()
    )
    most = MINUTES_PER_HOUR * 24
    rules = (
        number_setting("longest", "booking-longest", 1, most, unit="minutes", default=str(most)),
        number_setting("ahead", "booking-ahead", 1, 400, unit="days", default="400"),
        number_setting("quota", "booking-quota", 1, 31 * most, unit="minutes"),
        number_setting("grace", "booking-grace", 1, most, unit="minutes"),
    )
    bookings = tuple(
        SettingGroup(path=("room", name, "booking", *below), title=room.title, settings=settings)
        for name, room in layout.rooms.items()
        for below, settings in (((), rules), (("hours",), (WEEKLY_HOURS,)))
    )
    named = {"visitors": (own,), "rooms": rooms, "bookings": bookings, "doors": doors}
    return [SettingSection(name=name, groups=groups) for name, groups in named.items() if groups]


SITE = SiteSection(
    tables=("visitors", "room", "door", "statistics"),
    read=read,
    figures=figures,
    fixed=lambda part: {"statistics": part.statistics},
    service_types=(Visitors,),
    services=services,
    settings=settings,
)
