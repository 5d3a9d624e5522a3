"""The view of visitors. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.visitors.services import (
    COUNTER_KIND,
    COUNTER_PREFIX,
    DAY_KEY,
    Counter,
    Day,
    Visitors,
)
from gateway.model import Rows
from gateway.scheduling import instant_of
from gateway.web.part import PartInput
from gateway.web.view import DeviceCondition, Reminder

from .calendar import SLOT_MINUTES, CalendarSource
from .cameras import CameraInfo
from .curve import Curve
from .settings import VisitorsSettings
from .visits import Visits, visits_of

INSIDE = f"{Visitors.name}.inside"


class VisitorsView(msgspec.Struct, frozen=True):
    """Today's visitors; None if there is no figure of today."""

    inside: int | None
    came: int | None
    left: int | None
    silent_counters: int
    """Door counters without a valid reading, or whose reports cannot be counted."""
    unheard_doors: int
    """Doors that have not been heard since the gateway started; while there are any, `inside` is None."""
    visits: Visits
    cameras: tuple[CameraInfo, ...] = ()
    curve: Curve | None = None
    """People inside over the day; None while the statistics cannot be read."""
    calendar: CalendarSource = CalendarSource()


def figures(settings: VisitorsSettings, part_input: PartInput) -> Mapping[str, int]:
    """The number of people in the centre."""
    summary = _todays_summary(settings, part_input.rows(Visitors), part_input.day)
    return {INSIDE: summary["inside"]} if "inside" in summary else {}


def visitors_view(settings: VisitorsSettings, part_input: PartInput) -> VisitorsView:
    """The view of the service's rows."""
    rows = part_input.rows(Visitors)
    summary = _todays_summary(settings, rows, part_input.day)
    titles = {name: info.title for name, info in part_input.device_infos.items()}
    return VisitorsView(
        inside=summary.get("inside"),
        came=summary.get("in"),
        left=summary.get("out"),
        silent_counters=sum(
            device.kind == COUNTER_KIND
            and (device.condition is not DeviceCondition.GOOD or _is_distrusted(rows, device.name))
            for device in part_input.devices
        ),
        unheard_doors=summary.get("unheard", 0),
        visits=visits_of(
            rows, settings.layout, titles, part_input.day, part_input.now, _day_start(settings, part_input)
        ),
        cameras=settings.cameras,
        curve=part_input.snapshot.history.get(Visitors.name),
        calendar=_calendar_source(settings, part_input),
    )


def _is_distrusted(rows: Rows, counter: str) -> bool:
    row: Counter | None = rows.get(COUNTER_PREFIX + counter)
    return row is not None and bool(row.why)


def _day_start(settings: VisitorsSettings, part_input: PartInput) -> int:
    day = date.fromisoformat(part_input.day) if part_input.day else date(1970, 1, 1)
    return instant_of(day, 0, ZoneInfo(settings.centre.timezone))


def _calendar_source(settings: VisitorsSettings, part_input: PartInput) -> CalendarSource:
    slot_ms = SLOT_MINUTES * 60_000
    rooms = settings.layout.rooms
    return CalendarSource(
        timezone=settings.centre.timezone,
        today=part_input.day,
        slot_now=part_input.now.wall_ms // slot_ms * slot_ms,
        rooms={name: room.title for name, room in rooms.items()},
        rules={name: room.resource for name, room in rooms.items()},
    )


def reminders(part: VisitorsView) -> Iterable[Reminder]:
    """Counters that need attention."""
    count = sum(camera.stills for camera in part.cameras)
    return [Reminder("dashboard.remind-stills", count, "/cameras", order=20)]


def _todays_summary(settings: VisitorsSettings, rows: Rows, day: str) -> Mapping[str, Any]:
    """Empty while the rows are those of another day: yesterday's visitors are not today's."""
    if rows.get(DAY_KEY, Day()).day not in {"", day}:
        return {}
    return Visitors({}, settings.layout).summary(rows)
