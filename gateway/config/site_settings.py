"""What a manager may change in a site file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import get_args

import msgspec

from gateway.model import Device, Point, Role

from .capability import capabilities
from .settable import (
    WEEKLY_HOURS,
    Setting,
    SettingGroup,
    SettingKind,
    SettingSection,
    title_setting,
)
from .site import Site


def setting_sections(site: Site) -> tuple[SettingSection, ...]:
    """The sections of the core, and of every capability."""
    return (
        SettingSection(
            name="centre",
            groups=(
                SettingGroup(
                    path=("site",),
                    settings=(
                        title_setting("title", "centre-title"),
                        title_setting("contact", "privacy-contact"),
                    ),
                ),
            ),
        ),
        SettingSection(name="hours", groups=(SettingGroup(path=("hours",), settings=(WEEKLY_HOURS,)),)),
        SettingSection(
            name="devices",
            groups=tuple(
                SettingGroup(
                    path=("device", device.name),
                    title=device.title,
                    settings=(title_setting(), title_setting("room", "room")),
                )
                for device in site.devices.values()
            ),
        ),
        calibration_section(site),
        replacement_section(site),
        *(section for each in capabilities() for section in each.section.settings(site)),
    )


def manager_numbers(site: Site) -> Mapping[str, tuple[SettingGroup, Setting]]:
    """The numbers that a manager may set, by their place in the file: `rule.cold.when.0.above`."""
    data = {source: tomllib.loads(text) for source, text in site.sources.items()}
    return {
        ".".join((*group.path, *setting.key)): (group, setting)
        for section in setting_sections(site)
        for group in section.groups
        if Role.MANAGER.includes(group.role) and group.fits(data[group.source])
        for setting in group.settings
        if setting.kind is SettingKind.NUMBER
    }


def calibration_section(site: Site) -> SettingSection:
    """The corrections of the points that may be calibrated."""
    groups = []
    for device in site.devices.values():
        points = {name: point for name, point in device.points.items() if point.calibration_limit}
        if points:
            settings = tuple(each for name, point in points.items() for each in _calibration(name, point))
            groups.append(_device_group(device, settings, device.calibration_role))
    return SettingSection(name="calibration", groups=tuple(groups))


def _calibration(name: str, point: Point) -> tuple[Setting, ...]:
    limit, ends = point.calibration_limit, (point.min or 0.0, point.max or 0.0)
    change = min(0.5, limit / (max(map(abs, ends)) or 1.0))
    scale, offset = (
        Setting(
            key=("calibrate", name, key), label=f"calibrate-{key}", kind=SettingKind.NUMBER, about=name,
            unit=unit, least=least, most=most, default=default,
        )
        for key, unit, least, most, default in (
            ("scale", "", 1 - change, 1 + change, "1"), ("offset", point.unit, -limit, limit, "0"),
        )
    )  # fmt: skip
    return offset, scale


def replacement_section(site: Site) -> SettingSection:
    """Where each device is reached, and its serial number: for another of the same model in its place."""
    serial = Setting(key=("serial",), label="serial")
    groups = (
        _device_group(device, (serial, *_address(device)), Role.INSTALLER)
        for device in site.devices.values()
    )
    return SettingSection(name="replacement", role=Role.INSTALLER, groups=tuple(groups))


def _address(device: Device) -> Iterator[Setting]:
    """The words and numbers of an address; a secret is in a file, which only a person can change."""
    for field in msgspec.structs.fields(device.address):
        name, value = field.encode_name, getattr(device.address, field.name)
        kinds = {field.type, *get_args(field.type)}
        if name.endswith("_file") or isinstance(value, bool) or not isinstance(value, int | str | None):
            continue
        if int in kinds and str not in kinds:
            yield Setting(key=(name,), label="address", kind=SettingKind.NUMBER, about=name)
        elif str in kinds:
            yield Setting(key=(name,), label="address", about=name)


def _device_group(device: Device, settings: tuple[Setting, ...], role: Role) -> SettingGroup:
    return SettingGroup(path=("device", device.name), title=device.title, settings=settings, role=role)
