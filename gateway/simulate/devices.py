"""The register maps of the units on the two Modbus wires.

A unit is a mapping of read function (1 coils, 2 discrete inputs, 3 holding registers, 4 input
registers) to the values from address 0 on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .centre import Centre, Door, ElectricalMonitor, GasDetector, SmokeDetector

RegisterTables = Mapping[int, Sequence[int]]

UNITS = {
    "tcp": (1, 2, *range(11, 19), 21, 31),
    "rtu": (1, 2, 3, 4),
    "cu16": (0,),
    "mqtt": (1,),
}
"""The units on each wire. The locker board counts from 0; the fridge thermometer is unit 1."""

RESIDUAL_LIMIT_MA = 300
CABLE_LIMIT_C = 70.0
CURRENT_LIMIT_A = 63.0
GAS_LOW_LEL, GAS_HIGH_LEL = 25, 50


def tcp_tables(centre: Centre, unit: int) -> RegisterTables | None:
    """The tables of a unit on the TCP wire; None when there is no such unit."""
    if door := centre.doors.get(unit):
        return {3: _door_registers(door)}
    if bay := centre.bays.get(unit - 10):
        return {2: (bay.occupied,), 4: (bay.distance, bay.battery)}
    if unit == 31:
        return {1: centre.relays, 2: (centre.call_point, centre.sos)}
    return {3: _gas_registers(centre.gas)} if unit == 21 else None


def rtu_tables(centre: Centre, unit: int) -> RegisterTables | None:
    """The tables of a unit on the RS-485 line; None when there is no such unit."""
    if detector := centre.smoke.get(unit):
        return {3: _smoke_registers(detector)}
    return {3: _electrical_registers(centre.electrical)} if unit == 4 else None


def _door_registers(door: Door) -> list[int]:
    return [*divmod(door.entered, 0x10000), *divmod(door.left, 0x10000), door.blocked]


def _gas_registers(gas: GasDetector) -> list[int]:
    """YA-K300-S; registers 4 and 5 are reserved, 6 and 7 are the thresholds."""
    level = (gas.lel >= GAS_LOW_LEL) + (gas.lel >= GAS_HIGH_LEL)
    return [
        round(gas.lel * 10),
        level > 0,
        level,
        _in_tenths(gas.temperature),
        0,
        0,
        GAS_LOW_LEL,
        GAS_HIGH_LEL,
    ]


def _smoke_registers(detector: SmokeDetector) -> list[int]:
    return [
        detector.status,
        round(detector.obscuration * 100),
        _in_tenths(detector.temperature),
        detector.battery,
    ]


def _electrical_registers(monitor: ElectricalMonitor) -> list[int]:
    alarms = (
        (monitor.residual >= RESIDUAL_LIMIT_MA)
        | (max(monitor.cables) >= CABLE_LIMIT_C) << 1
        | (monitor.current > CURRENT_LIMIT_A) << 2
    )
    cables = [_in_tenths(cable) for cable in monitor.cables]
    return [monitor.residual, *cables, _in_tenths(monitor.current), alarms]


def _in_tenths(value: float) -> int:
    """A signed 16-bit register in tenths."""
    return round(value * 10) & 0xFFFF
