"""The keys of a bus with transmission devices, and of each of them, in a site's file."""

from __future__ import annotations

import re
from typing import ClassVar

import msgspec

from gateway.model import LINE_CHECKS, Checks, is_host

SOURCE = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")
HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[^:/\s]+):(?P<port>\d{1,5})")


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`listen` is `host:port` of a TCP server, or the path of a serial port (8N1) and its `baud`.

    A connection without a valid packet for `idle` seconds is closed, a new one after a minute at most. Of
    more than `connections`, one without such a packet is closed first. `set_clock` sets a device's clock
    at its first packet on a connection, and `ask` requests its states. The protocol has no
    authentication: listen on the fire panel's own network only.
    """

    listen: str
    baud: int = 9600
    connections: int = 64
    idle: float = 600.0
    set_clock: bool = False
    ask: bool = True

    CHECKS: ClassVar[Checks] = {
        "listen": (lambda listen: listen.startswith("/") or _is_address(listen), "gb26875-listen"),
        "baud": LINE_CHECKS["baud"],
        "connections": (lambda count: count > 0, "positive"),
        "idle": (lambda seconds: seconds > 0, "positive"),
    }


def _is_address(listen: str) -> bool:
    found = HOST_PORT.fullmatch(listen)
    return found is not None and is_host(found["host"].strip("[]")) and int(found["port"]) <= 0xFFFF


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The transmission device's source address, its six bytes in the order in which they are sent."""

    source: str

    CHECKS: ClassVar[Checks] = {
        "source": (lambda source: SOURCE.fullmatch(source) is not None, "gb26875-source")
    }
