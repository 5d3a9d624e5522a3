"""`linli journal`: totals of each device and lane over all days, and the dead letters; with `--security`
who logged in or was turned away."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec.structs import asdict

from gateway.base.clock import local_day
from gateway.config import Site
from gateway.journal import JournalReader, LedgerRow
from gateway.model import Lane, Record
from gateway.terminal.printing import cli_text, lane_text, lost_text, print_table, single_line_cells
from gateway.terminal.site import add_site_argument, load_running_site
from gateway.words import preferred_language, translate

MAX_EVENTS = 500
"""Security events that are shown: the newest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--security", action="store_true", help=cli_text("security-help"))


def run(options: argparse.Namespace) -> None:
    print_it = _print_security_events if options.security else _print_journal
    asyncio.run(print_it(load_running_site(options), as_json=options.json))


async def _print_security_events(site: Site, *, as_json: bool) -> None:
    newest: deque[Record] = deque(maxlen=MAX_EVENTS)
    async with JournalReader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        async for record in reader.records(Lane.EVENT, 0):
            if record.kind == "security":
                newest.append(record)
    if as_json:
        print(json.dumps([{"at": record.at.wall_ms, **record.body} for record in newest], indent=2))
        return
    if not newest:
        print(cli_text("security-none"))
        return
    zone = ZoneInfo(site.centre.timezone)
    heads = [cli_text(name) for name in ("when", "security-event", "security-from", "security-count")]
    print_table(heads, [_security_cells(record, zone) for record in newest])


def _security_cells(record: Record, zone: ZoneInfo) -> list[str]:
    body = record.body
    if record.at.is_set:
        at = datetime.fromtimestamp(record.at.wall_ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")
    else:
        at = translate(preferred_language(), "dashboard.time-unknown")
    event = translate(preferred_language(), f"security.{body['event']}", **body)
    return single_line_cells([at, event, body["address"] or "—", str(body["count"])])


async def _print_journal(site: Site, *, as_json: bool) -> None:
    async with JournalReader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        totals = {
            uplink: _totals(await reader.ledger(reader=uplink)) for uplink in await reader.reader_names()
        }
        epoch, dead = await reader.read_meta("epoch"), await reader.dead_letters()
    names = ("stored", "delivered", "pending")
    if as_json:
        streams = [
            {"uplink": uplink, "lane": lane, "device": device, **dict(zip(names, counts, strict=True))}
            for uplink, own in totals.items()
            for (lane, device), counts in own.items()
        ]
        letters = [{**asdict(letter), "lane": letter.lane.name.lower()} for letter in dead]
        print(json.dumps({"epoch": epoch, "streams": streams, "dead": letters}, indent=2))
        return
    for uplink, own in totals.items():
        if len(totals) > 1:
            print(cli_text("uplink", uplink=uplink))
        print_table(
            [cli_text(name) for name in ("lane", "device", *names)],
            [(lane_text(lane), device, *counts) for (lane, device), counts in own.items()],
        )
    print(cli_text("epoch", epoch=epoch))
    for letter in dead:
        print(cli_text("dead", device=letter.device, seq=letter.seq, reason=lost_text(letter.reason)))


def _totals(rows: Iterable[LedgerRow]) -> dict[tuple[str, str], list[int]]:
    """Over all days, by lane and device."""
    totals: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        total = totals.setdefault((row.lane.name.lower(), row.device), [0, 0, 0])
        for i, count in enumerate((row.measured, row.delivered, row.pending)):
            total[i] += count
    return totals
