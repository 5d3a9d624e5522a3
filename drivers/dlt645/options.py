"""The keys of a bus with meters, and of each meter on it, in a site's file."""

from __future__ import annotations

import re
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.model import LINE_CHECKS, Checks, is_server_url

METER_NUMBER = re.compile("(AA)*([0-9]{2})*")
"""Digits; A stands for any digit, in pairs before the given ones."""
BROADCAST = "9" * 12
"""Sets the time of all meters; none replies to it."""


def _is_url(text: str) -> bool:
    url = urlsplit(text)
    if url.scheme == "serial":
        return url.path.startswith("/")
    return is_server_url(text, "tcp") and bool(url.port)


def _is_meter_number(text: str) -> bool:
    return len(text) == 12 and METER_NUMBER.fullmatch(text) is not None and text != BROADCAST


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: serial:/dev/serial/by-id/… or tcp://host:4001; times in seconds. `settle`: silence after a
    timeout, in which a late reply may arrive."""

    url: str
    baud: int = 2400
    parity: Literal["N", "E", "O"] = "E"
    stop_bits: Literal[1, 2] = 1
    timeout: float = 1.0
    settle: float = 0.5

    CHECKS: ClassVar[Checks] = {**LINE_CHECKS, "url": (_is_url, "dlt645-url")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`meter`: the 12 digits of its communication address (通信地址), usually the number on its label."""

    meter: str

    CHECKS: ClassVar[Checks] = {"meter": (_is_meter_number, "dlt645-meter")}
