"""`linli journal`: totals of each device and lane over all days, and the dead letters."""

from __future__ import annotations

import argparse
import asyncio
import json

from msgspec.structs import asdict

from gateway.base.clock import local_day
from gateway.config import Site
from gateway.journal import JournalReader
from gateway.terminal.printing import cli_text, lane_text, lost_text, print_table
from gateway.terminal.site import add_site_argument, load_running_site


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> None:
    asyncio.run(_print_journal(load_running_site(options), as_json=options.json))


async def _print_journal(site: Site, *, as_json: bool) -> None:
    async with JournalReader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        rows, epoch, dead = (
            await reader.ledger(),
            await reader.read_meta("epoch"),
            await reader.dead_letters(),
        )
    totals: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        total = totals.setdefault((row.lane.name.lower(), row.device), [0, 0, 0])
        for i, count in enumerate((row.measured, row.delivered, row.pending)):
            total[i] += count
    names = ("stored", "delivered", "pending")
    if as_json:
        streams = [
            {"lane": lane, "device": device, **dict(zip(names, total, strict=True))}
            for (lane, device), total in totals.items()
        ]
        letters = [{**asdict(letter), "lane": letter.lane.name.lower()} for letter in dead]
        print(json.dumps({"epoch": epoch, "streams": streams, "dead": letters}, indent=2))
        return
    print_table(
        [cli_text(name) for name in ("lane", "device", *names)],
        [(lane_text(lane), device, *total) for (lane, device), total in totals.items()],
    )
    print(cli_text("epoch", epoch=epoch))
    for letter in dead:
        print(cli_text("dead", device=letter.device, seq=letter.seq, reason=lost_text(letter.reason)))
