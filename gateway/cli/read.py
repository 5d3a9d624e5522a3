"""`linli read`: one reading, by the running gateway; directly if none is running."""

from __future__ import annotations

import argparse
import asyncio
import json

from gateway.base import control
from gateway.config import Site
from gateway.field.once import read_once
from gateway.model import GatewayError
from gateway.terminal.printing import cli_text
from gateway.terminal.site import add_site_argument, load_running_site
from gateway.words import preferred_language


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("device")


def run(options: argparse.Namespace) -> None:
    asyncio.run(_read_device(load_running_site(options), options.device))


async def _read_device(site: Site, name: str) -> None:
    device = site.devices.get(name)
    if device is None:
        raise GatewayError("device-unknown", device=name, known=", ".join(site.devices))
    try:
        answer = await control.call_daemon(site.control.socket, "read", device=name)
        how = cli_text("by-daemon")
    except control.DaemonNotRunning:
        answer = await read_once(site.buses[device.bus], device)
        how = cli_text("by-hand")
    print(f"{device.title[preferred_language()]} ({name}, {device.profile}) {how}")
    print(f"{cli_text('raw')}:")
    for line in answer["raw"].splitlines():
        print(f"  {line}")
    print(f"{cli_text('decoded')}:")
    for point, value in answer["values"].items():
        print(f"  {point} = {json.dumps(value)} {device.points[point].unit}".rstrip())
    for point, why in answer["bad"].items():
        print(f"  {point}: {cli_text('bad')} ({why})")
    print(cli_text("took", ms=round(answer["seconds"] * 1000)))
