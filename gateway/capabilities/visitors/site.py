"""`[visitors]`, `[room.…]` and `[door.…]`: how people walk through a centre, and how many may be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from gateway.capabilities.safety.services.alarms import Rule, of_point
from gateway.capabilities.visitors.services import (
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
from gateway.config.reading import Table, TomlReader, localized
from gateway.model import AlarmSpec, Checks, Device, Hazard, Point
from gateway.words import LANGUAGES, translate

SECTIONS = ("visitors", "room", "door")
CALM = 0.05
"""Of its limit a place must become emptier by so much before it is no longer crowded."""
HOUR = 60
Text = str | dict[str, str]


def _is_limit(limit: int | None) -> bool:
    return limit is None or limit > 0


def _is_while(minutes: float) -> bool:
    return 0 <= minutes <= 6 * HOUR


class _VisitorsKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`settle` and `grace` in minutes: see `Layout`."""

    limit: int | None = None
    settle: float = 30.0
    grace: float = 15.0

    CHECKS: ClassVar[Checks] = {
        "limit": (_is_limit, "visitors-limit"),
        "settle": (_is_while, "visitors-minutes"),
        "grace": (_is_while, "visitors-minutes"),
    }


class _RoomKeys(msgspec.Struct, frozen=True, kw_only=True):
    title: Text = ""
    limit: int | None = None

    CHECKS: ClassVar[Checks] = {
        "limit": (_is_limit, "visitors-limit"),
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


def layout(reading: TomlReader, data: Table, devices: Mapping[str, Device]) -> Layout:
    """The rooms and doors that hold together."""
    keys = reading.section(_VisitorsKeys, data, "visitors") or _VisitorsKeys()
    rooms = _rooms(reading, data)
    doors = _doors(reading, data, devices)
    found = Layout(
        rooms=rooms, doors=doors, limit=keys.limit, settle_s=keys.settle * 60, grace_s=keys.grace * 60
    )
    if not reading.mistakes:
        there = reachable(with_counters(found, devices.values()).doors.values())
        for name in rooms:
            if name not in there:
                reading.mistake(("room", name), "room-unreachable", room=name)
    return found


def figures(layout: Layout) -> dict[str, Point]:
    """What the service says of rooms and doors, for rules to test."""
    rooms = (f"room.{name}.{figure}" for name in layout.rooms for figure in ("inside", "in", "out"))
    doors = (f"door.{name}.{figure}" for name in layout.doors for figure in ("in", "out"))
    return {name: Point() for name in (*rooms, *doors)}


def crowding(layout: Layout) -> dict[str, Rule]:
    """The rules that its limits are; `[rule.crowd]`, or `[rule.crowd-…]` of a room, takes their place."""
    found = {}
    for room, limit in layout.limits():
        name = f"crowd-{room}" if room else "crowd"
        spec = AlarmSpec(hazard=Hazard.CROWD, above=limit, hysteresis=max(1.0, limit * CALM))
        point = f"room.{room}.inside" if room else "inside"
        title = {
            language: layout.rooms[room].title[language] if room else translate(language, "visits.centre")
            for language in LANGUAGES
        }
        found[name] = msgspec.structs.replace(
            of_point(Visitors.name, point, spec), id=f"rule/{name}", point=name, title=title
        )
    return found


def _rooms(reading: TomlReader, data: Table) -> dict[str, Room]:
    rooms = {}
    for name, table in reading.tables(data, "room"):
        if name in (OUTSIDE, CENTRE):
            reading.mistake(("room", name), "name-reserved", name=name)
        keys = reading.build(_RoomKeys, table, ("room", name))
        if keys is not None:
            rooms[name] = Room(title=localized(keys.title or name), limit=keys.limit)
    return rooms


def _written(data: Table, section: str) -> list[str]:
    """The names of a section's tables, with those that are wrong."""
    tables = data.get(section)
    return list(tables) if isinstance(tables, dict) else []


def _doors(reading: TomlReader, data: Table, devices: Mapping[str, Device]) -> dict[str, Door]:
    doors: dict[str, Door] = {}
    taken: dict[str, str] = {}
    counters = [device.name for device in devices.values() if counts_visitors(device)]
    # One that is written down but wrong has been told of already.
    told = [name for name in _written(data, "device") if name not in devices]
    places = (OUTSIDE, CENTRE, *_written(data, "room"))
    for name, table in reading.tables(data, "door"):
        path = ("door", name)
        keys = reading.build(_DoorKeys, table, path)
        if keys is None:
            continue
        if name in counters and name not in keys.counters:
            reading.mistake(path, "door-name", name=name)
        for counter in keys.counters:
            if counter in taken:
                other = taken[counter]
                reading.mistake((*path, "counters"), "door-counter-twice", counter=counter, other=other)
            elif counter not in counters and counter not in told:
                known = ", ".join(counters) or "–"
                reading.mistake((*path, "counters"), "door-counter", counter=counter, known=known)
            taken[counter] = name
        for key, side in (("from", keys.outer), ("to", keys.inner)):
            if side not in places:
                reading.mistake((*path, key), "door-side", side=side, known=", ".join(places))
        doors[name] = Door(
            title=localized(keys.title or name), counters=keys.counters, outer=keys.outer, inner=keys.inner
        )
    return doors
