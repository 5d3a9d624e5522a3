"""What the dashboard is told at its start."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.config import Site
from gateway.model import Hazard
from gateway.services.lockers import KIND as LOCKER
from gateway.services.patrols import Patrol
from gateway.services.response import Plan
from gateway.services.safety import Output
from gateway.services.supervision import UNTRIED
from gateway.words import LANGUAGES


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
    plans: dict[Hazard, Plan] = {}
    patrols: dict[str, Patrol] = {}


def settings_of(site: Site) -> Settings:
    """What a site's configuration says of its dashboard."""
    name = site.centre.title
    return Settings(
        journal=site.journal.path,
        control=site.control.socket,
        access=site.dashboard.access,
        host=site.dashboard.host,
        port=site.dashboard.port,
        site=dict.fromkeys(LANGUAGES, name) if isinstance(name, str) else name,
        timezone=site.centre.timezone,
        devices=tuple(
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
                    if point.alarm and point.alarm.hazard not in UNTRIED
                ),
            )
            for device in site.devices.values()
        ),
        outputs=site.outputs,
        plans=dict(site.duties.plans),
        patrols=dict(site.duties.patrols),
    )


def title(titles: dict[str, str], lang: str, otherwise: str) -> str:
    """A title in a language, or in any."""
    return titles.get(lang) or next(filter(None, titles.values()), otherwise)
