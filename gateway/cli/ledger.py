"""`linli ledger`: measured, delivered, pending and dropped records of each day, device and lane."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence

from msgspec.structs import asdict

from gateway.base.clock import local_day
from gateway.config import Site
from gateway.journal import JournalReader, LedgerRow
from gateway.terminal.printing import cli_text, lane_text, lost_text, print_table
from gateway.terminal.site import add_site_argument, load_running_site


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("--day", help="2026-11-21")
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> None:
    asyncio.run(_print_ledgers(load_running_site(options), options.day, as_json=options.json))


async def _print_ledgers(site: Site, day: str | None, *, as_json: bool) -> None:
    async with JournalReader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        ledgers = {
            uplink: [row for row in await reader.ledger(reader=uplink) if day in (None, row.day)]
            for uplink in await reader.reader_names()
        }
    if as_json:
        entries = [
            {**asdict(row), "lane": row.lane.name.lower(), "uplink": uplink}
            for uplink, rows in ledgers.items()
            for row in rows
        ]
        print(json.dumps(entries, indent=2))
        return
    for uplink, rows in ledgers.items():
        if len(ledgers) > 1:
            print(cli_text("uplink", uplink=uplink))
        _print_rows(rows)


def _print_rows(rows: Sequence[LedgerRow]) -> None:
    heads = ("day", "lane", "device", "measured", "delivered", "pending", "dropped", "uncertain", "gaps")
    print_table(
        [cli_text(head) for head in heads],
        [
            (
                row.day,
                lane_text(row.lane.name.lower()),
                row.device,
                row.measured,
                row.delivered,
                row.pending,
                sum(row.dropped.values()),
                row.uncertain,
                "; ".join(f"{first}–{last} {lost_text(reason)}" for first, last, reason in row.gaps),
            )
            for row in rows
        ],
    )
