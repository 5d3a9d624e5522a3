"""Sensors that advertise over Bluetooth Low Energy: BTHome v2, Xiaomi MiBeacon, Ruuvi format 5.

An advertisement is never acknowledged and radio is easily jammed: BLE alone is not sufficient for a smoke
alarm. It may supplement a wired one, and a silent device is a fault.
"""

from __future__ import annotations

from typing import Any

from gateway.model import Driver, Scan

from .formats import BlePoint, decode, format_raw, parse_example
from .options import Address, Options
from .radio import connect, overhear_devices


def _candidate_buses(target: str) -> list[dict[str, Any]]:
    if not target.startswith("ble:"):
        return []
    adapter = target.removeprefix("ble:")
    return [{"adapter": adapter} if adapter else {}]


DRIVER = Driver(
    options=Options,
    address=Address,
    point=BlePoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_raw,
    silence_s=3600,
    scan=Scan(
        candidate_buses=_candidate_buses,
        target_of=lambda options: f"ble:{options.adapter}",
        shareable=True,
        overhear=overhear_devices,
        identity_keys=("format", "product", "encrypted"),
    ),
)
