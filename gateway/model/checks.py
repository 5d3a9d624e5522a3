"""What a file's keys must satisfy beyond their types."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

Checks = Mapping[str, tuple[Callable[[Any], bool], str]]
"""A key of a file to what its type cannot say: a predicate, and the key of the sentence for a value that
fails it. A struct that is read from a file may carry one as `CHECKS`, whose predicates receive one value,
and one as `STRUCT_CHECKS`, whose predicates receive the whole struct. Those of the structs that it extends
hold as well."""

KNOWN_BAUD_RATES = (
    300, 600, 1200, 2400, 4800, 9600, 14_400, 19_200, 28_800, 38_400, 57_600, 76_800, 115_200,
    128_000, 230_400, 250_000, 256_000, 460_800, 500_000, 921_600, 1_000_000,
)  # fmt: skip
"""What serial devices offer, in bits per second."""

LINE_CHECKS: Checks = {
    "baud": (lambda rate: rate is None or rate in KNOWN_BAUD_RATES, "baud-rate"),
    "timeout": (lambda seconds: 0.02 <= seconds <= 60, "timeout-range"),
    "settle": (lambda seconds: seconds is None or 0 <= seconds <= 60, "settle-range"),
}
"""Of a line on which one request at a time is sent. Milliseconds, as some tools have them, are refused."""

MAX_DELAY_S = 86_400.0


def is_delay_s(seconds: float) -> bool:
    """Whether it is none or up to a day."""
    return 0 <= seconds <= MAX_DELAY_S


def has_user(login: Any) -> bool:
    """Whether a struct with a `password_file` has a `username`: without one the password is not sent."""
    return bool(login.username) or login.password_file is None


def is_server_url(text: str, *schemes: str) -> bool:
    """Whether it is the URL of a host, and perhaps a port, without anything else, which nobody would heed:
    a login, a path or a query."""
    url = urlsplit(text)
    nothing_else = not (url.username or url.password or url.query or url.fragment) and url.path in ("", "/")
    return url.scheme in schemes and is_host(url.hostname) and url.port != 0 and nothing_else


_HOST_NAME = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?")


def is_host(text: str | None) -> bool:
    """Whether it is an IP address, or can be a host name: the last part of a name is no number (RFC 1123,
    2.1), so that `192.168.1.300` is neither."""
    try:
        return bool(ipaddress.ip_address((text or "").partition("%")[0]))
    except ValueError:
        name = text or ""
        return (
            _HOST_NAME.fullmatch(name) is not None and not name.rstrip(".").rpartition(".")[2].isdecimal()
        )
