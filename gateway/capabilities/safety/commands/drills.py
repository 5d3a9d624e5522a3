"""`linli drills`: the year's drills, from their reports in the journal."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import re
from zoneinfo import ZoneInfo

from gateway.config import Site, load_site
from gateway.model import Lane
from gateway.terminal.printing import cli_text, print_table, single_line_cells
from gateway.terminal.site import add_site_argument
from gateway.words import preferred_language

from ..testlog import drill_table, log_names
from .testlog import YEAR_PATTERN, read_period_log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options."""
    add_site_argument(parser)
    parser.add_argument("--year", type=_parse_year, help="2026")
    parser.add_argument("--json", action="store_true")


def _parse_year(text: str) -> int:
    if not re.fullmatch(YEAR_PATTERN, text):
        raise argparse.ArgumentTypeError(cli_text("year-form"))
    return int(text)


def run(options: argparse.Namespace) -> None:
    asyncio.run(_print_drills(load_site(options.config), options.year, as_json=options.json))


async def _print_drills(site: Site, year: int | None, *, as_json: bool) -> None:
    year = year or datetime.datetime.now(ZoneInfo(site.centre.timezone)).year
    log = await read_period_log(site, str(year), [Lane.EVENT])
    reports = log.events["drill-report"]
    if as_json:
        drills = [{"ended": each.at.isoformat(), **each.body} for each in reports]
        print(json.dumps(drills, indent=2, ensure_ascii=False))
        return
    print(cli_text("drilled", year=year, count=len(reports)))
    table = drill_table(log, log_names(site), preferred_language())
    print_table(table.heads, [single_line_cells(row) for row in table.rows])
