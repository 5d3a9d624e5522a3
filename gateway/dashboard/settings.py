"""What the dashboard is told at its start."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.capabilities.needs.services import Reception
from gateway.capabilities.needs.site import NeedsSite
from gateway.capabilities.parcels.services import KIND as LOCKER
from gateway.capabilities.safety.services.alarms import Output
from gateway.capabilities.safety.services.supervision import UNTESTABLE_HAZARDS
from gateway.capabilities.safety.site import Duties, SafetySite
from gateway.capabilities.visitors.services import Layout, with_counters
from gateway.capabilities.visitors.site import VisitorsSite, statistics_file
from gateway.capabilities.visitors.statistics.site import centre_of
from gateway.capabilities.visitors.statistics.terms import Centre
from gateway.config import Site, localized
from gateway.config.adoption import load_adopted, load_sources
from gateway.words import LANGUAGES

from .cameras import CameraCard, cameras_of


class DeviceCard(msgspec.Struct, frozen=True):
    """One configured device, whether or not it has ever spoken."""

    name: str
    title: dict[str, str]
    """What people call it, by language."""
    kind: str
    every: float
    """Seconds between readings; the longest silence to expect of a device that pushes."""
    units: dict[str, str] = {}
    """The unit of each point."""
    safety: bool = False
    actions: tuple[str, ...] = ()
    """What a click can have it do; a locker's compartments are opened one by one elsewhere."""
    tried: tuple[str, ...] = ()
    """The points that a walk-test tries."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are, and what the site is called."""

    file: Path | None = None
    """The site's file; without it, a change of the devices is not followed."""
    journal: Path
    control: Path
    """The daemon's control socket."""
    access: Path
    """The file with the access key; made with a random one when missing."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any free port."""
    site: dict[str, str]
    """The site's title, by language."""
    timezone: str
    """IANA name: local times and the local day."""
    devices: tuple[DeviceCard, ...] = ()
    outputs: dict[str, Output] = {}
    duties: Duties = Duties()
    reception: Reception | None = None
    """How residents' needs are received."""
    layout: Layout = Layout()
    """The rooms and doors that visitors walk through; each counter has a door."""
    statistics: Path | None = None
    """The visitors of all years; beside the journal where nobody says."""
    centre: Centre | None = None
    """Its doors, rooms and opening hours."""

    cameras: tuple[CameraCard, ...] = ()
    contact: dict[str, str] = {}
    """Whom visitors may ask about personal information, by language."""

    @property
    def statistics_file(self) -> Path:
        return self.statistics or self.journal.with_name("statistics.db")


def settings_of(site: Site, file: Path | None = None) -> Settings:
    """What a site's configuration says of its dashboard."""
    name = site.centre.title
    return Settings(
        file=file,
        journal=site.journal.path,
        control=site.control.socket,
        access=site.dashboard.access,
        host=site.dashboard.host,
        port=site.dashboard.port,
        site=dict.fromkeys(LANGUAGES, name) if isinstance(name, str) else name,
        timezone=site.centre.timezone,
        devices=cards_of(site),
        outputs=site.part(SafetySite).outputs,
        duties=site.part(SafetySite).duties,
        reception=site.part(NeedsSite).reception,
        statistics=statistics_file(site),
        centre=centre_of(site),
        layout=with_counters(site.part(VisitorsSite).layout, site.devices.values()),
        cameras=cameras_of(site),
        contact=localized(site.centre.contact) if site.centre.contact else {},
    )


def cards_of(site: Site) -> tuple[DeviceCard, ...]:
    """The devices of a site."""
    return tuple(
        DeviceCard(
            name=device.name,
            title=device.title,
            kind=device.kind,
            every=device.every,
            units={key: point.unit for key, point in device.points.items()},
            safety=device.safety,
            actions=tuple(
                action
                for action in (*site.buses[device.bus].driver.actions, *device.actions)
                if device.kind != LOCKER or action != "open"
            ),
            tried=tuple(
                name
                for name, point in device.points.items()
                if point.alarm and point.alarm.hazard not in UNTESTABLE_HAZARDS
            ),
        )
        for device in site.devices.values()
    )


def adopted(settings: Settings) -> Settings:
    """With what the gateway runs with; unchanged where nobody can tell."""
    kept = load_adopted(settings.file, settings.journal) if settings.file else None
    site = load_sources(settings.file, kept.sources) if settings.file and kept else None
    if site is None:
        return settings
    return msgspec.structs.replace(
        settings,
        devices=cards_of(site),
        outputs=site.part(SafetySite).outputs,
        duties=site.part(SafetySite).duties,
        reception=site.part(NeedsSite).reception,
        centre=centre_of(site),
        layout=with_counters(site.part(VisitorsSite).layout, site.devices.values()),
        cameras=cameras_of(site),
    )


def title(titles: dict[str, str], lang: str, otherwise: str) -> str:
    """A title in a language, or in any."""
    return titles.get(lang) or next(filter(None, titles.values()), otherwise)
