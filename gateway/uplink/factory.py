"""Which dialect an uplink speaks."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import Site, UplinkOptions
from gateway.config.dialect.rules import NATIVE
from gateway.model import Clock, Stamp

from .declarative import build_declarative
from .dialect import Dialect
from .filter import filter_of
from .native import NativeDialect


def dialect_inputs(options: UplinkOptions, site: Site) -> object:
    """What else of a site the dialect of an uplink is made of: when that changes, it is made anew. A file
    names devices."""
    return (site.dialects.get(options.dialect), site.devices) if options.dialect != NATIVE else None


def build_dialect(
    options: UplinkOptions,
    site: Site,
    epoch: str,
    clock: Clock,
    correct_stamp: Callable[[Stamp], Stamp] = lambda at: at,
) -> Dialect:
    """The dialect of an uplink of a site. `epoch`: of the journal; `correct_stamp`: corrects a stamp from
    a clock that was not set."""
    if options.dialect == NATIVE:
        return NativeDialect(site.centre.id, epoch, correct_stamp, options.command_keys)
    chosen = filter_of(options, site.devices.values()).devices
    devices = {name: each for name, each in site.devices.items() if chosen is None or name in chosen}
    return build_declarative(
        site.dialects[options.dialect],
        options.identity,
        devices,
        site=site.centre.id,
        timezone=site.centre.timezone,
        language=site.centre.language,
        epoch=epoch,
        correct_stamp=correct_stamp,
        now=lambda: clock.now().wall_ms,
    )
