"""`linli meeting-rooms`: which rooms are in use."""

from __future__ import annotations

import argparse
import asyncio

from gateway.base import control
from gateway.terminal.printing import cli_text
from gateway.terminal.site import chosen_site, site_argument

add_arguments = site_argument


def run(options: argparse.Namespace) -> None:
    """Print a line for each room. Raises `GatewayError`."""
    answer = asyncio.run(control.call(chosen_site(options).control.socket, "meeting-rooms"))
    for room, in_use in answer["rooms"].items():
        print(room, cli_text("room-in-use" if in_use else "room-free"))
