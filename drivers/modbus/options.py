"""The keys of a Modbus bus, and of each device on it, in a site's file."""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.model import LINE_CHECKS, Checks, ConfigError, Device, is_server_url

SLAVE_UNITS = range(1, 248)
"""Of devices on a serial line."""
TCP_PORT = 502
"""The port assigned to Modbus TCP."""


def _is_url(text: str) -> bool:
    url = urlsplit(text)
    if url.scheme == "rtu":
        return bool(url.path)
    return is_server_url(text, "tcp", "rtu+tcp")


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: tcp://host:502, rtu+tcp://host:4001 or rtu:/dev/serial/by-id/…; times in seconds.
    `baud` is also that of a line behind a converter."""

    url: str
    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout: float = 0.5
    settle: float | None = None
    """Silence after a timeout, so that a late reply disturbs no other. By default another `timeout` for a
    unit that has replied the time before, else as long as the latest reply on that line needed; nothing
    on TCP, whose transactions carry a number."""

    CHECKS: ClassVar[Checks] = {**LINE_CHECKS, "url": (_is_url, "modbus-url")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The unit (slave) id on its line, or behind its gateway."""

    unit: int

    CHECKS: ClassVar[Checks] = {"unit": (lambda unit: 0 <= unit <= 255, "modbus-unit")}


def check_device(device: Device, other_devices: tuple[Device, ...], options: Options) -> None:
    """Raises `ConfigError` for a unit that is none on a serial line (MODBUS over Serial Line V1.02, 2.2): 0
    speaks to all, and the highest are reserved. On TCP 0 and 255 stand for the server itself."""
    unit: int = device.address.unit
    if urlsplit(options.url).scheme != "tcp" and unit not in SLAVE_UNITS:
        raise ConfigError("modbus-unit-serial", unit=unit)
