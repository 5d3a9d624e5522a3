"""Which dialect an uplink speaks."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import Site, UplinkOptions
from gateway.config.capability import service_actions
from gateway.config.dialect.rules import NATIVE, SPARKPLUG
from gateway.model import Clock, Lane, Stamp

from .declarative import build_declarative
from .dialect import Dialect
from .filter import filter_of
from .native import NativeDialect
from .sparkplug import SparkplugDialect


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
    native = NativeDialect(site.centre.id, epoch, correct_stamp, options.command_keys)
    if options.dialect == NATIVE:
        return native
    streams = filter_of(options, site.devices.values())
    chosen = streams.devices
    devices = {name: each for name, each in site.devices.items() if chosen is None or name in chosen}
    of_services = service_actions()
    if options.dialect == SPARKPLUG:
        return SparkplugDialect(
            options.sparkplug,
            site.centre.id,
            devices,
            native,
            client_id=options.client_id or f"linli-{site.centre.id}-sparkplug",
            actions={action: action in of_services for action in options.commands},
            selects=lambda device: streams.selects(Lane.TELEMETRY, device),
            correct_stamp=correct_stamp,
            now=lambda: clock.now().wall_ms,
        )
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
