"""Which dialect an uplink speaks."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import Site, UplinkOptions
from gateway.config.capability import reserved_names, service_actions
from gateway.config.dialect.rules import HOME_ASSISTANT, NATIVE, SPARKPLUG
from gateway.config.reading import localized
from gateway.model import GATEWAY_ACTIONS, Clock, Lane, Stamp, uplink_device

from .declarative import build_declarative
from .dialect import Dialect
from .filter import filter_of
from .home_assistant import HomeAssistantDialect
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
    several = options.native.several_streams
    native = NativeDialect(
        site.centre.id, epoch, correct_stamp, options.command_keys, several_streams=several
    )
    if options.dialect == NATIVE:
        return native
    streams = filter_of(options, site.devices.values())
    chosen = streams.devices
    devices = {name: each for name, each in site.devices.items() if chosen is None or name in chosen}
    of_services = service_actions()

    def selects(device: str) -> bool:
        return streams.selects(Lane.TELEMETRY, device)

    others = {*reserved_names(), *map(uplink_device, site.uplinks)}
    if options.dialect == HOME_ASSISTANT:
        return HomeAssistantDialect(
            options.home_assistant,
            site.centre.id,
            localized(site.centre.title)[site.centre.language],
            devices,
            language=site.centre.language,
            actions=frozenset(options.commands),
            selects=selects,
            others=others,
        )
    if options.dialect == SPARKPLUG:
        return SparkplugDialect(
            options.sparkplug,
            site.centre.id,
            devices,
            native,
            client_id=options.client_id or f"linli-{site.centre.id}-sparkplug",
            actions={action: action in of_services | GATEWAY_ACTIONS for action in options.commands},
            others=others,
            selects=selects,
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
        command_keys=options.command_keys,
    )
