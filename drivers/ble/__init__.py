"""Sensors that advertise over Bluetooth Low Energy: BTHome v2, Xiaomi MiBeacon, Ruuvi format 5.

An advertisement is never acknowledged and a radio is easily drowned: BLE alone does not carry a smoke
alarm. It may stand beside a wired one, and its silence is a fault.
"""

from __future__ import annotations

from typing import Any

from gateway.model import Driver, Scan

from .formats import BlePoint, decode, example, show
from .options import Address, Options
from .radio import connect, overhear


def _lines(target: str) -> list[dict[str, Any]]:
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
    parse_example=example,
    format_raw=show,
    scan=Scan(
        candidate_buses=_lines,
        target_of=lambda options: f"ble:{options.adapter}",
        shareable=True,
        overhear=overhear,
        identity_keys=("format", "product", "encrypted"),
    ),
)
