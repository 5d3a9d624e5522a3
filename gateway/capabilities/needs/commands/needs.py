"""`linli needs`: residents' needs and their statistics, without personal data."""

from __future__ import annotations

import argparse
import asyncio
from zoneinfo import ZoneInfo

from gateway.capabilities.needs.site import NeedsSite
from gateway.model import GatewayError
from gateway.terminal.printing import cli_text, print_table
from gateway.terminal.site import add_site_argument, load_running_site
from gateway.web.spreadsheet import as_csv
from gateway.words import preferred_language, translate

from ..rows import read_rows
from ..services import OPEN_STATES
from ..statistics import (
    NeedsFigures,
    category_title,
    figures_by_group,
    month_registered,
    needs_figures,
    needs_table,
    newest_first,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("--csv", action="store_true", help=cli_text("needs-csv"))


def run(options: argparse.Namespace) -> None:
    """Print the open needs and the figures of all; with `--csv` the list of all."""
    site, lang = load_running_site(options), preferred_language()
    reception, zone = site.part(NeedsSite).reception, ZoneInfo(site.centre.timezone)
    if reception is None:
        raise GatewayError("needs-off")
    rows = newest_first(asyncio.run(read_rows(site.journal.path)))
    if options.csv:
        print("".join(as_csv(needs_table(rows, reception, lang, zone))), end="")
        return
    heads, *lines = needs_table(
        [item for item in rows if item[1].state in OPEN_STATES], reception, lang, zone
    )
    print_table(heads, lines)
    needs = [need for _, need in rows]
    groups = {
        "category": figures_by_group(needs, lambda need: category_title(reception, need.category, lang)),
        "month": figures_by_group(needs, lambda need: month_registered(need, zone)),
    }
    for name, each in groups.items():
        print()
        heads = [
            translate(lang, f"need.{name}"),
            *(translate(lang, f"need.{field}") for field in NeedsFigures.__struct_fields__),
        ]
        rows_by_group = {**each, translate(lang, "need.all"): needs_figures(needs)}
        print_table(
            heads,
            [
                (group, *map(_cell_text, _field_values(group_figures)))
                for group, group_figures in rows_by_group.items()
            ],
        )


def _field_values(group_figures: NeedsFigures) -> list[float | None]:
    return [getattr(group_figures, field) for field in NeedsFigures.__struct_fields__]


def _cell_text(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.1f}"
