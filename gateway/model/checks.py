"""What a file's keys must satisfy beyond their types."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

Checks = Mapping[str, tuple[Callable[[Any], bool], str]]
"""A key of a file to what its type cannot say: a predicate, and the key of the sentence for a value that
fails it. A struct that is read from a file may carry one as `CHECKS`, whose predicates receive one value,
and one as `STRUCT_CHECKS`, whose predicates receive the whole struct. Those of the structs that it extends
hold as well."""

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
