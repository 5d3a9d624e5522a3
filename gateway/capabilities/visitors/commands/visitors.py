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
from gateway.words import preferred_language, translate

from ..services import CENTRE
from ..statistics import open_figures
from ..statistics.analysis import Analyst
from ..statistics.export import workbook_tables
from ..statistics.formatting import Formatter, cell_text
from ..statistics.intervals import SLOT_UNITS
from ..statistics.report import report_html
from ..statistics.results import PERIOD_UNITS, Analysis, Period, parse_day, period_containing
from ..statistics.site import centre_layout

MAX_YEARS = 20
"""The longest period that can be requested."""
MAX_FINE_DAYS = 366
"""The longest period that can be listed by quarter or hour."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)

    def help_text(key: str) -> str:
        return translate(preferred_language(), f"visitors.help-{key}")

    parser.add_argument("--from", dest="since", metavar="2026-01-01", help=help_text("from"))
    parser.add_argument("--to", dest="until", metavar="2026-12-31", help=help_text("to"))
    parser.add_argument("--year", type=int, metavar="2026", help=help_text("year"))
    parser.add_argument("--by", choices=SLOT_UNITS, default="", help=help_text("by"))
    parser.add_argument("--place", default=CENTRE, help=help_text("place"))
    parser.add_argument("--csv", type=Path, metavar="FILE", help=help_text("csv"))
    parser.add_argument("--xlsx", type=Path, metavar="FILE", help=help_text("xlsx"))
    parser.add_argument("--html", type=Path, metavar="FILE", help=help_text("html"))
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> None:
    """Print the analysis, or write the requested files. Raises `GatewayError`."""
    site, language = load_running_site(options), preferred_language()
    centre = centre_layout(site)
    formatter = Formatter(language, centre)
    figures = asyncio.run(open_figures(statistics_file(site), site.journal.path))
    try:
        analyst = Analyst(figures, centre, round(time.time()))
        span = _requested_period(options, analyst.today)
        if options.by in ("quarter", "hour") and (span.until - span.since).days > MAX_FINE_DAYS:
            raise GatewayError("visitors-long", days=MAX_FINE_DAYS)
        analysis = analyst.analyse(_find_place(options.place, analyst), span, options.by)
        if options.xlsx:
            # Imported only if needed: it takes a while to load.
            from gateway.web.workbook import write_workbook  # noqa: PLC0415

            write_workbook(
                options.xlsx, workbook_tables(analyst, analysis, formatter), formatter.period_title(span)
            )
    finally:
        figures.close()
    if options.csv:
        with options.csv.open("w", encoding="utf-8", newline="") as file:
            bars = formatter.bars_table(analysis.by, analysis.bars)
            file.writelines(as_csv([bars.heads, *bars.rows]))
    if options.html:
        centre_title = localized(site.centre.title)[language]
        options.html.write_text(report_html(analysis, formatter, centre_title), "utf-8")
    files = [*filter(None, (options.csv, options.xlsx, options.html))]
    for each in files:
        print(cli_text("written", file=each), file=sys.stderr)
    if options.json:
        print(as_json(analysis))
    elif not files:
        _print_analysis(analysis, formatter)


def _requested_period(options: argparse.Namespace, today: date) -> Period:
    """The requested period; by default the current month. Raises `ConfigError`."""
    if options.year is not None:
        return period_containing("year", parse_day(f"{options.year:04}-01-01"))
    if options.since is None and options.until is None:
        return period_containing("month", today)
    last = parse_day(options.until) if options.until else max(today, parse_day(options.since))
    first = parse_day(options.since) if options.since else last.replace(day=1)
    if first > last:
        raise ConfigError("visitors-order", since=first, until=last)
    if (last - first).days > MAX_YEARS * 366:
        raise ConfigError("visitors-range", years=MAX_YEARS)
    until = last + timedelta(days=1)
    # If the two dates are exactly a month or a year, it is compared like one.
    known = [unit for unit in PERIOD_UNITS if period_containing(unit, first) == Period(unit, first, until)]
    return Period(known[0] if known else "", first, until)


def _find_place(name: str, analyst: Analyst) -> str:
    known = analyst.places()
    found = [place for place in known if name == place] or [
        place for place in known if place.partition(".")[2] == name
    ]
    if not found:
        raise ConfigError("visitors-place", place=name, known=", ".join(known))
    return found[0]


def as_json(analysis: Analysis) -> str:
    """The whole analysis as JSON; times are ISO 8601 with offset, or Unix seconds."""
    return msgspec.json.format(msgspec.json.encode(analysis), indent=2).decode()


def _print_analysis(analysis: Analysis, formatter: Formatter) -> None:
    print(f"{formatter.period_title(analysis.period)} · {formatter.place_title(analysis.place)}")
    for text in _summary_lines(analysis, formatter):
        print(text)
    bars = formatter.bars_table(analysis.by, analysis.bars)
    for table in (bars, formatter.places_table(analysis), *formatter.record_tables(analysis)):
        if table.rows:
            print(f"\n{table.title}")
            print_table(
                table.heads, [single_line_cells([cell_text(cell) for cell in row]) for row in table.rows]
            )


def _summary_lines(analysis: Analysis, formatter: Formatter) -> Iterator[str]:
    yield formatter.headline(analysis)
    yield from filter(None, (formatter.visitor_classes_text(analysis), formatter.coverage_text(analysis)))
    yield from (formatter.comparison_text(analysis, each) for each in analysis.comparisons)
    yield from (" · ".join(formatter.peak_texts(kind, peak)) for kind, peak in analysis.peaks.items())
    if analysis.stay:
        yield formatter.stay_text(analysis.stay)
    yield from formatter.remarks(analysis)
