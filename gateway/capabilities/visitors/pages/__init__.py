"""The pages of visitors: visits, statistics and cameras."""

from __future__ import annotations

from typing import ClassVar

from starlette.requests import Request
from starlette.routing import Route

from gateway.capabilities.visitors.services import Visitors
from gateway.model import Role
from gateway.web.part import Page, PageContext, PagePart, PartHandlers, Tile

from .calendar import calendar_selection
from .calendars import CALENDAR_ROLES, CalendarHandlers, is_feed
from .curve import read_curve
from .requests import Book, CancelBooking, CheckInBooking, CorrectInside, EndBooking, MarkTour, MoveBooking
from .sample import fill_sample, sample
from .settings import VisitorsSettings, settings
from .statistics import StatisticsHandlers
from .tuning import CameraHandlers
from .view import VisitorsView, figures, reminders, visitors_view


class VisitorsHandlers(PartHandlers):
    """Those of the statistics and of the cameras."""

    route_roles: ClassVar = {
        "/visitors/table.csv": Role.MANAGER,
        "/visitors/book.xlsx": Role.MANAGER,
        "/still": Role.INSTALLER,
        "/privacy": Role.DISPLAY,
        **CALENDAR_ROLES,
    }

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._handlers = (StatisticsHandlers(context), CameraHandlers(context), CalendarHandlers(context))

    def is_allowed_without_session(self, request: Request) -> bool:
        return is_feed(request)

    def routes(self) -> list[Route]:
        return [route for handlers in self._handlers for route in handlers.routes()]


PAGES: PagePart[VisitorsSettings, VisitorsView] = PagePart(
    name="visitors",
    settings=settings,
    services=(Visitors,),
    history=read_curve,
    figures=figures,
    view=visitors_view,
    sample=sample,
    fill_sample=fill_sample,
    reminders=reminders,
    pages=(
        Page(
            name="visits",
            title="dashboard.page-visits",
            regions=("places", "bookings", "doors"),
            menu_order=10,
            role=Role.DISPLAY,
        ),
        Page(
            name="bookings",
            title="dashboard.page-bookings",
            regions=("calendar",),
            menu_order=27,
            selection=calendar_selection,
        ),
        Page(name="calendars", title="calendars.page", has_own_route=True),
        Page(name="visitors", title="dashboard.page-visitors", menu_order=20, has_own_route=True),
        Page(
            name="cameras",
            title="dashboard.page-cameras",
            regions=("cameras",),
            menu_order=70,
            role=Role.INSTALLER,
            in_menu=lambda part: bool(part.cameras),
            has_own_route=True,
        ),
    ),
    tiles=(Tile("inside-tile", order=10, on_wall=True), Tile("activities-tile", order=25, on_wall=True)),
    requests=(Book, MoveBooking, CancelBooking, CheckInBooking, EndBooking, MarkTour, CorrectInside),
    handlers=VisitorsHandlers,
    scripts=("calendar.js",),
    styles=("visitors.css", "calendar.css"),
)
