"""Made-up views of visitors, for the gallery."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.web.gallery import GalleryMoment

from .calendar import CalendarSource
from .curve import Curve
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
