"""`linli testlog`: the monthly test log, on the terminal or as a page to print."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from gateway.base.clock import local_time
from gateway.config import Site, load_site
from gateway.model import Lane
from gateway.terminal.printing import cli_text, print_table, single_line_cells
from gateway.terminal.site import add_site_argument
from gateway.words import preferred_language, translate

from ..history.period import read_period
from ..printing import printed_log
from ..testlog import PeriodLog, log_names, log_tables

YEAR_PATTERN = r"20[0-9]{2}"
"""Of which there can be records, in the command line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options."""
    add_site_argument(parser)
    parser.add_argument("--month", required=True, type=_parse_month, help="2026-11")
    parser.add_argument("--html", type=Path, metavar="FILE", help=cli_text("html"))


def run(options: argparse.Namespace) -> None:
    site = load_site(options.config)
    log = asyncio.run(read_period_log(site, options.month, [Lane.ALARM, Lane.EVENT]))
    language = preferred_language()
    if options.html:
        options.html.write_text(printed_log(log, site, language), "utf-8")
        print(cli_text("written", file=options.html))
        return
    print(translate(language, "testlog.auxiliary"))
    for table in log_tables(log, log_names(site), language):
        print(f"\n{table.title}")
        print_table(table.heads, [single_line_cells(row) for row in table.rows])


def _parse_month(text: str) -> str:
    if not re.fullmatch(rf"{YEAR_PATTERN}-(0[1-9]|1[0-2])", text):
        raise argparse.ArgumentTypeError(cli_text("month-form"))
    return text


async def read_period_log(site: Site, period: str, lanes: Sequence[Lane]) -> PeriodLog:
    """Read a year or a month from the journal."""
    zone = site.centre.timezone
    log = PeriodLog(period, log_names(site), local_time(zone))
    await read_period(site.journal.path, zone, lanes, log)
    return log
