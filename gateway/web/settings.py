"""The settings of the pages: paths, address, titles and devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.model import Calibration, Role


class DeviceInfo(msgspec.Struct, frozen=True):
    """One configured device, whether or not it has ever sent anything."""

    name: str
    title: dict[str, str]
    """By language."""
    kind: str
    interval_s: float
    """Seconds between readings; the longest silence to expect of a device that pushes."""
    units: dict[str, str] = {}
    """The unit of each point."""
    boolean_points: frozenset[str] = frozenset()
    """The points that are known to be true or false."""
    calibrations: Mapping[str, Calibration] = {}
    """By point; of those that may be calibrated, what applies now."""
    calibration_role: Role = Role.INSTALLER
    """The least role that may change them."""
    serial: str = ""
    is_safety_device: bool = False
    actions: tuple[str, ...] = ()
    """The actions that the dashboard offers."""
    action_roles: Mapping[str, Role] = {}
    """The least role that may do each of them; the manager where none is given."""
    bus: str = ""
    room: dict[str, str] = {}
    """By language; empty if the site does not say."""
    address: str = ""
    """Its address on the bus, as keys and values of the site file."""
    profile: str = ""
    maker: str = ""
    model: str = ""
    source: str = ""
    """What the device model is based on."""
    is_verified: bool = False
    """Whether a real device has confirmed the device model."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the dashboard, and of each capability's pages."""

    file: Path | None = None
    """The site file; without it, changes of the configuration are not followed."""
    journal: Path
    control: Path
    """The daemon's control socket."""
    access: Path
    """The file with the access key; created with a random key if it is missing."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any free port."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` count."""
    password_again_minutes: int = 15
    """After so many minutes without an act, one that can do harm needs the password again."""
    certificate_file: Path | None = None
    private_key_file: Path | None = None
    """The owner's own, in PEM."""
    local_ca: bool = False
    """Whether the pages have a certificate of an authority that the gateway makes itself."""
    plain_http: bool = False
    """Whether the owner knows that there is none."""
    title: dict[str, str]
    """The site's title, by language."""
    timezone: str
    """IANA name, for local times and the local day."""
    devices: tuple[DeviceInfo, ...] = ()
    uplinks: Mapping[str, Mapping[str, str]] = {}
    """The title of each platform, by the uplink's name; without one, it is the only platform."""
    parts: Mapping[str, Any] = {}
    """The settings of each page part, by the part's name."""

    def device(self, name: str) -> DeviceInfo | None:
        """The configured device of that name."""
        return next((device for device in self.devices if device.name == name), None)


def title_in(titles: Mapping[str, str], lang: str, default: str) -> str:
    """A title in a language, else in any, else `default`."""
    return titles.get(lang) or next(filter(None, titles.values()), default)
