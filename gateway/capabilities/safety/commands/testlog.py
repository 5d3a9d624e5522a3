"""`linli testlog`: the monthly test log, on the terminal or as a page to print."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.base.clock import local_day, local_time
from gateway.config import Site, load_site
from gateway.journal import Reader
from gateway.model import Lane
from gateway.services.timekeeping import Boot, Timekeeping, correct
from gateway.terminal.printing import cli_text, flat, print_table
from gateway.terminal.site import site_argument
from gateway.words import preferred, translate

from ..printing import printed_log
from ..testlog import PeriodLog, tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    site_argument(parser)
    parser.add_argument("--month", required=True, type=_month, help="2026-11")
    parser.add_argument("--html", type=Path, metavar="FILE", help=cli_text("html"))


def run(options: argparse.Namespace) -> None:
    site = load_site(options.config)
    log = asyncio.run(log_of(site, options.month, [Lane.ALARM, Lane.EVENT]))
    language = preferred()
    if options.html:
        options.html.write_text(printed_log(log, site, language), "utf-8")
        print(cli_text("written", file=options.html))
        return
    print(translate(language, "testlog.auxiliary"))
    for table in tables(log, site, language):
        print(f"\n{table.title}")
        print_table(table.heads, [flat(row) for row in table.rows])


def _month(text: str) -> str:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise argparse.ArgumentTypeError(cli_text("month-form"))
    return text


async def log_of(site: Site, period: str, lanes: Sequence[Lane]) -> PeriodLog:
    """What the journal holds of a year or a month; stamps of a clock that was set later are corrected."""
    local = local_time(site.centre.timezone)
    async with Reader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        rows = await reader.state(Timekeeping.name)
        boots = {key: msgspec.msgpack.decode(body, type=Boot) for key, body in rows.items()}
        log = PeriodLog(period, site.devices, lambda at: local(correct(boots, at)))
        for lane in lanes:
            async for record in reader.records(lane, 0):
                log.take(record)
    return log
