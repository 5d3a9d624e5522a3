"""`linli meeting-rooms`: which rooms are in use."""

from __future__ import annotations

import argparse
import asyncio

from gateway.base import control
from gateway.terminal.printing import cli_text
from gateway.terminal.site import add_site_argument, load_running_site

add_arguments = add_site_argument


def run(options: argparse.Namespace) -> None:
    """Print a line for each room. Raises `GatewayError`."""
    answer = asyncio.run(control.call_daemon(load_running_site(options).control.socket, "meeting-rooms"))
    for room, in_use in answer["rooms"].items():
        print(room, cli_text("room-in-use" if in_use else "room-free"))
