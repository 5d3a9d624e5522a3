"""The connections that clients have opened to this process: bounded, so that no client shuts out another.

A new connection is not refused. Where there are too many, the least promising one is closed for it.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import logging
import resource
from collections import Counter
from collections.abc import MutableMapping, Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from .log import log_event

ACCEPT_BACKLOG = 32
"""Connections that asyncio accepts before one of them is added."""
RESERVED_DESCRIPTORS = 96
"""File descriptors left to the rest of the process; where the limit is low, half of them."""
MIN_CONNECTIONS = 8
"""Together, even then."""
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Connection:
    def __init__(self, server: Connections, number: int, address: str) -> None:
        self.server = server
        self.number = number
        self.address = address
        self.is_trusted = False


class Connections:
    """Those of one server. A trusted one has shown a password, or what else its server demands."""

    _open: ClassVar[MutableMapping[asyncio.BaseTransport, _Connection]] = WeakKeyDictionary()
    """Those of all servers, oldest first."""
    _numbers: ClassVar = itertools.count()

    def __init__(self, most: int, most_per_address: int) -> None:
        """`most`: in all; `most_per_address`: that are not trusted, of one address."""
        self._most = most
        self._most_per_address = most_per_address

    def add(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected. Closes one connection if there are too many now."""
        peer = transport.get_extra_info("peername")  # Empty for a Unix socket.
        new = _Connection(self, next(self._numbers), network_of(peer[0] if peer else ""))
        self._open[transport] = new
        own = [transport for transport, each in self._open.items() if each.server is self]
        same_address = [
            transport
            for transport in own
            if self._open[transport].address == new.address and not self._open[transport].is_trusted
        ]
        if len(same_address) > self._most_per_address:
            self._close(same_address[0])
        elif len(own) > self._most:
            self._close(self._least_promising(own[:-1]))
        elif len(self._open) > MIN_CONNECTIONS and _descriptors_are_scarce(transport):
            self._close(self._least_promising(list(self._open)[:-1]))

    def trust(self, transport: asyncio.BaseTransport) -> None:
        """The client has shown that it may come in."""
        if connection := self._open.get(transport):
            connection.is_trusted = True

    def remove(self, transport: asyncio.BaseTransport) -> None:
        """The connection has ended."""
        self._open.pop(transport, None)

    def _least_promising(self, listed: Sequence[asyncio.BaseTransport]) -> asyncio.BaseTransport:
        """The oldest of the address with the most connections, a trusted one only if there is no other."""
        counts = Counter((self._open[each].is_trusted, self._open[each].address) for each in listed)

        def rank(transport: asyncio.BaseTransport) -> tuple[bool, int, int]:
            connection = self._open[transport]
            count = counts[connection.is_trusted, connection.address]
            return connection.is_trusted, -count, connection.number

        return min(listed, key=rank)

    def _close(self, transport: asyncio.BaseTransport) -> None:
        self.remove(transport)
        assert isinstance(transport, asyncio.WriteTransport)
        transport.abort()


def network_of(host: str) -> str:
    """What one client has alone: an IPv4 address, but of IPv6 a network (RFC 6177). Any other text is
    returned as it is."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and not address.ipv4_mapped:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _descriptors_are_scarce(transport: asyncio.BaseTransport) -> bool:
    """Whether few file descriptors are left: the kernel gives the lowest one that is free."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor >= limit - min(RESERVED_DESCRIPTORS, limit // 2)


def log_shortage(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The exception handler of the event loop: that no connection can be accepted for want of descriptors
    or memory is a line in the log; asyncio tries again after a second, though the server may be closed by
    then (`BaseSelectorEventLoop._start_serving`)."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
        log_event(logging.ERROR, "accept-failed")
    elif not (isinstance(error, ValueError) and "_start_serving" in context["message"]):
        loop.default_exception_handler(context)
