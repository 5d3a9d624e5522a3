"""The view of all parts, made of rows and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.capabilities.needs.pages import NeedsSettings
from gateway.capabilities.parcels.pages import ParcelsSettings
from gateway.capabilities.parking.pages import ParkingSettings
from gateway.capabilities.safety.pages import SafetySettings
from gateway.capabilities.safety.services.alarms import Alarm, AlarmState
from gateway.capabilities.visitors.pages import VisitorsSettings
from gateway.capabilities.visitors.services import Counter, Day, Door, Flow, Layout, Place
from gateway.capabilities.visitors.statistics.results import CentreLayout
from gateway.dashboard.assembly import build_view
from gateway.dashboard.parts import page_parts
from gateway.model import ClockQuality, Hazard, Lane, Record, Stamp, Value
from gateway.web.settings import DeviceInfo, Settings
from gateway.web.snapshot import DaemonHealth, Snapshot
from gateway.web.view import View

NOON = 1_790_000_000_000
DAY = "2026-09-21"
MONO = 10**15

SMOKE = DeviceInfo("smoke", {"zh": "烟感"}, "smoke", 10, is_safety_device=True)
DOOR = DeviceInfo("door", {"zh": "南门"}, "door-counter", 10)


def at(
    ago: float = 0.0, boot: str = "b", clock: ClockQuality = ClockQuality.SYNCED, step: int = 0
) -> Stamp:
    return Stamp(NOON - int(ago * 1000) + step, MONO - int(ago * 1e9), boot, clock)


def sample(
    device: str,
    when: Stamp | None = None,
    error: str = "",
    bad: dict[str, str] | None = None,
    **values: Value,
) -> Record:
    quality = "offline" if error else "uncertain" if bad else "good"
    body = {"quality": quality, "values": values, "bad": bad or {}, "error": error}
    return Record(Lane.TELEMETRY, device, 1, "sample", when or at(), body)


def outage(device: str, error: str, **facts: str) -> Record:
    """Of a device that cannot be read."""
    body = {"quality": "offline", "values": {}, "error": error, "facts": facts}
    return Record(Lane.TELEMETRY, device, 1, "sample", at(), body)


def view_of(
    *devices: DeviceInfo,
    snapshot: Snapshot,
    now: Stamp | None = None,
    safety: SafetySettings = SafetySettings(),  # noqa: B008
) -> View:
    """What all parts show of a snapshot."""
    visitors = VisitorsSettings(
        layout=Layout(doors={"main": Door(counters=("door",))}),
        statistics_file=Path("none"),
        centre=CentreLayout("Asia/Shanghai"),
    )
    settings = Settings(
        journal=Path("none"),
        control=Path("none"),
        access=Path("none"),
        title={},
        timezone="Asia/Shanghai",
        devices=devices,
        uplinks={"uplink": {}},
        parts={
            "safety": safety,
            "visitors": visitors,
            "needs": NeedsSettings(),
            "parking": ParkingSettings(),
            "parcels": ParcelsSettings(),
        },
    )
    return build_view(page_parts(), settings, snapshot, now or at())


def view(
    *devices: DeviceInfo,
    samples: tuple[Record, ...] = (),
    health: DaemonHealth | None = DaemonHealth(),  # noqa: B008
    pending: dict[str, int] | None = None,
    safety_settings: SafetySettings = SafetySettings(),  # noqa: B008
    buses: dict[str, object] | None = None,
    **rows: dict[str, Any],
) -> View:
    """What all parts show of these rows and samples."""
    snapshot = Snapshot(rows, {each.device: each for each in samples}, pending, health, buses=buses)
    return view_of(*devices, snapshot=snapshot, safety=safety_settings)


def alarm(state: AlarmState, device: str = "smoke", hazard: Hazard = Hazard.FIRE, ago: float = 60) -> Alarm:
    return Alarm(
        id=f"{device}/{ago}",
        device=device,
        point="smoke",
        hazard=hazard,
        state=state,
        raised=at(ago),
        value=True,
    )


def todays_visitors(day: str = DAY) -> dict[str, object]:
    """Rows of the visitors' service."""
    counter = Counter(at=at(), why="", heard=True)
    place = Place(inside=5, today=Flow(9, 4))
    return {"day/": Day(day=day), "place/": place, "counter/door": counter}
