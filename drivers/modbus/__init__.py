"""Modbus TCP, RTU and RTU over TCP (Modbus Application Protocol V1.1b3), through pymodbus."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gateway.model import Driver, Scan

from .bus import IDENTITY_OBJECTS, connect
from .options import SLAVE_UNITS, TCP_PORT, Address, Options, check_device
from .registers import RegisterPoint, WriteAction, decode, format_registers, parse_example

BAUD_RATES = (9600, 19200, 4800, 115200, 38400, 57600, 2400)
"""What devices are set to, most common first."""


def _candidate_buses(target: str) -> list[dict[str, Any]]:
    if target.startswith("/"):
        return [{"url": f"rtu:{target}", "baud": baud, "parity": parity}
                for baud in BAUD_RATES for parity in ("N", "E")]  # fmt: skip
    if not target.startswith("tcp://"):
        return []
    bare = [] if target.endswith(f":{TCP_PORT}") else [{"url": f"rtu+{target}"}]
    return [{"url": target}, *bare]


def _target_of(options: Options) -> str:
    url = urlsplit(options.url)
    return url.path if url.scheme == "rtu" else f"tcp://{url.hostname}:{url.port or TCP_PORT}"


def _candidate_addresses(options: Options) -> list[dict[str, Any]]:
    """Those of slaves, and 255, at which a device on TCP is itself the unit."""
    direct = [255] if options.url.startswith("tcp:") else []
    return [{"unit": unit} for unit in (*SLAVE_UNITS, *direct)]


DRIVER = Driver(
    options=Options,
    address=Address,
    point=RegisterPoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_registers,
    action=WriteAction,
    check_device=check_device,
    # First, because the frames of other protocols may put a slave out of step: libmodbus ignores the
    # silence between frames.
    scan=Scan(
        priority=0,
        candidate_buses=_candidate_buses,
        target_of=_target_of,
        candidate_addresses=_candidate_addresses,
        identity_keys=IDENTITY_OBJECTS,
        tcp_port=TCP_PORT,
    ),
)
