"""`linli notify-test`: the running gateway sends a test message; exit code 1 if one was not accepted."""

from __future__ import annotations

import argparse
import asyncio

from gateway.base import control
from gateway.config import load_site
from gateway.terminal.printing import cli_text
from gateway.terminal.site import add_site_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options."""
    add_site_argument(parser)
    parser.add_argument("contact")


def run(options: argparse.Namespace) -> int:
    site = load_site(options.config)
    answer = control.call_daemon(site.control.socket, "notify-test", 600.0, contact=options.contact)
    channels = asyncio.run(answer)["channels"]
    for name, error in channels.items():
        print(f"{name}: {error or cli_text('told')}")
    if not channels:
        print(cli_text("told-nobody"))
    return int(not channels or any(channels.values()))
