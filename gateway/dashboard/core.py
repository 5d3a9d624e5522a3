"""The core's own part of the pages: the overview, all devices, and the bus doctor's report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.routing import Route

from gateway.model import Role, Sample, Value
from gateway.services.commands import Commands
from gateway.services.configuration import Configuration
from gateway.services.presence import Presence
from gateway.trends import QUARTER_MS, Calendar, TrendBin, trends_file
from gateway.trends.database import connect
from gateway.trends.statistics import TrendCursor
from gateway.web.commands import NO_TARGET, DeviceRequest, RequestContext, Target
from gateway.web.gallery import SampleFiles
from gateway.web.pages import label
from gateway.web.part import HOME, KIOSK, Page, PagePart, PartHandlers, PartInput, Tile
from gateway.web.settings import DeviceInfo, title_in
from gateway.web.view import BusReport, DiagnosisRow, Reminder

from .device_list import device_selection, listed_devices
from .device_page import PAGE as DEVICE_PAGE
from .device_page import DeviceHandlers, device_choice
from .site_settings import PAGE as SETTINGS_PAGE
from .site_settings import SettingsHandlers

BusReports = tuple[BusReport, ...] | None


class OperateDevice(DeviceRequest, frozen=True, tag="do"):
    """Executes an action of a device; each has its own role."""

    role = Role.DUTY
    name: str

    @property
    def action(self) -> str:
        return self.name

    def least_role(self, context: RequestContext) -> Role:
        info = context.settings.device(self.device)
        return info.action_roles.get(self.name, Role.MANAGER) if info else self.role

    def arguments(self, _context: RequestContext) -> dict[str, Any]:
        return {}

    def target(self, context: RequestContext) -> Target:
        device = next((each for each in context.view.devices if each.name == self.device), None)
        if device is None or self.name not in device.actions:
            return NO_TARGET
        title = title_in(device.title, context.lang, device.name)
        return Target((device.name,), {"device": title, "action": label(context.lang, "action", self.name)})


def bus_reports(buses: Mapping[str, Any] | None, infos: Mapping[str, DeviceInfo]) -> BusReports:
    """What the bus doctor reports of each bus; None while it has not answered."""

    def title(device: str) -> dict[str, str]:
        info = infos.get(device)
        return info.title if info else {}

    if buses is None:
        return None
    return tuple(
        BusReport(
            name,
            report["up"],
            report["use"],
            tuple(report["devices"]),
            tuple(
                DiagnosisRow(each["key"], each["device"], title(each["device"]), each["facts"])
                for each in report["findings"]
            ),
            {each["device"]: title(each["device"]) for each in report["devices"]},
        )
        for name, report in buses.items()
    )


def _view(_settings: None, part_input: PartInput) -> BusReports:
    return bus_reports(part_input.snapshot.buses, part_input.device_infos)


def _reminders(reports: BusReports) -> Iterable[Reminder]:
    count = sum(each.key != "unheard" for report in reports or () for each in report.diagnoses)
    return [Reminder("dashboard.remind-findings", count, "/lines", order=30)]


class _Handlers(PartHandlers):
    def routes(self) -> list[Route]:
        return [*DeviceHandlers(self._context).routes(), *SettingsHandlers(self._context).routes()]


SAMPLE_DEVICE = "fridge-1"
SAMPLE_QUARTERS = 31 * 96


def _fill_sample(_settings: None, files: SampleFiles) -> None:
    """A month of one device: by quarter of an hour, and the last hour as it was read; with gaps."""
    newest = files.now.wall_ms // QUARTER_MS
    bins = {
        (SAMPLE_DEVICE, "temperature", newest - ago): TrendBin(low, low + 2, low + 1, 90, QUARTER_MS)
        for ago in range(1, SAMPLE_QUARTERS)
        if not 200 < ago < 230
        for low in [2 + ago % 96 / 48]
    }
    with contextlib.closing(connect(trends_file(files.settings.journal))) as database:
        cursor = TrendCursor(1, newest * QUARTER_MS, 0)
        database.apply(bins, database.held(), "sample", cursor, Calendar(files.settings.timezone))
    for second in range(3600, 0, -10):
        values: dict[str, Value] = {"temperature": 3 + second % 1200 / 600, "humidity": 40 + second % 7}
        if not 1200 < second < 1500:
            files.journal.append_sample(Sample(SAMPLE_DEVICE, files.ago(second), values))


CORE: PagePart[None, BusReports] = PagePart(
    name="core",
    services=(Presence, Commands, Configuration),
    view=_view,
    reminders=_reminders,
    fill_sample=_fill_sample,
    pages=(
        Page(
            name=HOME,
            title="dashboard.page-overview",
            regions=("tiles", "attention"),
            menu_order=0,
            role=Role.DISPLAY,
            has_own_route=True,
            examples=("",),
        ),
        Page(
            name="devices",
            title="dashboard.devices",
            regions=("devices",),
            menu_order=25,
            selection=device_selection,
            rows=listed_devices,
        ),
        Page(
            name=DEVICE_PAGE,
            title="dashboard.page-device",
            regions=("device",),
            selection=device_choice,
            has_own_route=True,
            examples=(f"device?name={SAMPLE_DEVICE}", f"device?name={SAMPLE_DEVICE}&hours=168"),
        ),
        Page(
            name="lines",
            title="dashboard.page-lines",
            regions=("lines",),
            menu_order=60,
            role=Role.INSTALLER,
        ),
        Page(name="account", title="dashboard.page-account", role=Role.DISPLAY, has_own_route=True),
        Page(name="sessions", title="dashboard.page-sessions", is_personal=True, has_own_route=True),
        Page(
            name=SETTINGS_PAGE,
            title="dashboard.page-settings",
            menu_order=70,
            role=Role.MANAGER,
            has_own_route=True,
            examples=("settings", "settings/history", "settings/history/1"),
        ),
        Page(
            name=KIOSK,
            title="dashboard.page-kiosk",
            regions=("status", "banners", "wall-tiles"),
            role=Role.DISPLAY,
        ),
    ),
    frame_regions=("status", "banners"),
    tiles=(Tile("todo-tile", order=20),),
    requests=(OperateDevice,),
    handlers=_Handlers,
)
