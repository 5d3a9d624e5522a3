"""`linli config`: the adopted configurations, oldest first, or the text of the current one."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import asdict

from gateway.config import Site
from gateway.config.adoption import load_adopted
from gateway.journal import JournalReader
from gateway.model import GatewayError, Revision
from gateway.services.configuration import Configuration
from gateway.terminal.printing import cli_text, print_table
from gateway.terminal.site import add_site_argument, load_running_site

from .reload import changes_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("--text", action="store_true", help=cli_text("config-text"))
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> None:
    site = load_running_site(options)
    if not options.text:
        asyncio.run(_print_revisions(site, as_json=options.json))
        return
    kept = load_adopted(options.config, site.journal.path)
    if kept is None:
        raise GatewayError("config-none-kept", file=options.config)
    print(kept.sources[""], end="")


async def _print_revisions(site: Site, *, as_json: bool) -> None:
    async with JournalReader.open(site.journal.path) as reader:
        rows = (await reader.service_rows(Configuration.name)).values()
    revisions = sorted((msgspec.msgpack.decode(row, type=Revision) for row in rows), key=lambda r: r.number)
    if as_json:
        print(json.dumps([{**asdict(each), "at": each.at.wall_ms} for each in revisions], indent=2))
        return
    zone = ZoneInfo(site.centre.timezone)
    print_table(
        [cli_text(head) for head in ("revision", "when", "by", "digest", "changes")],
        [
            (
                each.number,
                datetime.datetime.fromtimestamp(each.at.wall_ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S"),
                cli_text(f"by-{each.by}"),
                each.digest,
                "; ".join(changes_of(each.changes)),
            )
            for each in revisions
        ],
    )
