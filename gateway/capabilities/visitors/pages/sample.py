"""Made-up views and statistics of visitors, for the gallery."""

from __future__ import annotations

import contextlib
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.capabilities.visitors.services import CENTRE
from gateway.capabilities.visitors.statistics.aggregation import QUARTER_MS, AggregationBatch, Bin
from gateway.capabilities.visitors.statistics.database import connect
from gateway.web.gallery import GalleryMoment, SampleFiles

from .calendar import CalendarSource
from .curve import Curve
from .settings import VisitorsSettings
from .view import VisitorsView
from .visits import BookingRow, CounterRow, DoorRow, PlaceRow, Visits

INSIDE = (0, 0, 3, 8, 12, 20, 26, 30, None, None, 34, 33, 31, 28, 24, 26, 31)
HOUR_MS = 3_600_000
ZONE = "Asia/Shanghai"


def sample(moment: GalleryMoment) -> VisitorsView:
    """The view at a moment of the gallery."""
    if not moment.is_known:
        return VisitorsView(None, None, None, 0, 0, Visits())
    room, door = moment.named("舞蹈室", "Dance room"), moment.named("南门", "South door")
    bookings = tuple(
        BookingRow(
            id=f"booking/{number}", title=moment.named(zh, en)["zh"], kind="activity", place=room,
            since=moment.now + (number - 1) * HOUR_MS, until=moment.now + number * HOUR_MS + HOUR_MS // 2,
            expected=20, came=18, left=0, peak=18, by="王芳", live=not number, over=False, final=False,
            room="dance",
        )
        for number, (zh, en) in enumerate(
            (("书法班", "Calligraphy"), ("儿童绘本", "Story time"), ("太极拳", "Tai chi"))
        )
    )  # fmt: skip
    return VisitorsView(
        inside=31,
        came=128,
        left=97,
        silent_counters=int(moment.is_old),
        unheard_doors=0,
        visits=Visits(
            places=(
                PlaceRow("", {}, 31, 128, 97, 200, near=False, drift=None),
                PlaceRow("dance", room, 28, 40, 12, 30, near=True, drift=None),
            ),
            tours=12,
            doors=(DoorRow("south", door, 128, 97, (CounterRow(door, "counter", True, "", 128, 97),)),),
            bookings=bookings,
            rooms={"dance": room},
        ),
        curve=Curve(8, 20, INSIDE),
        calendar=CalendarSource(
            timezone=ZONE,
            today=f"{datetime.fromtimestamp(moment.now / 1000, ZoneInfo(ZONE)):%Y-%m-%d}",
            slot_now=moment.now,
            rooms={"dance": room},
        ),
    )


WEEKS = 5
QUARTERS_PER_DAY = 96


def fill_sample(settings: VisitorsSettings, files: SampleFiles) -> None:
    """Some weeks of visits."""
    batch, places = AggregationBatch(), [CENTRE, *settings.centre.doors]
    last, zone = files.now.wall_ms // QUARTER_MS, ZoneInfo(settings.centre.timezone)
    for quarter in range(last - WEEKS * 7 * QUARTERS_PER_DAY, last):
        local = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, zone)
        if 8 <= local.hour < 21:
            came, went = quarter % 7 + local.weekday(), quarter % 5 + local.weekday()
            batch.bins |= {(quarter, place): Bin(came, went, tours=quarter % 7 // 6) for place in places}
    begin_ms = (last - WEEKS * 7 * QUARTERS_PER_DAY) * QUARTER_MS
    for counters in settings.centre.doors.values():
        batch.coverage_changes |= {(counter, begin_ms): True for counter in counters}
    with contextlib.closing(connect(settings.statistics_file)) as database:
        database.apply(batch)
