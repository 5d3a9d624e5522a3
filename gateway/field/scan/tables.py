"""What a scan found, as tables to copy into a site's file. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from gateway.config import NAME_PATTERN, reserved_names
from gateway.model import Value
from gateway.words import LANGUAGES, translate

from .match import ProfileMatch, is_certain_enough

MAX_LISTED = 6
"""Models and values in a comment."""
MAX_TEXT_LENGTH = 60
"""Of a name or value in a comment."""
DEFAULT_SILENCE_S = 3600.0
"""The longest silence to expect of a device that reports by itself, until a person knows better."""


class FoundDevice(msgspec.Struct, kw_only=True):
    """A device that a scan found."""

    driver: str
    target: str
    """Where it was found: a port, an address, a broker."""
    address: dict[str, Any]
    """The address keys of its `[device.…]` table."""
    identity: dict[str, str]
    """What it says of itself, by the driver's `identity_keys`."""
    bus: str = ""
    """The site's bus it is on; without one, `bus_table` are the keys of a new `[bus.…]` table."""
    bus_table: dict[str, Any]
    keys_to_fill_in: dict[str, Any] = {}
    """More keys of its table, for what a person must provide first."""
    configured_as: str = ""
    """The name of the site's device that it is; empty if it is none."""
    pushes: bool = False
    """Whether it reports by itself."""
    matches: list[ProfileMatch] = []
    """The device models that it may be, likeliest first."""
    received: dict[str, Value] = {}
    """The values of a message, by path."""

    @property
    def label(self) -> str:
        return ", ".join(f"{key} = {toml_value(value)}" for key, value in self.address.items())


def site_tables(devices: Sequence[FoundDevice], configured_names: Collection[str], language: str) -> str:
    """Tables for every device that is not configured; `configured_names` are the names that the site's file
    has."""
    used = {*configured_names, *reserved_names()}
    buses: dict[str, tuple[str, list[str]]] = {}
    for device in devices:
        if device.configured_as:
            continue
        key = device.bus or f"{device.driver} {device.bus_table}"
        if key not in buses:
            name = device.bus or _unused_name(device.driver.replace("_", "-"), used)
            new = _toml_table(f"bus.{name}", driver=device.driver, **device.bus_table)
            buses[key] = name, [] if device.bus else [new]
        name, tables = buses[key]
        tables.append(_device_table(device, name, used, language))
    return "\n".join(table for _, tables in buses.values() for table in tables)


def _device_table(device: FoundDevice, bus: str, used: set[str], language: str) -> str:
    comment = f"# {describe(device, language)}"
    if not device.matches:
        return f"{comment}\n"
    is_certain = is_certain_enough(device.matches)
    best = device.matches[0].profile
    kind = best.partition("/")[0]
    value = str(next(iter(device.address.values())))
    called = device.identity.get("name") or value
    name = _unused_name(_slug(f"{kind if is_certain else 'device'}-{_slug(called) or _slug(value)}"), used)
    word = f"kind.{kind}" if is_certain else "scan.device"
    keys = {
        "profile": best,
        "title": {language: f"{translate(language, word)} {called}" for language in LANGUAGES},
        "bus": bus,
        **device.address,
        **device.keys_to_fill_in,
        **({"every": DEFAULT_SILENCE_S} if device.pushes else {}),
    }
    table = _toml_table(f"device.{name}", **keys)
    if is_certain:
        return f"{comment}\n{table}"
    head, first, *rest = table.splitlines()
    others = [f"profile = {toml_value(match.profile)}" for match in device.matches[1:MAX_LISTED]]
    return "\n".join((comment, *(f"# {line}" for line in (head, first, *others, *rest)), ""))


def describe(device: FoundDevice, language: str) -> str:
    """One line about a device. Characters that cannot be printed, which a device may send, are left out."""
    return "".join(letter if letter.isprintable() else " " for letter in _description(device, language))


def _description(device: FoundDevice, language: str) -> str:
    identity = _listed_values(device.identity)
    who = f"{device.label} ({identity})" if identity else device.label
    if device.configured_as:
        return translate(language, "scan.configured", who=who, device=device.configured_as)
    if not device.matches:
        needs = ", ".join(device.keys_to_fill_in)
        key = "scan.needs" if needs else "scan.fits-none"
        return translate(language, key, who=who, heard=_listed_values(device.received) or "–", needs=needs)
    first, *others = device.matches
    facts = {"who": who, "profile": first.profile, "values": _listed_values(first.values) or "–"}
    also = ", ".join(match.profile for match in others[:MAX_LISTED])
    if len(others) > MAX_LISTED:
        also += " …"
    key = "scan.fits-several" if others else "scan.fits-one"
    if not is_certain_enough(device.matches):
        key = "scan.fits-equally" if others else "scan.fits-safety"
    return translate(language, key, also=also, **facts)


def _listed_values(values: Mapping[str, Value]) -> str:
    first = list(values.items())[:MAX_LISTED]
    shown = [f"{_shortened(name)} = {_shortened(toml_value(value))}" for name, value in first]
    return ", ".join(shown) + (" …" if len(values) > MAX_LISTED else "")


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]}…"


def _unused_name(preferred_name: str, used: set[str]) -> str:
    name, number = preferred_name, 1
    while name in used:
        number += 1
        name = f"{preferred_name}-{number}"
    used.add(name)
    return name


def _slug(text: str) -> str:
    """As much of a text as may stand in a name, with room for a number."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:56].strip("-")
    return slug if NAME_PATTERN.fullmatch(slug) else ""


def _toml_table(name: str, **keys: Any) -> str:
    return "\n".join((f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in keys.items()), ""))


def toml_value(value: Any) -> str:
    """A value in TOML. JSON's strings are TOML's too, except for one character that TOML wants escaped."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(part)}" for key, part in value.items()) + " }"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
