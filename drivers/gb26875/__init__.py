"""Fire user-information transmission devices (用户信息传输装置) by GB/T 26875.3-2011, over TCP or serial.

The gateway stands where the monitoring centre stands: transmission devices connect to it and report.
It is an auxiliary, uncertified listener and replaces neither the centre nor the device. The standard
also allows UDP, which is not served.

One device of the gateway is one transmission device, not one component: a panel has thousands of
components, and a fire of one that is not configured must be reported too. Each component that holds a
state is a place of its points (`Driver.places`), so that each is an alarm of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from gateway.model import Device, Driver, FailureKind, OverheardDevice, Point, ReadFailed, Scan, Value
from gateway.wire.serialport import open_port

from .listener import ACTIONS, FireListener
from .options import Address, Options
from .packets import START, split_packets
from .panel import Field, Panel, PanelReading


class FirePoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """One state over all components; `where` is the newest fire's component and its description."""

    field: Field | Literal["where"]


def decode(points: Mapping[str, FirePoint], raw: PanelReading) -> dict[str, Value]:
    """A boolean a point, and the place of the newest fire ("" without one)."""
    return {
        name: raw.fire_location if point.field == "where" else point.field in raw.active_states
        for name, point in points.items()
    }


def places(points: Mapping[str, FirePoint], raw: PanelReading) -> dict[str, dict[str, str]]:
    """The components, systems and the device itself that hold each state."""
    return {name: raw.places[point.field] for name, point in points.items() if point.field != "where"}


def parse_example(fields: Mapping[str, Any]) -> PanelReading:
    """A worked example: `frames = ["40 40 …"]`, received one after the other after a start."""
    panel, reading = Panel(), None
    for text in fields["frames"]:
        packets, rest = split_packets(bytes.fromhex(text))
        if rest or len(packets) != 1 or not packets[0].sound:
            raise ValueError("frames")
        reading = panel.apply_packet(packets[0])
    if reading is None:
        raise ValueError("frames")
    return reading


def format_packet(raw: PanelReading) -> str:
    return raw.packet.hex(" ").upper()


@contextlib.asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[FireListener]:
    """Serve, or open the line."""
    listener = FireListener(options, devices)
    async with listener.open_serial() if options.listen.startswith("/") else listener.open_server():
        yield listener


async def _overhear(options: Options) -> AsyncIterator[OverheardDevice | ReadFailed]:
    """Devices on a serial line. Nothing is sent: answers are the task of the monitoring centre."""
    async with open_port(options.listen, options.baud) as port:
        rest = b""
        while True:
            data = rest + await port.read_available()
            packets, rest = split_packets(data)
            sound = [packet for packet in packets if packet.sound]
            for packet in sound:
                yield OverheardDevice(
                    address={"source": packet.source.hex(":").upper()}, raw=Panel().apply_packet(packet)
                )
            if not sound and len(rest) < len(START):
                yield ReadFailed("garbage", FailureKind.DAMAGED, bytes=len(data))


def _candidate_buses(target: str) -> list[dict[str, Any]]:
    return [{"listen": target}] if target.startswith("/") else []


DRIVER = Driver(
    options=Options,
    address=Address,
    point=FirePoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_packet,
    silence_s=120,
    actions=ACTIONS,
    places=places,
    state_to_save=lambda raw: raw.saved_state,
    scan=Scan(
        candidate_buses=_candidate_buses,
        target_of=lambda options: options.listen,
        overhear=_overhear,
        overhear_s=3.0,
    ),
)
