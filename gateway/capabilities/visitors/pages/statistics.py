"""The page of visitor statistics, and its downloads. It reads the statistics file and the journal, and
writes neither."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from gateway.capabilities.visitors.services import CENTRE
from gateway.capabilities.visitors.statistics import open_figures
from gateway.capabilities.visitors.statistics.analysis import Analyst
from gateway.capabilities.visitors.statistics.database import StatisticsFailed, StatisticsMissing
from gateway.capabilities.visitors.statistics.export import finest_slot_unit, workbook_tables
from gateway.capabilities.visitors.statistics.formatting import Formatter, cell_text
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
    parse_day,
    period_containing,
)
from gateway.model import ConfigError, Sentence, sentence
from gateway.web.charts import svg_text
from gateway.web.part import PageContext, PartHandlers
from gateway.web.requests import request_language, workbook_response
from gateway.web.settings import title_in
from gateway.web.spreadsheet import ReportTable, Workbook, as_csv
from gateway.words import translate

from .settings import VisitorsSettings

Query = Mapping[str, str]
T = TypeVar("T")
MAX_LISTED_ROWS = 100
"""Maximum rows of a table on the page; downloads have all rows."""


class StatisticsQuery(NamedTuple):
    """A query: place, period and unit, and what was wrong with it (keys of `visitors`)."""

    analysis: Analysis
    analyst: Analyst
    formatter: Formatter
    problems: list[str]

    @property
    def name(self) -> str:
        """A file name without ending, of ASCII characters."""
        span = self.analysis.period
        return f"visitors-{self.analysis.place}-{span.unit}-{span.since}"

    def link(self, **other: object) -> str:
        """The query string of this analysis with some values replaced."""
        span = self.analysis.period
        return urlencode({"unit": span.unit, "day": span.since, "place": self.analysis.place, **other})


class StatisticsHandlers(PartHandlers):
    """The page and its downloads."""

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._answers = StatisticsAnswers(context)

    def routes(self) -> list[Route]:
        return [
            Route("/visitors", self._page),
            Route("/visitors/table.csv", self._table),
            Route("/visitors/book.xlsx", self._workbook),
            Route("/visitors/report", self._report),
            Route("/visitors/report.css", self._style),
        ]

    async def _page(self, request: Request) -> Response:
        facts = await self._answers.facts(request.query_params, request_language(request))
        query = facts["question"].link() if facts["question"] else ""
        return self._context.page_response(
            request, "visitors", "visitors/visitors.html", query=query, **facts
        )

    async def _table(self, request: Request) -> Response:
        try:
            name, pieces = await self._answers.table(request.query_params, request_language(request))
        except StatisticsFailed as failure:
            return _unavailable(request, failure)
        return StreamingResponse(
            iter(pieces), media_type="text/csv", headers=_download_headers(f"{name}.csv")
        )

    async def _workbook(self, request: Request) -> Response:
        context = self._context
        return await workbook_response(
            request, visitors_workbook, context.settings.parts["visitors"], context.settings.journal,
            context.clock.now().wall_ms // 1000, dict(request.query_params), request_language(request),
        )  # fmt: skip

    async def _report(self, request: Request) -> Response:
        try:
            lang = request_language(request)
            page = await self._answers.report(request.query_params, lang, "/visitors/report.css")
        except StatisticsFailed as failure:
            return _unavailable(request, failure)
        return HTMLResponse(page)

    async def _style(self, _request: Request) -> Response:
        return Response(STYLESHEET, media_type="text/css")


def _unavailable(request: Request, failure: StatisticsFailed) -> Response:
    """A download that cannot be created, and why."""
    return PlainTextResponse(
        translate(request_language(request), f"error.{failure.key}", **failure.facts), 503
    )


def _download_headers(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


class StatisticsAnswers:
    """Runs one query after the other, as each takes a while."""

    def __init__(self, context: PageContext) -> None:
        self._context = context
        self._lock = asyncio.Lock()

    async def facts(self, query: Query, lang: str) -> dict[str, Any]:
        """The variables of the page."""

        def show(question: StatisticsQuery) -> dict[str, Any]:
            analysis, formatter = question.analysis, question.formatter
            charts = {
                "bars": visits_chart,
                "heat": hour_heat_map,
                "inside": occupancy_chart,
                "week": weekday_chart,
            }
            return {
                "question": question,
                "a": analysis,
                "w": formatter,
                "today": question.analyst.today,
                "units": PERIOD_UNITS,
                "charts": {name: svg_text(draw(analysis, formatter)) for name, draw in charts.items()},
                "places": [(name, formatter.place_title(name)) for name in question.analyst.places()],
                "records": [_latest_rows(table) for table in formatter.record_tables(analysis)],
                "flat": cell_text,
            }

        try:
            return await self._analyse_and_show(query, lang, show)
        except StatisticsMissing:
            return {"question": None, "trouble": self._formatter(lang).text("none")}
        except StatisticsFailed as failure:
            reason = failure.facts.get("reason", failure.key)
            return {"question": None, "trouble": self._formatter(lang).text("not-readable", reason=reason)}

    async def table(self, query: Query, lang: str) -> tuple[str, list[str]]:
        """The name of a file, and CSV in pieces. Raises `StatisticsFailed`."""

        def show(question: StatisticsQuery) -> tuple[str, list[str]]:
            place, span = question.analysis.place, question.analysis.period
            unit = finest_slot_unit(span)
            table = question.formatter.bars_table(unit, question.analyst.bars(place, span, unit))
            return question.name, list(as_csv([table.heads, *table.rows]))

        return await self._analyse_and_show(query, lang, show)

    async def report(self, query: Query, lang: str, style: str) -> str:
        """A page to print. Raises `StatisticsFailed`."""
        site = title_in(self._context.settings.title, lang, "")
        return await self._analyse_and_show(
            query, lang, lambda question: report_html(question.analysis, question.formatter, site, style)
        )

    async def _analyse_and_show(
        self, query: Query, lang: str, format_result: Callable[[StatisticsQuery], T]
    ) -> T:
        settings, now = self._settings, self._context.clock.now().wall_ms // 1000
        journal, centre = self._context.settings.journal, settings.centre
        async with self._lock:
            figures = await open_figures(settings.statistics_file, journal)

            def work() -> T:
                # Closed in this thread, as the request may be cancelled before it has ended.
                with contextlib.closing(figures):
                    return format_result(
                        _parse_question(query, Analyst(figures, centre, now), Formatter(lang, centre))
                    )

            return await asyncio.to_thread(work)

    def _formatter(self, lang: str) -> Formatter:
        return Formatter(lang, self._settings.centre)

    @property
    def _settings(self) -> VisitorsSettings:
        settings: VisitorsSettings = self._context.settings.parts["visitors"]
        return settings


def visitors_workbook(
    settings: VisitorsSettings, journal: Path, now_s: int, query: Query, lang: str
) -> Workbook | Sentence:
    """An analysis as a workbook, or why the statistics cannot be read. `now_s`: Unix time."""
    formatter = Formatter(lang, settings.centre)
    try:
        with contextlib.closing(asyncio.run(open_figures(settings.statistics_file, journal))) as figures:
            analyst = Analyst(figures, settings.centre, now_s)
            question = _parse_question(query, analyst, formatter)
            tables = workbook_tables(analyst, question.analysis, formatter)
    except StatisticsFailed as failure:
        return sentence(f"error.{failure.key}", **failure.facts)
    return Workbook(question.name, formatter.period_title(question.analysis.period), tables)


def _parse_question(query: Query, analyst: Analyst, formatter: Formatter) -> StatisticsQuery:
    problems = []
    unit, day, place = query.get("unit", "week"), analyst.today, query.get("place", CENTRE)
    if unit not in PERIOD_UNITS:
        unit, problems = "week", ["wrong-unit"]
    if text := query.get("day", ""):
        try:
            day = parse_day(text)
        except ConfigError:
            problems.append("wrong-date")
    if place not in analyst.places():
        place = CENTRE
        problems.append("wrong-place")
    return StatisticsQuery(
        analyst.analyse(place, period_containing(unit, day)), analyst, formatter, problems
    )


def _latest_rows(table: ReportTable) -> tuple[ReportTable, int]:
    """The latest rows, and the number of all."""
    return table._replace(rows=table.rows[-MAX_LISTED_ROWS:]), len(table.rows)
