"""The declarative dialect: a platform's messages, as one TOML file describes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.config.dialect.identity import identity_of
from gateway.config.dialect.rules import DialectFile
from gateway.config.options import Identity
from gateway.model import GATEWAY_DEVICE, Device, Stamp
from gateway.wire.secret import read_secret

from .compile import Compiler
from .dialect import Audience, DeclarativeDialect
from .facts import DeviceFacts

__all__ = ["DeclarativeDialect", "build_declarative"]


def build_declarative(
    file: DialectFile,
    identity: Identity,
    devices: Mapping[str, Device],
    *,
    site: str,
    timezone: str,
    language: str,
    epoch: str,
    correct_stamp: Callable[[Stamp], Stamp],
    now: Callable[[], int],
    first_number: int | None = None,
    command_keys: Mapping[str, str] | None = None,
) -> DeclarativeDialect:
    """The dialect of a file at a site. `now` is Unix time in milliseconds; `command_keys` are those of the
    uplink."""
    keys, secret_file = identity_of(file, identity, site)
    secret = _secret_in(secret_file)
    gateway = DeviceFacts(GATEWAY_DEVICE, GATEWAY_DEVICE, keys, file.names, secret=secret)
    facts = {}
    for name, device in devices.items():
        keys, secret_file = identity_of(file, identity, site, name, device.kind)
        facts[name] = DeviceFacts(
            name,
            device.kind,
            keys,
            file.names,
            title=device.title.get(language, name),
            room=device.room.get(language, ""),
            secret=_secret_in(secret_file),
        )
    compiler = Compiler(gateway, site, epoch, ZoneInfo(timezone), file.maps, file.signs, correct_stamp)
    return DeclarativeDialect(
        file, gateway, facts, compiler, now, first_number, Audience(site, command_keys or {})
    )


def _secret_in(file: Path | None) -> Callable[[], str]:
    """Read each time, so that a new secret needs no restart."""
    return functools.partial(read_secret, file) if file else str
