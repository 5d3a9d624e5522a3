"""The register maps: what each unit on the two Modbus wires shows of the centre.

A unit is a mapping of read function (1 coils, 2 discrete inputs, 3 holding registers, 4 input
registers) to the values from address 0 on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .centre import Centre, Door, Electrical, Gas, Smoke

Tables = Mapping[int, Sequence[int]]

UNITS = {
    "tcp": (1, 2, *range(11, 19), 21, 31),
    "rtu": (1, 2, 3, 4),
    "cu16": (0,),
    "mqtt": (1,),
}
"""The units on each wire. The locker board counts from 0; the fridge thermometer is unit 1."""

RESIDUAL_LIMIT = 300
CABLE_LIMIT = 70.0
CURRENT_LIMIT = 63.0
GAS_LOW, GAS_HIGH = 25, 50


def tcp(centre: Centre, unit: int) -> Tables | None:
    """What unit `unit` of the TCP wire shows; None when there is no such unit."""
    if door := centre.doors.get(unit):
        return {3: _door(door)}
    if bay := centre.bays.get(unit - 10):
        return {2: (bay.occupied,), 4: (bay.distance, bay.battery)}
    if unit == 31:
        return {1: centre.relays, 2: (centre.call_point, centre.sos)}
    return {3: _gas(centre.gas)} if unit == 21 else None


def rtu(centre: Centre, unit: int) -> Tables | None:
    """What unit `unit` of the RS-485 line shows; None when there is no such unit."""
    if detector := centre.smoke.get(unit):
        return {3: _smoke(detector)}
    return {3: _electrical(centre.electrical)} if unit == 4 else None


def _door(door: Door) -> list[int]:
    return [*divmod(door.entered, 0x10000), *divmod(door.left, 0x10000), door.blocked]


def _gas(gas: Gas) -> list[int]:
    """YA-K300-S; 4 and 5 are reserved, 6 and 7 the thresholds."""
    level = (gas.lel >= GAS_LOW) + (gas.lel >= GAS_HIGH)
    return [
        round(gas.lel * 10),
        level > 0,
        level,
        _tenths(gas.temperature),
        0,
        0,
        GAS_LOW,
        GAS_HIGH,
    ]


def _smoke(detector: Smoke) -> list[int]:
    return [
        detector.status,
        round(detector.obscuration * 100),
        _tenths(detector.temperature),
        detector.battery,
    ]


def _electrical(monitor: Electrical) -> list[int]:
    alarms = (
        (monitor.residual >= RESIDUAL_LIMIT)
        | (max(monitor.cables) >= CABLE_LIMIT) << 1
        | (monitor.current > CURRENT_LIMIT) << 2
    )
    cables = [_tenths(cable) for cable in monitor.cables]
    return [monitor.residual, *cables, _tenths(monitor.current), alarms]


def _tenths(value: float) -> int:
    """A signed 16-bit register in tenths."""
    return round(value * 10) & 0xFFFF
