"""`linli visitors`: the figures on the terminal, as a file for Excel, or as a report to print."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import msgspec

from gateway.capabilities.visitors.site import statistics_file
from gateway.config import localized
from gateway.model import ConfigError, GatewayError
from gateway.terminal.printing import cli_text, print_table, single_line_cells
from gateway.terminal.site import add_site_argument, load_running_site
from gateway.web.spreadsheet import as_csv
from gateway.words import preferred, translate

from ..services import CENTRE
from ..statistics import look
from ..statistics.analysis import Analyst
from ..statistics.export import sheets
from ..statistics.report import page
from ..statistics.site import centre_of
from ..statistics.spans import UNITS
from ..statistics.terms import PERIODS, Analysis, Period, day_of, period
from ..statistics.wording import Wording
from ..statistics.wording import flat as written

LONGEST = 20
"""Years that are looked at together."""
FINE = 366
"""Days that may be listed by the quarter or the hour."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)

    def meant(key: str) -> str:
        return translate(preferred(), f"visitors.help-{key}")

    parser.add_argument("--from", dest="since", metavar="2026-01-01", help=meant("from"))
    parser.add_argument("--to", dest="until", metavar="2026-12-31", help=meant("to"))
    parser.add_argument("--year", type=int, metavar="2026", help=meant("year"))
    parser.add_argument("--by", choices=UNITS, default="", help=meant("by"))
    parser.add_argument("--place", default=CENTRE, help=meant("place"))
    parser.add_argument("--csv", type=Path, metavar="FILE", help=meant("csv"))
    parser.add_argument("--xlsx", type=Path, metavar="FILE", help=meant("xlsx"))
    parser.add_argument("--html", type=Path, metavar="FILE", help=meant("html"))
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> None:
    """Print, or write what was asked for. Raises `GatewayError`."""
    site, language = load_running_site(options), preferred()
    centre = centre_of(site)
    wording = Wording(language, centre)
    figures = asyncio.run(look(statistics_file(site), site.journal.path))
    try:
        analyst = Analyst(figures, centre, round(time.time()))
        span = _period(options, analyst.today)
        if options.by in ("quarter", "hour") and (span.until - span.since).days > FINE:
            raise GatewayError("visitors-long", days=FINE)
        analysis = analyst.analyse(_place(options.place, analyst), span, options.by)
        if options.xlsx:
            # Only for who wants one: it takes a while to load.
            from ..statistics.workbook import write  # noqa: PLC0415

            write(options.xlsx, sheets(analyst, analysis, wording), wording.period(span))
    finally:
        figures.close()
    if options.csv:
        with options.csv.open("w", encoding="utf-8", newline="") as file:
            bars = wording.bars(analysis.by, analysis.bars)
            file.writelines(as_csv([bars.heads, *bars.rows]))
    if options.html:
        named = localized(site.centre.title)[language]
        options.html.write_text(page(analysis, wording, named), "utf-8")
    files = [*filter(None, (options.csv, options.xlsx, options.html))]
    for each in files:
        print(cli_text("written", file=each), file=sys.stderr)
    if options.json:
        print(as_json(analysis))
    elif not files:
        _print(analysis, wording)


def _period(options: argparse.Namespace, today: date) -> Period:
    """What was asked for; this month unless anything was. Raises `ConfigError`."""
    if options.year is not None:
        return period("year", day_of(f"{options.year:04}-01-01"))
    if options.since is None and options.until is None:
        return period("month", today)
    last = day_of(options.until) if options.until else max(today, day_of(options.since))
    first = day_of(options.since) if options.since else last.replace(day=1)
    if first > last:
        raise ConfigError("visitors-order", since=first, until=last)
    if (last - first).days > LONGEST * 366:
        raise ConfigError("visitors-range", years=LONGEST)
    until = last + timedelta(days=1)
    # Two dates may mean a month or a year: then it is compared like one.
    known = [unit for unit in PERIODS if period(unit, first) == Period(unit, first, until)]
    return Period(known[0] if known else "", first, until)


def _place(name: str, analyst: Analyst) -> str:
    known = analyst.places()
    found = [place for place in known if name == place] or [
        place for place in known if place.partition(".")[2] == name
    ]
    if not found:
        raise ConfigError("visitors-place", place=name, known=", ".join(known))
    return found[0]


def as_json(analysis: Analysis) -> str:
    """Everything, for another program; times as ISO 8601 with their offset or in Unix seconds."""
    return msgspec.json.format(msgspec.json.encode(analysis), indent=2).decode()


def _print(analysis: Analysis, wording: Wording) -> None:
    print(f"{wording.period(analysis.period)} · {wording.place(analysis.place)}")
    for text in _told(analysis, wording):
        print(text)
    bars = wording.bars(analysis.by, analysis.bars)
    for table in (bars, wording.places(analysis), *wording.records(analysis)):
        if table.rows:
            print(f"\n{table.title}")
            print_table(
                table.heads, [single_line_cells([written(cell) for cell in row]) for row in table.rows]
            )


def _told(analysis: Analysis, wording: Wording) -> Iterator[str]:
    yield wording.headline(analysis)
    yield from filter(None, (wording.classes(analysis), wording.coverage(analysis)))
    yield from (wording.comparison(analysis, each) for each in analysis.comparisons)
    yield from (" · ".join(wording.peak(kind, peak)) for kind, peak in analysis.peaks.items())
    if analysis.stay:
        yield wording.stay(analysis.stay)
    yield from wording.remarks(analysis)
