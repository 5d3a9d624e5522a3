"""Electricity meters that speak DL/T 645-2007, on a serial line or behind a TCP server of one.

A profile names data items as the standard does: their identification (`di`) and format, such as 02010100
and XXX.X for the voltage of phase A.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gateway.model import ConfigError, Device, Driver, Scan

from .bus import connect
from .frames import WILDCARD
from .options import Address, Options
from .points import MeterPoint, decode, format_raw, parse_example

BAUD_RATES = (2400, 9600, 4800, 1200)
"""What meters are set to, most common first."""
REPLY_S = 0.7
"""A meter replies within 500 ms (7.2.2 of the standard)."""


def _check_device(device: Device, others: tuple[Device, ...], options: Options) -> None:
    if "A" in device.address.meter:
        raise ConfigError("dlt645-wildcard", device=device.name)


def _candidate_buses(target: str) -> list[dict[str, Any]]:
    if target.startswith("/"):
        return [{"url": f"serial:{target}", "baud": baud} for baud in BAUD_RATES]
    return [{"url": target}] if target.startswith("tcp://") else []


def _target_of(options: Options) -> str:
    url = urlsplit(options.url)
    return url.path if url.scheme == "serial" else f"tcp://{url.hostname}:{url.port}"


def _candidate_addresses(options: Options) -> list[dict[str, Any]]:
    """Every meter on the line, then those whose number ends with two given digits: where several meters
    reply to the first at once, nothing can be read."""
    every = WILDCARD[2:]
    return [{"meter": WILDCARD}, *({"meter": f"{every}{digits:02}"} for digits in range(100))]


DRIVER = Driver(
    options=Options,
    address=Address,
    point=MeterPoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_raw,
    check_device=_check_device,
    scan=Scan(
        # After the protocols whose devices answer at once.
        priority=2,
        candidate_buses=_candidate_buses,
        target_of=_target_of,
        candidate_addresses=_candidate_addresses,
        actual_address=lambda identity: {"meter": identity["meter"]},
        reply_s=REPLY_S,
        identity_keys=("meter",),
    ),
)
