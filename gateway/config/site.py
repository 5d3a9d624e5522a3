"""A site: the checked configuration of a centre."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.model import Device, Replacement
from gateway.model.hours import WeeklyHours

from .dialect.rules import DialectFile
from .options import (
    BusSpec,
    Centre,
    ControlOptions,
    DashboardOptions,
    JournalOptions,
    MetricsOptions,
    UplinkOptions,
)

T = TypeVar("T")


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A checked configuration."""

    centre: Centre
    journal: JournalOptions
    uplinks: dict[str, UplinkOptions]
    """By name; that of `[uplink]` itself is `uplink`."""
    control: ControlOptions
    metrics: MetricsOptions
    dashboard: DashboardOptions
    buses: dict[str, BusSpec]
    devices: dict[str, Device]
    sources: dict[str, str]
    """The text of the site file under `""`, and that of each device model under its name."""
    hours: WeeklyHours | None = None
    """Opening hours."""
    dialects: dict[str, DialectFile] = {}
    """The dialect files that its uplinks use, by name."""
    parts: dict[str, Any] = {}
    """What each capability has read, by the capability's name."""

    def part(self, kind: type[T]) -> T:
        """The part of the capability that reads this kind of struct."""
        return next(part for part in self.parts.values() if isinstance(part, kind))

    @property
    def digest(self) -> str:
        """Identifies this configuration: see `configuration_digest`."""
        return configuration_digest(self.sources)


def files_of(value: Any, name: str = "", least: int = 0) -> Iterator[tuple[str, Path, int]]:
    """Every path of a configuration, with its key, and how many characters a secret in it needs."""
    if isinstance(value, Path):
        yield name, value, least
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from files_of(getattr(value, field), field, getattr(value, "MIN_SECRET_CHARACTERS", 0))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(each, str) and str(key).endswith("_file"):
                yield str(key), Path(each), least
            else:
                yield from files_of(each, name)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from files_of(each, name)


def address_text(address: Any) -> str:
    """The keys of a device's address that are one word or number. Secrets are in files, which are left
    out."""
    keys = msgspec.to_builtins(address, enc_hook=str)
    return ", ".join(
        f"{key} = {value}"
        for key, value in keys.items()
        if isinstance(value, str | int) and not isinstance(value, bool) and not key.endswith("_file")
    )


def replacements_between(old: Site, new: Site) -> tuple[Replacement, ...]:
    """The devices in whose place another of the same model is. A serial number that was unknown before is
    no other device."""
    found = []
    for name, device in new.devices.items():
        before = old.devices.get(name)
        if before is None or before.profile != device.profile:
            continue
        addresses = address_text(before.address), address_text(device.address)
        other_serial = before.serial and before.serial != device.serial
        if other_serial or before.bus != device.bus or before.address != device.address:
            found.append(Replacement(name, *addresses, before.serial, device.serial))
    return tuple(found)


def configuration_digest(sources: Mapping[str, str]) -> str:
    """Sixteen hexadecimal digits that differ when any of the texts does."""
    return hashlib.sha256(msgspec.json.encode(sources, order="sorted")).hexdigest()[:16]
