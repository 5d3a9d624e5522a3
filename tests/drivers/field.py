"""The buses of a site in a process of their own: every sample, and how each command ended, as a JSON line.

A command is a line on standard input: its device and its action.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from gateway.base import log
from gateway.base.clock import SystemClock
from gateway.config import Site, load_site
from gateway.field.line import Line
from gateway.model import Command, GatewayError, Sample


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


async def hear(sample: Sample) -> None:
    say(device=sample.device, values=sample.values, error=sample.error)


async def run(site: Site) -> None:
    clock = SystemClock()
    buses = {
        name: Line(spec, tuple(d for d in site.devices.values() if d.bus == name), clock, hear)
        for name, spec in site.buses.items()
    }
    running = [asyncio.create_task(bus.run()) for bus in buses.values()]
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := (await reader.readline()).decode():
        device, action = line.split()
        now = clock.now()
        order = Command(
            id=action, at=now, device=device, action=action, expires=now.wall_ms + 9000, origin="console"
        )
        try:
            await buses[site.devices[device].bus].execute(order)
        except GatewayError as error:
            say(action=action, error=error.key)
        else:
            say(action=action, error="")
    for task in running:
        task.cancel()
    await asyncio.wait(running)


if __name__ == "__main__":
    log.setup_logging("en")
    asyncio.run(run(load_site(Path(sys.argv[1]))))
