"""The dashboard's settings of a site."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from gateway.config import Site
from gateway.config.adoption import load_adopted, load_sources
from gateway.config.options import UplinkOptions
from gateway.config.reading import localized
from gateway.config.site import address_text
from gateway.model import UPLINK_DEVICE, Calibration
from gateway.web.settings import DeviceInfo, Settings
from gateway.words import LANGUAGES

from .parts import Part


def settings_of(site: Site, parts: Iterable[Part], file: Path | None = None) -> Settings:
    """The settings of pages that consist of these parts."""
    return Settings(
        file=file,
        journal=site.journal.path,
        control=site.control.socket,
        access=site.dashboard.access,
        host=site.dashboard.host,
        port=site.dashboard.port,
        trusted_proxies=site.dashboard.trusted_proxies,
        certificate_file=site.dashboard.certificate_file,
        private_key_file=site.dashboard.private_key_file,
        local_ca=site.dashboard.local_ca,
        plain_http=site.dashboard.plain_http,
        password_again_minutes=site.dashboard.password_again_minutes,
        title=_title(site),
        timezone=site.centre.timezone,
        devices=device_infos(site),
        uplinks={name: _uplink_title(name, options) for name, options in site.uplinks.items()},
        parts={part.name: part.settings(site) for part in parts},
    )


def _title(site: Site) -> dict[str, str]:
    title = site.centre.title
    return dict.fromkeys(LANGUAGES, title) if isinstance(title, str) else title


def _uplink_title(name: str, options: UplinkOptions) -> dict[str, str]:
    title = options.title or ("" if name == UPLINK_DEVICE else name)
    return localized(title) if title else {}


def device_infos(site: Site) -> tuple[DeviceInfo, ...]:
    """The devices of a site."""
    models = {name: tomllib.loads(text) for name, text in site.sources.items() if name}
    return tuple(
        DeviceInfo(
            name=device.name,
            title=device.title,
            kind=device.kind,
            interval_s=device.every,
            units={key: point.unit for key, point in device.points.items()},
            boolean_points=frozenset(key for key, point in device.points.items() if point.is_boolean),
            calibrations={
                key: device.calibrations.get(key, Calibration())
                for key, point in device.points.items()
                if point.calibration_limit
            },
            calibration_role=device.calibration_role,
            serial=device.serial,
            is_safety_device=device.is_safety_device,
            actions=(*site.buses[device.bus].driver.actions, *device.actions),
            action_roles={
                **site.buses[device.bus].driver.actions,
                **{name: action.role for name, action in device.actions.items()},
            },
            bus=device.bus,
            room=device.room,
            address=address_text(device.address),
            profile=device.profile,
            is_verified=models[device.profile].get("verified", False),
            **{key: models[device.profile][key] for key in ("maker", "model", "source")},
        )
        for device in site.devices.values()
    )


def adopted_settings(settings: Settings, parts: Iterable[Part]) -> Settings:
    """The settings with the configuration that the gateway has adopted; unchanged if that is unknown."""
    kept = load_adopted(settings.file, settings.journal) if settings.file else None
    site = load_sources(settings.file, kept.sources) if settings.file and kept else None
    if site is None:
        return settings
    return msgspec.structs.replace(
        settings,
        title=_title(site),
        devices=device_infos(site),
        uplinks={name: _uplink_title(name, options) for name, options in site.uplinks.items()},
        parts={part.name: part.settings(site) for part in parts},
    )
