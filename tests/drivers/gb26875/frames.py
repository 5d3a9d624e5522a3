"""Packets of transmission devices, as they are sent."""

from __future__ import annotations

from drivers.gb26875 import Address, FirePoint
from drivers.gb26875.packets import SEND, FirePacket
from drivers.gb26875.panel import STATUS_BITS, Field
from gateway.model import AlarmSpec, Device, Hazard

PUBLISHED = bytes.fromhex(
    "4040 0000 0101 180D11160A14 000000000000 060504030201 3000 02 02 01 01 03 00 D9000600 0200"
    "A3C1C7F8A3B1B2E3DFC8B2B8D7DFC0C8 000000000000000000000000000000 301213010814 68 2323"
)
CONFIRMED = bytes.fromhex("4040 0000 0101 180D11160A14 060504030201 000000000000 0000 03 84 2323")
DENIED = bytes.fromhex("4040 0000 0101 180D11160A14 060504030201 000000000000 0000 06 87 2323")
TIME = bytes.fromhex("301213010814")
A, B, STRANGER = bytes(6), bytes.fromhex("060504030201"), bytes.fromhex("FFFFFFFFFFFF")
NAMES: tuple[Field, ...] = (*STATUS_BITS, "manual_alarm", "line_fault", "manual_mode", "reset")
FIRE, DISABLED = 1 << 1, 1 << 3


def packet(data: bytes, source: bytes = A, command: int = SEND, sequence: int = 0x1234) -> FirePacket:
    return FirePacket(
        sequence=sequence,
        version=b"\1\1",
        time=TIME,
        source=source,
        destination=bytes.fromhex("AABBCCDDEEFF"),
        command=command,
        data=data,
    )


def component(status: int, number: int = 1, text: str = "", system: int = 1, kind: int = 40) -> bytes:
    return (
        bytes((system, 1, kind))
        + number.to_bytes(4, "little")
        + status.to_bytes(2, "little")
        + text.encode("gb18030").ljust(31, b"\0")
        + TIME
    )


def components(*parts: bytes) -> bytes:
    return bytes((2, len(parts))) + b"".join(parts)


def operation(act: int, system: int = 1) -> bytes:
    return bytes((4, 1, system, 1, act, 7)) + TIME


def device(name: str = "panel", source: bytes = A) -> Device:
    points = {
        field: FirePoint(field=field, alarm=AlarmSpec(hazard=Hazard.FIRE) if field == "fire" else None)
        for field in NAMES
    }
    return Device(
        name=name,
        title={},
        kind="fire-panel",
        profile="",
        bus="fire",
        address=Address(source=source.hex(":").upper()),
        points={**points, "fire_where": FirePoint(field="where")},
        every=60.0,
    )
