"""Ports for servers that are started later, by another process."""

from __future__ import annotations

import itertools
import os
import socket

FIRST_PORT, PORTS_PER_WORKER = 20_000, 1500
"""Below what the kernel gives to sockets that ask for any port (32768 and up, Linux): meanwhile nobody else
can get one of them."""

_numbers = itertools.count(os.getpid())
"""Runs at the same time, as of several checkouts, begin at different ones."""


def free_port() -> int:
    """A port on loopback that nobody uses, and that no other worker of this run chooses."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    while True:
        port = FIRST_PORT + worker * PORTS_PER_WORKER + next(_numbers) % PORTS_PER_WORKER
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
