"""Which streams of the journal an uplink sends."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from gateway.config.options import UplinkOptions
from gateway.journal import StreamFilter
from gateway.model import Device, Lane


def filter_of(options: UplinkOptions, devices: Iterable[Device]) -> StreamFilter:
    """The lanes and devices that its options name; all of them where they name none."""
    lanes = frozenset(lane for lane in Lane if not options.lanes or lane.name.lower() in options.lanes)
    if not options.devices and not options.kinds:
        return StreamFilter(lanes)
    devices = list(devices)
    names = [device.name for device in devices]
    chosen = {name for pattern in options.devices for name in fnmatch.filter(names, pattern)}
    # The gateway itself has no kind: it is named.
    chosen |= {name for name in options.devices if name not in names and not _is_pattern(name)}
    chosen |= {device.name for device in devices if device.kind in options.kinds}
    return StreamFilter(lanes, frozenset(chosen))


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")
