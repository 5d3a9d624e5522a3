"""`linli read`: one reading, by the running gateway; directly if none is running."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

from gateway.base import control
from gateway.config import Site
from gateway.field.once import read_once
from gateway.model import Device, GatewayError, duration
from gateway.terminal.names import unknown_name
from gateway.terminal.printing import cli_text
from gateway.terminal.site import add_site_argument, load_running_site
from gateway.words import preferred_language, words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("device")
    parser.add_argument("--next", action="store_true", help=cli_text("read-next"))


def run(options: argparse.Namespace) -> None:
    asyncio.run(_read_device(load_running_site(options), options.device, wants_next=options.next))


async def _read_device(site: Site, name: str, *, wants_next: bool) -> None:
    device = site.devices.get(name)
    if device is None:
        raise unknown_name("device", name, site.devices)
    try:
        answer = await _ask_daemon(site, device, wants_next=wants_next)
        how = cli_text("by-daemon")
    except control.DaemonNotRunning:
        answer = await read_once(site.buses[device.bus], device, _announce_wait)
        how = cli_text("by-hand")
    print(f"{device.title[preferred_language()]} ({name}, {device.profile}) {how}")
    print(f"{cli_text('raw')}:")
    for line in answer["raw"].splitlines():
        print(f"  {line}")
    print(f"{cli_text('decoded')}:")
    for point, value in answer["values"].items():
        print(f"  {point} = {json.dumps(value)} {device.points[point].unit}".rstrip())
    for point, why in answer["bad"].items():
        print(f"  {point}: {cli_text('bad')} ({words(preferred_language()).get(f'bad.{why}', why)})")
    if "age" in answer:
        print(cli_text("read-age", age=duration(answer["age"])))
    else:
        print(cli_text("took", ms=round(answer["seconds"] * 1000)))


async def _ask_daemon(site: Site, device: Device, *, wants_next: bool) -> dict[str, Any]:
    """A reading; waits for a message where there is none yet. Raises `GatewayError`."""
    request = {"device": device.name, "next": wants_next}
    answer = await control.call_daemon(site.control.socket, "read", **request)
    if "waits" not in answer:
        return answer
    _announce_wait(answer["waits"])
    deadline = time.monotonic() + answer["waits"]
    while "waits" in answer:
        if time.monotonic() >= deadline:
            raise GatewayError("silent", seconds=round(answer["waits"]))
        answer = await control.call_daemon(site.control.socket, "read", wait=True, **request)
    return answer


def _announce_wait(seconds: float) -> None:
    print(cli_text("read-waits", within=duration(seconds)), flush=True)
