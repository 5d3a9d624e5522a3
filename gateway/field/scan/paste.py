"""What a scan found, as tables to paste into a site's file. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from gateway.config import NAME_PATTERN, reserved_names
from gateway.model import Value
from gateway.words import LANGUAGES, translate

from .fit import Fit

SHOWN = 6
"""Models and values named in a comment, at most."""
LONGEST = 60
"""Letters of a name or value in a comment."""
QUIET = 3600.0
"""Seconds of silence to expect of a device that speaks when it likes, until a person knows better."""


class Met(msgspec.Struct, kw_only=True):
    """Somebody whom a scan met."""

    driver: str
    place: str
    """The target it was met at: a port, an address, a broker."""
    address: dict[str, Any]
    says: dict[str, str]
    bus: str = ""
    """The site's line it is on; without one, `line` is its table."""
    line: dict[str, Any]
    needs: dict[str, Any] = {}
    device: str = ""
    """The site's device that it is."""
    speaks: bool = False
    """Whether it speaks by itself."""
    fits: list[Fit] = []
    heard: dict[str, Value] = {}
    """What a message said, by path."""

    @property
    def label(self) -> str:
        return ", ".join(f"{key} = {quoted(value)}" for key, value in self.address.items())


def paste(met: Sequence[Met], taken: Collection[str], language: str) -> str:
    """Tables for everybody who is not configured; `taken` are the names the site's file has."""
    used = {*taken, *reserved_names()}
    lines: dict[str, tuple[str, list[str]]] = {}
    for one in met:
        if one.device:
            continue
        key = one.bus or f"{one.driver} {one.line}"
        if key not in lines:
            name = one.bus or _free(one.driver.replace("_", "-"), used)
            lines[key] = name, [] if one.bus else [_table(f"bus.{name}", driver=one.driver, **one.line)]
        name, tables = lines[key]
        tables.append(_device(one, name, used, language))
    return "\n".join(table for _, tables in lines.values() for table in tables)


def _device(met: Met, bus: str, used: set[str], language: str) -> str:
    comment = f"# {describe(met, language)}"
    if not met.fits:
        return f"{comment}\n"
    best = met.fits[0].profile
    kind = best.partition("/")[0]
    value = str(next(iter(met.address.values())))
    called = met.says.get("name") or value
    name = _free(_slug(f"{kind}-{_slug(called) or _slug(value)}"), used)
    title = {language: f"{translate(language, f'kind.{kind}')} {called}" for language in LANGUAGES}
    every = {"every": QUIET} if met.speaks else {}
    keys = {"profile": best, "title": title, "bus": bus, **met.address, **met.needs, **every}
    return f"{comment}\n{_table(f'device.{name}', **keys)}"


def describe(met: Met, language: str) -> str:
    """One line on who was met, whatever strangers put into their words."""
    return "".join(letter if letter.isprintable() else " " for letter in _describe(met, language))


def _describe(met: Met, language: str) -> str:
    says = _list(met.says)
    who = f"{met.label} ({says})" if says else met.label
    if met.device:
        return translate(language, "scan.configured", who=who, device=met.device)
    if not met.fits:
        needs = ", ".join(met.needs)
        key = "scan.needs" if needs else "scan.fits-none"
        return translate(language, key, who=who, heard=_list(met.heard) or "–", needs=needs)
    first, *others = met.fits
    facts = {"who": who, "profile": first.profile, "values": _list(first.values) or "–"}
    also = ", ".join(fit.profile for fit in others[:SHOWN])
    if len(others) > SHOWN:
        also += " …"
    return translate(language, "scan.fits-several" if others else "scan.fits-one", also=also, **facts)


def _list(values: Mapping[str, Value]) -> str:
    shown = [f"{_short(name)} = {_short(quoted(value))}" for name, value in list(values.items())[:SHOWN]]
    return ", ".join(shown) + (" …" if len(values) > SHOWN else "")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _free(wanted: str, used: set[str]) -> str:
    name, number = wanted, 1
    while name in used:
        number += 1
        name = f"{wanted}-{number}"
    used.add(name)
    return name


def _slug(text: str) -> str:
    """As much of it as may stand in a name, with room for a number."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:56].strip("-")
    return slug if NAME_PATTERN.fullmatch(slug) else ""


def _table(name: str, **keys: Any) -> str:
    return "\n".join((f"[{name}]", *(f"{key} = {quoted(value)}" for key, value in keys.items()), ""))


def quoted(value: Any) -> str:
    """A value as TOML has it. JSON's strings are TOML's, but for one character that TOML wants escaped."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {quoted(part)}" for key, part in value.items()) + " }"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
