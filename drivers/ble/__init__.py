"""Sensors that advertise over Bluetooth Low Energy: BTHome v2, Xiaomi MiBeacon, Ruuvi format 5.

An advertisement is never acknowledged and radio is easily jammed: BLE alone is not sufficient for a smoke
alarm. It may supplement a wired one, and a silent device is a fault.
"""

from __future__ import annotations

from typing import Any

from gateway.model import Driver, Scan

from .formats import BlePoint, decode, example, show
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
    example=example,
    show=show,
    scan=Scan(
        lines=_candidate_buses,
        place=lambda options: f"ble:{options.adapter}",
        shared=True,
        overhear=overhear_devices,
        says=("format", "product", "encrypted"),
    ),
)
