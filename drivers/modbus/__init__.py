"""Modbus TCP, RTU and RTU over TCP (Modbus Application Protocol V1.1b3), through pymodbus."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gateway.model import Driver, Scan

from .bus import IDENTITY, connect
from .options import TCP_PORT, Address, Options
from .registers import RegisterPoint, WriteAction, decode, example, show

BAUDS = (9600, 19200, 4800, 115200, 38400, 57600, 2400)
"""What devices are set to, most common first."""


def _lines(target: str) -> list[dict[str, Any]]:
    if target.startswith("/"):
        return [{"url": f"rtu:{target}", "baud": baud, "parity": parity}
                for baud in BAUDS for parity in ("N", "E")]  # fmt: skip
    if not target.startswith("tcp://"):
        return []
    bare = [] if target.endswith(f":{TCP_PORT}") else [{"url": f"rtu+{target}"}]
    return [{"url": target}, *bare]


def _place(options: Options) -> str:
    url = urlsplit(options.url)
    return url.path if url.scheme == "rtu" else f"tcp://{url.hostname}:{url.port or TCP_PORT}"


def _addresses(options: Options) -> list[dict[str, Any]]:
    """Those of slaves (V1.02, 2.2), and 255, by which a device on TCP means itself."""
    direct = [255] if options.url.startswith("tcp:") else []
    return [{"unit": unit} for unit in (*range(1, 248), *direct)]


DRIVER = Driver(
    options=Options,
    address=Address,
    point=RegisterPoint,
    connect=connect,
    decode=decode,
    parse_example=example,
    format_raw=show,
    action=WriteAction,
    # First, for a slave may fall out of step by the frames of other protocols: libmodbus has no sense of
    # the silence between frames.
    scan=Scan(
        priority=0,
        candidate_buses=_lines,
        target_of=_place,
        candidate_addresses=_addresses,
        identity_keys=IDENTITY,
        tcp_port=TCP_PORT,
    ),
)
