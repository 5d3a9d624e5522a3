"""The page of devices: which of them it lists, and in which order."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlencode

import msgspec

from gateway.web.pages import label
from gateway.web.settings import title_in
from gateway.web.view import DeviceCondition, DeviceRow, View
from gateway.words import LANGUAGES

ALARM = "alarm"
"""The state of a device with an alarm or a fault."""
STATES = (ALARM, *DeviceCondition)
SORTS = ("worst", "name", "reading")
"""The first is the default."""
ROWS = 50
"""Devices that are listed at first; a button lists as many again."""
MAX_ROWS = 1000
MAX_TEXT_CHARACTERS = 100


class DeviceGroup(msgspec.Struct, frozen=True):
    """Devices under one heading. `key` identifies it on the page."""

    key: str
    title: str
    rows: tuple[DeviceRow, ...]
    total: int
    """With those that are not listed yet."""


class RoomState(msgspec.Struct, frozen=True):
    """How the devices of one room are."""

    title: str
    total: int
    needy: int
    """Those that need attention."""
    in_order: int


class DeviceList(msgspec.Struct, frozen=True):
    """What the page lists."""

    groups: tuple[DeviceGroup, ...]
    listed: int
    found: int
    """How many devices match."""
    kinds: tuple[str, ...]
    """Those of all devices."""
    states: Mapping[str, int]
    """By state: how many devices have it."""
    rooms: tuple[RoomState, ...]
    """Those of all devices."""


class DeviceSelection(msgspec.Struct, frozen=True):
    """What a person has chosen on the page, as it is in the address."""

    text: str = ""
    state: str = ""
    kind: str = ""
    room: str = ""
    sort: str = SORTS[0]
    rows: int = ROWS

    @property
    def query(self) -> str:
        """The query of the address: only what differs from the default."""
        chosen = {
            "text": self.text,
            "state": self.state,
            "kind": self.kind,
            "room": self.room,
            "sort": self.sort if self.sort != SORTS[0] else "",
            "rows": self.rows if self.rows != ROWS else "",
        }
        return urlencode({key: value for key, value in chosen.items() if value})

    @property
    def more_rows(self) -> int:
        """How many rows the button for more asks for."""
        return self.rows + ROWS

    def list_devices(self, devices: Iterable[DeviceRow], lang: str) -> DeviceList:
        """The devices that match, in groups. `devices`: the worst first."""
        devices = tuple(devices)
        kinds = sorted({row.kind for row in devices}, key=lambda kind: label(lang, "kind", kind))
        states, rooms = _count_states(devices), _room_states(devices, lang)
        terms = _normalized(self.text).split()
        found = [
            row
            for row in devices
            if (not self.state or has_state(row, self.state))
            and (self.kind not in kinds or row.kind == self.kind)
            and (self.room not in rooms or title_in(row.room, lang, "") == self.room)
            and (not terms or _contains_all(_searchable(row), terms))
        ]
        if self.sort == SORTS[0]:
            # A safety device that is well comes before any other that is not.
            found.sort(key=lambda row: not row.needs_attention)
        elif self.sort == "name":
            found.sort(key=lambda row: title_in(row.title, lang, row.name).casefold())
        elif self.sort == "reading":
            found.sort(key=lambda row: -(row.at or 0))
        groups = self._groups(found, lang, bool(rooms))
        return DeviceList(
            groups=groups,
            listed=sum(len(each.rows) for each in groups),
            found=len(found),
            kinds=tuple(kinds),
            states=states,
            rooms=tuple(rooms.values()),
        )

    def _groups(self, found: list[DeviceRow], lang: str, by_room: bool) -> tuple[DeviceGroup, ...]:
        """The first `rows` devices. With the worst first, those that need attention are a group of their
        own, wherever they are."""
        groups: dict[tuple[str, str], list[DeviceRow]] = {}
        for row in found:
            if self.sort == SORTS[0] and row.needs_attention:
                key = ("attention", "")
            elif by_room:
                key = ("room", title_in(row.room, lang, ""))
            else:
                key = ("kind", row.kind)
            groups.setdefault(key, []).append(row)
        left = self.rows
        listed = []
        for (what, name), rows in groups.items():
            if left <= 0:
                break
            title = label(lang, "kind", name) if what == "kind" else name
            listed.append(DeviceGroup(f"{what}/{name}", title, tuple(rows[:left]), len(rows)))
            left -= len(rows)
        return tuple(listed)


def listed_devices(view: View, selection: DeviceSelection, lang: str) -> Iterator[DeviceRow]:
    """The rows of the page, in its order."""
    for group in selection.list_devices(view.devices, lang).groups:
        yield from group.rows


def device_selection(query: Mapping[str, str]) -> DeviceSelection:
    """What the query of an address chooses; what is not known there is ignored."""
    state, sort, rows = query.get("state", ""), query.get("sort", ""), query.get("rows", "")
    return DeviceSelection(
        text=query.get("text", "").strip()[:MAX_TEXT_CHARACTERS],
        state=state if state in STATES else "",
        kind=query.get("kind", "")[:MAX_TEXT_CHARACTERS],
        room=query.get("room", "")[:MAX_TEXT_CHARACTERS],
        sort=sort if sort in SORTS else SORTS[0],
        rows=min(max(int(rows), ROWS), MAX_ROWS) if rows.isdecimal() and len(rows) <= 6 else ROWS,
    )


def has_state(row: DeviceRow, state: str) -> bool:
    """Whether a device has one of `STATES`; one with an alarm or a fault is not good."""
    if state == ALARM:
        return bool(row.severity)
    return row.condition == state and not (state == DeviceCondition.GOOD and row.severity)


def _count_states(rows: Iterable[DeviceRow]) -> dict[str, int]:
    """How many devices have each of `STATES`."""
    counts = dict.fromkeys(STATES, 0)
    for row in rows:
        in_alarm = bool(row.severity)
        counts[ALARM] += in_alarm
        counts[row.condition] += not (in_alarm and row.condition is DeviceCondition.GOOD)
    return counts


def _room_states(rows: Iterable[DeviceRow], lang: str) -> dict[str, RoomState]:
    """By title in that language, in alphabetical order."""
    found: dict[str, list[DeviceRow]] = {}
    for row in rows:
        if row.room:
            found.setdefault(title_in(row.room, lang, ""), []).append(row)
    return {
        title: RoomState(
            title, len(own), sum(row.needs_attention for row in own), sum(row.is_in_order for row in own)
        )
        for title, own in sorted(found.items())
    }


def _searchable(row: DeviceRow) -> str:
    kinds = (label(lang, "kind", row.kind) for lang in LANGUAGES)
    return _normalized(
        "\n".join((row.name, *row.title.values(), row.kind, *kinds, row.bus, *row.room.values()))
    )


def _normalized(text: str) -> str:
    """Without differences of case and of full and half width."""
    return unicodedata.normalize("NFKC", text).casefold()


def _contains_all(text: str, terms: Iterable[str]) -> bool:
    return all(term in text for term in terms)
