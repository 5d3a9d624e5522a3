"""What a platform calls the gateway and its devices, as the site file says."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.config.options import Identity
from gateway.model import GATEWAY_DEVICE, Device

from .rules import SECRET, DialectFile
from .template import Placeholder, Text

SECRET_FILE = "secret_file"  # noqa: S105 - the name of a key

Mistake = tuple[tuple[str, ...], str, dict[str, object]]
"""Path within `identity`, the key of its sentence, and its facts."""


def identity_of(
    dialect: DialectFile, identity: Identity, site: str, device: str = GATEWAY_DEVICE, kind: str = ""
) -> tuple[dict[str, str], Path | None]:
    """The keys of the gateway or a device, and the file with its secret. What the site does not give has
    the default of the dialect; what neither gives is left out."""
    if device == GATEWAY_DEVICE:
        given, wanted = identity.gateway, dialect.gateway_keys
    else:
        given, wanted = (
            {**identity.kind.get(kind, {}), **identity.device.get(device, {})},
            dialect.device_keys,
        )
    facts = {"site": site, "device.name": device, "device.kind": kind}
    keys = {
        key: given.get(key) or _filled(default, facts) for key, default in wanted.items() if key != SECRET
    }
    file = given.get(SECRET_FILE)
    return {key: text for key, text in keys.items() if text}, Path(file) if file else None


def identity_mistakes(
    dialect: DialectFile, identity: Identity, devices: Mapping[str, Device]
) -> Iterator[Mistake]:
    """Keys that are missing or unknown, and devices that the site does not have."""
    yield from _unknown_keys(("gateway",), identity.gateway, dialect.gateway_keys)
    yield from _missing_keys(("gateway",), dialect.gateway_keys, identity.gateway)
    kinds = {device.kind for device in devices.values()}
    for kind, keys in identity.kind.items():
        yield from _unknown_keys(("kind", kind), keys, dialect.device_keys)
        if kind not in kinds:
            yield ("kind", kind), "identity-kind", {"kind": kind, "known": ", ".join(sorted(kinds))}
    for name, keys in identity.device.items():
        yield from _unknown_keys(("device", name), keys, dialect.device_keys)
        if name not in devices:
            near = difflib.get_close_matches(name, devices, 3) or sorted(devices)
            yield ("device", name), "identity-device", {"device": name, "known": ", ".join(near)}
    for name, device in devices.items():
        given = {**identity.kind.get(device.kind, {}), **identity.device.get(name, {})}
        yield from _missing_keys(("device", name), dialect.device_keys, given)


def _unknown_keys(
    where: tuple[str, ...], given: Mapping[str, str], wanted: Mapping[str, Text]
) -> Iterator[Mistake]:
    known = [SECRET_FILE if key == SECRET else key for key in wanted]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1) or known
            yield (
                (*where, key),
                "key-unknown" if known else "key-none-of",
                {"known": ", ".join(near) or "–"},
            )


def _missing_keys(
    where: tuple[str, ...], wanted: Mapping[str, Text], given: Mapping[str, str]
) -> Iterator[Mistake]:
    for key, default in wanted.items():
        name = SECRET_FILE if key == SECRET else key
        if not default and not given.get(name):
            yield where, "identity-missing", {"key": name}


def _filled(default: Text, facts: Mapping[str, str]) -> str:
    return "".join(facts[part.name] if isinstance(part, Placeholder) else part for part in default)
