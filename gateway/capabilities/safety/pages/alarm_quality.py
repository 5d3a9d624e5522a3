"""The page of the alarm quality of a month."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.journal import JournalFailed
from gateway.model import Sentence, sentence
from gateway.web.part import PageContext, PartHandlers
from gateway.web.requests import request_language
from gateway.words import translate

from ..history.names import HistoryNames
from ..history.period import period_bounds
from ..history.quality import ANSWER_WITHIN_S, annunciated_alarms, measures
from ..history.reading import History
from ..services.alarm_quality import DAY_MS, AnnunciatedAlarm, alarm_quality
from .history import unreadable
from .records import LogPeriod, parse_period

MAX_OPERATORS = 20
EARLIER_MS = 92 * DAY_MS
"""How long before a month alarms are read that may have stood in it."""


class AlarmQualityHandlers(PartHandlers):
    """The page, for one month and a number of people on duty."""

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._lock = asyncio.Lock()
        """One query after the other, as each takes a while."""

    def routes(self) -> list[Route]:
        return [Route("/alarm-quality", self._page)]

    async def _page(self, request: Request) -> Response:
        names = HistoryNames(self._context.settings, request_language(request))
        now_ms = self._context.clock.now().wall_ms
        today = datetime.fromtimestamp(now_ms / 1000, names.zone).date()
        period = parse_period(request.query_params.get("month", ""), today, is_year=False)
        typed = request.query_params.get("operators", "1")
        operators = int(typed) if re.fullmatch("[0-9]{1,2}", typed, re.ASCII) else 0
        problems = list(period.problems)
        if not 1 <= operators <= MAX_OPERATORS:
            problems.append(sentence("alarm-quality.wrong-operators", most=MAX_OPERATORS))
            operators = 1
        status = 422 if problems else 200
        facts: dict[str, Any] = {}
        if not problems:
            facts, problems = await self._figures(period, operators, names, now_ms)
        return self._context.page_response(
            request,
            "alarm-quality",
            "safety/alarm-quality.html",
            status,
            query=f"month={period.text}&operators={operators}",
            period=period,
            operators=operators,
            most=MAX_OPERATORS,
            problems=[translate(names.lang, each["sentence"], **each["facts"]) for each in problems],
            **{"measures": [], "remarks": [], "total": None, **facts},
        )

    async def _figures(
        self, period: LogPeriod, operators: int, names: HistoryNames, now_ms: int
    ) -> tuple[dict[str, Any], list[Sentence]]:
        """What the page shows, or why it cannot."""
        since, until = (_begin_ms(day, names.zone) for day in period_bounds(period.text))
        alarms: list[AnnunciatedAlarm] = []
        remarks: list[str] = []
        try:
            async with self._lock, History.open(self._context.settings.journal) as history:
                beginning = await history.beginning_ms()
                async for episode in history.episodes(since - EARLIER_MS, until):
                    alarms += annunciated_alarms(episode)
                scanned = history.scanned_until
        except JournalFailed as failure:
            return {}, [unreadable(failure)]
        if scanned is not None and scanned.is_set and scanned.wall_ms > since:
            since = scanned.wall_ms
            remarks.append(names.text_of("alarm-quality", "stopped", time=names.time_of(since)))
        elif beginning is not None and beginning > since:
            since = min(beginning, until)
            remarks.append(names.text_of("alarm-quality", "since", time=names.time_of(since)))
        if now_ms < until:
            until = now_ms
            remarks.append(names.text_of("alarm-quality", "until", time=names.time_of(until)))
        if since >= until:  # Nothing is known of that month: that is no good one.
            return {"remarks": remarks}, []
        quality = await asyncio.to_thread(alarm_quality, alarms, since, until, operators, ANSWER_WITHIN_S)
        return {"measures": measures(quality, names), "remarks": remarks, "total": quality.alarms}, []


def _begin_ms(day: Any, zone: ZoneInfo) -> int:
    return round(datetime.combine(day, time(), zone).timestamp() * 1000)
