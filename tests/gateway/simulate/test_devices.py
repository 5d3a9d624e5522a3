from __future__ import annotations

import struct

from gateway.simulate.centre import Centre
from gateway.simulate.devices import UNITS, rtu_tables, tcp_tables


def test_every_unit_on_the_list_is_on_the_wire_and_no_other() -> None:
    centre = Centre()
    for wire, units in (("tcp", tcp_tables), ("rtu", rtu_tables)):
        assert tuple(n for n in range(248) if units(centre, n) is not None) == UNITS[wire]


def test_a_door_shows_two_big_endian_totals_and_the_beam() -> None:
    centre = Centre()
    centre.doors[2].entered, centre.doors[2].left = 0x12345, 0xFFFFFFFF
    assert tcp_tables(centre, 2) == {3: [1, 0x2345, 0xFFFF, 0xFFFF, 0]}
    centre.doors[2].blocked = True
    assert tcp_tables(centre, 2) == {3: [1, 0x2345, 0xFFFF, 0xFFFF, 1]}


def test_a_bay_shows_occupancy_distance_and_battery() -> None:
    centre = Centre()
    centre.set_bay(8, occupied=True)
    bay = centre.bays[8]
    assert tcp_tables(centre, 18) == {2: (True,), 4: (bay.distance, bay.battery)}


def test_gas_levels() -> None:
    centre = Centre()
    for lel, alarm in ((24.9, [249, 0, 0]), (25, [250, 1, 1]), (50, [500, 1, 2])):
        centre.force_reading("gas", lel)
        assert (tables := tcp_tables(centre, 21))
        assert list(tables[3][:3]) == alarm
        assert list(tables[3][4:]) == [0, 0, 25, 50]


def test_smoke_and_a_frost() -> None:
    centre = Centre()
    detector = centre.smoke[3]
    detector.status, detector.obscuration, detector.temperature = 2, 0.07, -1.5
    assert rtu_tables(centre, 3) == {3: [2, 7, 0xFFF1, 2950]}
    assert struct.unpack(">h", struct.pack(">H", 0xFFF1)) == (-15,)


def test_electrical_alarm_bits() -> None:
    centre = Centre()
    monitor = centre.electrical
    for residual, cable, current, bits in (
        (299, 69.9, 63, 0),
        (300, 69.9, 63, 1),
        (40, 70, 63, 2),
        (40, 30, 63.1, 4),
        (400, 80, 70, 7),
    ):
        monitor.residual, monitor.cables, monitor.current = residual, [30, cable, -1], current
        assert rtu_tables(centre, 4) == {
            3: [residual, 300, round(cable * 10), 0xFFF6, round(current * 10), bits]
        }
