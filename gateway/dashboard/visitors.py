"""The page of the visitors' statistics, and what can be taken away from it. It reads the statistics file
and the journal, and writes neither."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.capabilities.visitors.services import CENTRE
from gateway.capabilities.visitors.statistics import open_figures
from gateway.capabilities.visitors.statistics.analysis import Analyst
from gateway.capabilities.visitors.statistics.database import StatisticsFailed, StatisticsMissing
from gateway.capabilities.visitors.statistics.export import finest_slot_unit, workbook_tables
from gateway.capabilities.visitors.statistics.formatting import Formatter, Table, cell_text
from gateway.capabilities.visitors.statistics.period_charts import (
    hour_heat_map,
    occupancy_chart,
    visits_chart,
    weekday_chart,
)
from gateway.capabilities.visitors.statistics.report import STYLESHEET, report_html
from gateway.capabilities.visitors.statistics.results import (
    PERIOD_UNITS,
    Analysis,
    CentreLayout,
    parse_day,
    period_containing,
)
from gateway.model import Clock, ConfigError
from gateway.web.markup import written
from gateway.web.requests import language, remember
from gateway.web.spreadsheet import as_csv
from gateway.words import translate

from .pages import VISITORS, Pages
from .settings import Settings, title
from .watch import Watch

Query = Mapping[str, str]
T = TypeVar("T")
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
LISTED = 100
"""Rows of a table on the page; the downloads have them all."""


class Asked(NamedTuple):
    """A question as it was understood, and what was amiss with it (keys of `visitors`)."""

    analysis: Analysis
    analyst: Analyst
    formatter: Formatter
    amiss: list[str]

    @property
    def name(self) -> str:
        """Of a file, in letters that every system takes."""
        span = self.analysis.period
        return f"visitors-{self.analysis.place}-{span.unit}-{span.since}"

    def link(self, **other: object) -> str:
        """The same question, or one that differs in something."""
        span = self.analysis.period
        return urlencode({"unit": span.unit, "day": span.since, "place": self.analysis.place, **other})


class VisitorsPages:
    """The handlers."""

    def __init__(self, pages: Pages, watch: Watch, clock: Clock) -> None:
        self._pages = pages
        self._watch = watch
        self._answers = Answers(lambda: watch.settings, clock)

    def routes(self) -> list[Route]:
        """The page, and what can be taken away from it."""
        return [
            Route("/visitors", self._page),
            Route("/visitors/table.csv", self._table),
            Route("/visitors/book.xlsx", self._workbook),
            Route("/visitors/report", self._report),
            Route("/visitors/report.css", self._style),
        ]

    async def _page(self, request: Request) -> Response:
        lang = language(request)
        facts = await self._answers.facts(request.query_params, lang)
        query = facts["asked"].link() if facts["asked"] else ""
        page = self._pages.page(
            VISITORS, self._watch.view, lang, self._watch.now(), "visitors.html", query=query, **facts
        )
        return remember(request, lang, HTMLResponse(page))

    async def _table(self, request: Request) -> Response:
        try:
            name, pieces = await self._answers.table(request.query_params, language(request))
        except StatisticsFailed as failure:
            return _not_now(request, failure)
        return StreamingResponse(iter(pieces), media_type="text/csv", headers=_attached(f"{name}.csv"))

    async def _workbook(self, request: Request) -> Response:
        folder = tempfile.TemporaryDirectory(prefix="linli-")
        lang = language(request)
        try:
            name, file = await self._answers.workbook(request.query_params, lang, Path(folder.name))
        except StatisticsFailed as failure:
            folder.cleanup()
            return _not_now(request, failure)
        return FileResponse(
            file, filename=f"{name}.xlsx", media_type=XLSX, background=BackgroundTask(folder.cleanup)
        )

    async def _report(self, request: Request) -> Response:
        try:
            lang = language(request)
            page = await self._answers.report(request.query_params, lang, "/visitors/report.css")
        except StatisticsFailed as failure:
            return _not_now(request, failure)
        return HTMLResponse(page)

    async def _style(self, _request: Request) -> Response:
        return Response(STYLESHEET, media_type="text/css")


def _not_now(request: Request, failure: StatisticsFailed) -> Response:
    """A file that cannot be made, and why."""
    return PlainTextResponse(translate(language(request), f"error.{failure.key}", **failure.facts), 503)


def _attached(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


class Answers:
    """Answers one question after the other: each takes a while."""

    def __init__(self, settings: Callable[[], Settings], clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._turn = asyncio.Lock()

    async def facts(self, query: Query, lang: str) -> dict[str, Any]:
        """What the page shows."""

        def show(asked: Asked) -> dict[str, Any]:
            analysis, formatter = asked.analysis, asked.formatter
            charts = {
                "bars": visits_chart,
                "heat": hour_heat_map,
                "inside": occupancy_chart,
                "week": weekday_chart,
            }
            return {
                "asked": asked,
                "a": analysis,
                "w": formatter,
                "today": asked.analyst.today,
                "units": PERIOD_UNITS,
                "charts": {name: written(draw(analysis, formatter)) for name, draw in charts.items()},
                "places": [(name, formatter.place_title(name)) for name in asked.analyst.places()],
                "records": [_short(table) for table in formatter.record_tables(analysis)],
                "flat": cell_text,
            }

        try:
            return await self._answer(query, lang, show)
        except StatisticsMissing:
            return {"asked": None, "trouble": self._formatter(lang).text("none")}
        except StatisticsFailed as failure:
            reason = failure.facts.get("reason", failure.key)
            return {"asked": None, "trouble": self._formatter(lang).text("not-readable", reason=reason)}

    async def table(self, query: Query, lang: str) -> tuple[str, list[str]]:
        """The name of a file, and CSV in pieces. Raises `StatisticsFailed`."""

        def show(asked: Asked) -> tuple[str, list[str]]:
            place, span = asked.analysis.place, asked.analysis.period
            unit = finest_slot_unit(span)
            table = asked.formatter.bars_table(unit, asked.analyst.bars(place, span, unit))
            return asked.name, list(as_csv([table.heads, *table.rows]))

        return await self._answer(query, lang, show)

    async def workbook(self, query: Query, lang: str, folder: Path) -> tuple[str, Path]:
        """The name of a file, and where it was made. Raises `StatisticsFailed`."""

        def show(asked: Asked) -> tuple[str, Path]:
            from gateway.capabilities.visitors.statistics.workbook import write_workbook  # noqa: PLC0415

            tables = workbook_tables(asked.analyst, asked.analysis, asked.formatter)
            write_workbook(
                folder / "book.xlsx", tables, asked.formatter.period_title(asked.analysis.period)
            )
            return asked.name, folder / "book.xlsx"

        return await self._answer(query, lang, show)

    async def report(self, query: Query, lang: str, style: str) -> str:
        """A page to print. Raises `StatisticsFailed`."""
        site = title(self._settings().site, lang, "")
        return await self._answer(
            query, lang, lambda asked: report_html(asked.analysis, asked.formatter, site, style)
        )

    async def _answer(self, query: Query, lang: str, show: Callable[[Asked], T]) -> T:
        settings, now = self._settings(), self._clock.now().wall // 1000
        centre = settings.centre or CentreLayout(settings.timezone)
        async with self._turn:
            figures = await open_figures(settings.statistics_file, settings.journal)

            def work() -> T:
                # Closed in here: who asked may go away before this has ended.
                with contextlib.closing(figures):
                    return show(_understand(query, Analyst(figures, centre, now), Formatter(lang, centre)))

            return await asyncio.to_thread(work)

    def _formatter(self, lang: str) -> Formatter:
        settings = self._settings()
        return Formatter(lang, settings.centre or CentreLayout(settings.timezone))


def _understand(query: Query, analyst: Analyst, formatter: Formatter) -> Asked:
    amiss = []
    unit, day, place = query.get("unit", "week"), analyst.today, query.get("place", CENTRE)
    if unit not in PERIOD_UNITS:
        unit, amiss = "week", ["wrong-unit"]
    if text := query.get("day", ""):
        try:
            day = parse_day(text)
        except ConfigError:
            amiss.append("wrong-date")
    if place not in analyst.places():
        place = CENTRE
        amiss.append("wrong-place")
    return Asked(analyst.analyse(place, period_containing(unit, day)), analyst, formatter, amiss)


def _short(table: Table) -> tuple[Table, int]:
    """The latest rows, and how many there are."""
    return table._replace(rows=table.rows[-LISTED:]), len(table.rows)
