"""What a scan can be pointed at: ports, hosts, and the hosts of a network."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from gateway.model import GatewayError, is_host

CONNECT_TIMEOUT_S = 1.0
"""For a host of a network to accept a connection."""
MAX_NETWORK_ADDRESSES = 1024


def canonical_target(place: str) -> str:
    """One name for a target that has several: the real path of a port, the IP address of a host."""
    if "://" not in place and not place.endswith(":"):
        return os.path.realpath(place)
    if not place.startswith("tcp://"):
        return place
    host, _, port = place.removeprefix("tcp://").rpartition(":")
    try:
        return f"tcp://{socket.getaddrinfo(host.strip('[]'), None)[0][4][0]}:{port}"
    except OSError:
        return place


def host_targets(target: str, ports: Sequence[int]) -> list[str]:
    """The places that a host, a host with its port, or a network stands for; `ports` are those of hosts
    that are given without one. Raises `GatewayError`."""
    target = target.removeprefix("tcp://")
    try:
        if "/" in target:
            network = ipaddress.ip_network(target, strict=False)
            if network.num_addresses > MAX_NETWORK_ADDRESSES:
                raise GatewayError("scan-network-large", most=MAX_NETWORK_ADDRESSES)
            return [f"tcp://{host}:{port}" for host in network.hosts() for port in ports]
        url = urlsplit(f"//{target}")
        own = [url.port] if url.port else ports
    except ValueError as error:
        raise GatewayError("scan-target", target=target) from error
    if not is_host(url.hostname):
        raise GatewayError("scan-target", target=target)
    return [f"tcp://{url.netloc.removesuffix(f':{port}')}:{port}" for port in own]


async def accepts_connection(place: str) -> bool:
    """Whether a TCP server answers there within `CONNECT_TIMEOUT_S`."""
    url = urlsplit(place)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(url.hostname, url.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
