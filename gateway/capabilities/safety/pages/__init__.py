"""The pages of safety: the alarms on every page, the page of duties, and that of the walk test."""

from __future__ import annotations

from typing import ClassVar

from starlette.routing import Route

from gateway.capabilities.safety.services.alarms import Safety
from gateway.capabilities.safety.services.batteries import Batteries
from gateway.capabilities.safety.services.emergency_plans import EmergencyPlans
from gateway.capabilities.safety.services.findings import Findings
from gateway.capabilities.safety.services.patrols import Patrols
from gateway.capabilities.safety.services.supervision import Supervision
from gateway.model import Role
from gateway.web.part import Page, PageContext, PagePart, PartHandlers
from gateway.words import translate

from .alarm_quality import AlarmQualityHandlers
from .device_record import read_device_record
from .history import HistoryHandlers
from .phones import PhoneHandlers
from .records import RecordsHandlers
from .requests import REQUESTS
from .sample import SHIFT, fill_sample, sample
from .settings import SafetySettings, settings
from .shifts import ShiftHandlers
from .view import ENDED_SHOWN_S, SafetyView, annotate, reminders, safety_view


class SafetyHandlers(PartHandlers):
    """Those of the history and of the records of duty."""

    route_roles: ClassVar = {**HistoryHandlers.route_roles, **PhoneHandlers.route_roles}
    signed_paths = ShiftHandlers.signed_paths

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._handlers = tuple(
            handlers(context)
            for handlers in (
                HistoryHandlers,
                RecordsHandlers,
                ShiftHandlers,
                AlarmQualityHandlers,
                PhoneHandlers,
            )
        )

    def routes(self) -> list[Route]:
        return [route for handlers in self._handlers for route in handlers.routes()]


def _heading(part: SafetyView, lang: str) -> str:
    if part.unacknowledged:
        return translate(lang, "dashboard.alarms-title", count=part.unacknowledged)
    return translate(lang, "dashboard.drill") if part.drills else ""


PAGES: PagePart[SafetySettings, SafetyView] = PagePart(
    name="safety",
    settings=settings,
    services=(Safety, EmergencyPlans, Supervision, Batteries, Patrols, Findings),
    removed_rows_s={Safety.name: ENDED_SHOWN_S},
    view=safety_view,
    sample=sample,
    fill_sample=fill_sample,
    annotate=annotate,
    reminders=reminders,
    heading=_heading,
    pages=(
        Page(
            name="safety",
            title="dashboard.page-safety",
            regions=("out", "outputs", "drill", "duties", "patrols", "hazards"),
            menu_order=40,
        ),
        Page(
            name="history",
            title="dashboard.page-history",
            menu_order=45,
            has_own_route=True,
            examples=("history", "history/events"),
        ),
        Page(
            name="shifts",
            title="dashboard.page-shifts",
            menu_order=42,
            has_own_route=True,
            examples=("shifts", f"shifts/{SHIFT.partition('/')[2]}"),
        ),
        Page(name="alarm-quality", title="dashboard.page-alarm-quality", has_own_route=True),
        Page(name="drills", title="dashboard.page-drills", has_own_route=True),
        Page(name="walk-tests", title="dashboard.page-walk-tests", has_own_route=True),
        Page(name="test-log", title="dashboard.page-test-log", has_own_route=True),
        Page(name="phones", title="phones.page", role=Role.DISPLAY, is_personal=True, has_own_route=True),
        Page(name="walk-test", title="dashboard.page-walk-test", regions=("walk",), menu_order=50),
    ),
    # Alarms are on every page, so that they are not missed on another one.
    frame_regions=("alarms",),
    kiosk_regions=("wall-alarms",),
    status="status",
    device_state="device-state",
    device_actions="device-actions",
    device_page="device-record",
    device_found=read_device_record,
    requests=REQUESTS,
    styles=("safety.css", "history.css"),
    handlers=SafetyHandlers,
)
