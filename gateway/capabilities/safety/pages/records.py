"""The records of duty, by month or year: drills, walk tests and the test log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.base.clock import local_time
from gateway.journal import JournalFailed
from gateway.model import Lane, Sentence, sentence
from gateway.web.part import PageContext, PartHandlers
from gateway.web.requests import request_language
from gateway.words import translate

from ..history.drills import DrillLog, drill_row
from ..history.names import HistoryNames
from ..history.period import RecordCollector, period_bounds, read_period
from ..history.query import FIRST_DAY, shortened
from ..history.walk_tests import WalkTestLog
from ..testlog import PeriodLog, log_tables
from .history import unreadable
from .settings import SafetySettings


class LogPeriod(NamedTuple):
    """A month or a year that is asked for, its neighbours, and what was wrong with the question."""

    text: str
    earlier: str
    later: str
    """Empty if that is in the future."""
    problems: list[Sentence]


def parse_period(text: str, today: date, is_year: bool) -> LogPeriod:
    """The period of a query; the current one if there is none, or if it is wrong."""
    form = "%Y" if is_year else "%Y-%m"
    current, problems = f"{today:{form}}", []
    found = current
    if text and re.fullmatch(r"\d{4}" if is_year else r"\d{4}-(0[1-9]|1[0-2])", text, re.ASCII):
        if not f"{FIRST_DAY:{form}}" <= text:
            problems.append(sentence("history.wrong-period", text=text))
        elif text > current:
            problems.append(sentence("history.wrong-future", text=text))
        else:
            found = text
    elif text:
        key = "wrong-year" if is_year else "wrong-month"
        problems.append(sentence(f"history.{key}", text=shortened(text)))
    first, after = period_bounds(found)
    before = date.fromordinal(first.toordinal() - 1)
    later = f"{after:{form}}" if found < current else ""
    return LogPeriod(found, f"{before:{form}}", later, problems)


class RecordsHandlers(PartHandlers):
    """The pages of drills, walk tests and the test log."""

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._lock = asyncio.Lock()
        """One query after the other, as each takes a while."""

    def routes(self) -> list[Route]:
        return [
            Route("/drills", self._drills),
            Route("/walk-tests", self._walk_tests),
            Route("/test-log", self._test_log),
        ]

    async def _drills(self, request: Request) -> Response:
        period = self._period(request, "year")
        names = HistoryNames(self._context.settings, request_language(request))
        log = DrillLog(period.text, self._local_time)
        problems = await self._read(period, (Lane.ALARM, Lane.EVENT), log)
        plans = self._part.plans
        rows = [drill_row(drill, plans, names) for drill in log.drills()]
        return self._response(request, "drills", period, problems, rows=rows)

    async def _walk_tests(self, request: Request) -> Response:
        period = self._period(request, "month")
        names = HistoryNames(self._context.settings, request_language(request))
        log = WalkTestLog(period.text, self._local_time)
        problems = await self._read(period, (Lane.ALARM,), log)
        return self._response(request, "walk-tests", period, problems, tests=log.tests(), names=names)

    async def _test_log(self, request: Request) -> Response:
        period = self._period(request, "month")
        log = PeriodLog(period.text, self._part.log, self._local_time)
        problems = await self._read(period, (Lane.ALARM, Lane.EVENT), log)
        tables = log_tables(log, self._part.log, request_language(request))
        return self._response(request, "test-log", period, problems, tables=tables, undated=log.undated)

    def _period(self, request: Request, unit: str) -> LogPeriod:
        zone = ZoneInfo(self._context.settings.timezone)
        today = datetime.fromtimestamp(self._context.clock.now().wall_ms / 1000, zone).date()
        return parse_period(request.query_params.get(unit, ""), today, unit == "year")

    async def _read(self, period: LogPeriod, lanes: Sequence[Lane], log: RecordCollector) -> list[Sentence]:
        """Read the period, unless something is wrong; returns what is."""
        if period.problems:
            return period.problems
        settings = self._context.settings
        try:
            async with self._lock:
                await read_period(settings.journal, settings.timezone, lanes, log)
        except JournalFailed as failure:
            return [unreadable(failure)]
        return []

    def _response(
        self, request: Request, name: str, period: LogPeriod, problems: list[Sentence], **facts: Any
    ) -> Response:
        lang = request_language(request)
        unit = "year" if name == "drills" else "month"
        return self._context.page_response(
            request,
            name,
            f"safety/{name}.html",
            422 if period.problems else 200,
            query=f"{unit}={period.text}",
            period=period,
            unit=unit,
            problems=[translate(lang, each["sentence"], **each["facts"]) for each in problems],
            **facts,
        )

    @property
    def _part(self) -> SafetySettings:
        part: SafetySettings = self._context.settings.parts["safety"]
        return part

    @property
    def _local_time(self) -> Any:
        return local_time(self._context.settings.timezone)
