"""The history of alarms and events: pages that can be filtered, and downloads."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import date, datetime
from typing import Any, ClassVar, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.journal import JournalFailed
from gateway.model import Hazard, Lane, Role, Sentence, sentence
from gateway.web.part import PageContext, PartHandlers
from gateway.web.requests import request_language, workbook_response
from gateway.web.settings import Settings
from gateway.web.spreadsheet import BOM, Cell, ReportTable, Workbook, as_csv
from gateway.words import translate

from ..history.names import HistoryNames
from ..history.query import HistoryQuery, parse_query, position_text
from ..history.reading import History, HistoryRecord
from ..history.tables import (
    ALARM_HEADS,
    ALL_EVENTS,
    EVENT_GROUPS,
    EVENT_HEADS,
    OTHER_EVENTS,
    episode_cells,
    episode_row,
    event_cells,
    event_group,
    event_person,
    event_row,
)
from ..services.alarms.episodes import AlarmEpisode

T = TypeVar("T")
ROWS_PER_PAGE = 100
ROWS_PER_PIECE = 500
MAX_WORKBOOK_ROWS = 20_000
"""CSV has no limit."""
DRILLS = "drill"
Alarms = AsyncGenerator[AlarmEpisode, None]
Events = AsyncGenerator[HistoryRecord, None]
ALARM_KINDS = (*Hazard, DRILLS)
EVENT_KINDS = (*EVENT_GROUPS, OTHER_EVENTS, ALL_EVENTS)


class Listing(NamedTuple):
    """One page of rows, and where the next one begins."""

    rows: list[Any]
    older: str
    """The position from which the next page goes on; empty if there is none."""
    undated: int
    scanned_until: str
    """The time at which the search gave up; empty if it came to an end."""


class Subject(NamedTuple):
    """What a list of the history consists of: alarms or events."""

    name: str
    kinds: Sequence[str]
    heads: Sequence[str]
    entries: Callable[[History, HistoryQuery, ZoneInfo], AsyncGenerator[Any, None]]
    row: Callable[[Any, HistoryNames], Any]
    cells: Callable[[Any, HistoryNames], list[Cell]]


async def _alarms(history: History, query: HistoryQuery, zone: ZoneInfo) -> Alarms:
    """The alarms that a query admits. Drills are among them only if they are asked for."""
    async for each in history.episodes(*query.bounds_ms(zone), query.before):
        people = (moment.by for moment in (each.acknowledged, each.ended) if moment)
        if (
            each.drill == (query.what == DRILLS)
            and query.what in ("", DRILLS, each.hazard)
            and query.device in ("", each.device)
            and query.admits_person(each.by, *people)
        ):
            yield each


async def _events(history: History, query: HistoryQuery, zone: ZoneInfo) -> Events:
    """The events that a query admits. Everyday ones are among them only if they are asked for."""
    async for each in history.records(Lane.EVENT, *query.bounds_ms(zone), query.before):
        record, group = each.record, event_group(each.record.kind)
        is_kind = group != OTHER_EVENTS if not query.what else query.what in (group, ALL_EVENTS)
        is_device = query.device in ("", record.device)
        if is_kind and is_device and query.admits_person(event_person(record.body)):
            yield each


ALARMS = Subject("alarms", ALARM_KINDS, ALARM_HEADS, _alarms, episode_row, episode_cells)
EVENTS = Subject("events", EVENT_KINDS, EVENT_HEADS, _events, event_row, event_cells)


class HistoryHandlers(PartHandlers):
    """The lists of alarms and of events, and their downloads."""

    route_roles: ClassVar = {
        f"/history{path}.{ending}": Role.MANAGER for path in ("", "/events") for ending in ("csv", "xlsx")
    }

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._lock = asyncio.Lock()
        """One query after the other, as each takes a while."""

    def routes(self) -> list[Route]:
        return [
            route
            for path, subject in (("/history", ALARMS), ("/history/events", EVENTS))
            for route in (
                Route(path, self._answer(self._page, subject)),
                Route(f"{path}.csv", self._answer(self._csv, subject)),
                Route(f"{path}.xlsx", self._answer(self._workbook, subject)),
            )
        ]

    def _answer(
        self, handler: Callable[[Request, Subject, HistoryQuery, HistoryNames], Any], subject: Subject
    ) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            names = HistoryNames(self._context.settings, request_language(request))
            query = parse_query(
                request.query_params, self._today(names.zone), subject.kinds, names.devices().keys()
            )
            response: Response = await handler(request, subject, query, names)
            return response

        return answer

    def _today(self, zone: ZoneInfo) -> date:
        return datetime.fromtimestamp(self._context.clock.now().wall_ms / 1000, zone).date()

    async def _page(
        self, request: Request, subject: Subject, query: HistoryQuery, names: HistoryNames
    ) -> Response:
        listing, problems = Listing([], "", 0, ""), list(query.problems)
        if not problems:
            try:
                async with self._lock:
                    listing = await self._listing(subject, query, names)
            except JournalFailed as failure:
                problems = [unreadable(failure)]
        return self._context.page_response(
            request,
            "history",
            f"safety/history-{subject.name}.html",
            422 if query.problems else 200,
            query=query.link(before=position_text(query.before) if query.before else ""),
            question=query,
            listing=listing,
            problems=[translate(names.lang, each["sentence"], **each["facts"]) for each in problems],
            kinds=subject.kinds,
            devices=names.devices(),
            today=self._today(names.zone),
            may_export=request.state.role.includes(Role.MANAGER),
        )

    async def _listing(self, subject: Subject, query: HistoryQuery, names: HistoryNames) -> Listing:
        entries: list[Any] = []
        async with (
            History.open(self._context.settings.journal) as history,
            aclosing(subject.entries(history, query, names.zone)) as found,
        ):
            async for entry in found:
                entries.append(entry)
                if len(entries) > ROWS_PER_PAGE:
                    break
            is_more = len(entries) > ROWS_PER_PAGE
            stopped = "" if is_more or history.scanned_until is None else names.time(history.scanned_until)
            shown = entries[:ROWS_PER_PAGE]
            older = position_text(shown[-1].pos) if is_more else ""
            rows = [subject.row(entry, names) for entry in shown]
            return Listing(rows, older, history.undated, stopped)

    async def _csv(
        self, request: Request, subject: Subject, query: HistoryQuery, names: HistoryNames
    ) -> Response:
        if query.problems:
            return refused(request, query.problems[0])
        try:
            async with History.open(self._context.settings.journal):
                pass
        except JournalFailed as failure:
            return refused(request, unreadable(failure), 503)
        return StreamingResponse(
            self._csv_pieces(subject, query, names),
            media_type="text/csv",
            headers={"content-disposition": f'attachment; filename="{_file_name(subject, query)}.csv"'},
        )

    async def _csv_pieces(
        self, subject: Subject, query: HistoryQuery, names: HistoryNames
    ) -> AsyncIterator[str]:
        rows: list[list[Cell]] = [list(_heads(subject, names))]
        start = BOM

        def piece() -> str:
            nonlocal start
            text = start + "".join(as_csv(rows)).removeprefix(BOM)
            start = ""
            rows.clear()
            return text

        async with (
            History.open(self._context.settings.journal, sys.maxsize) as history,
            aclosing(subject.entries(history, query, names.zone)) as found,
        ):
            async for entry in found:
                rows.append(subject.cells(entry, names))
                if len(rows) >= ROWS_PER_PIECE:
                    yield piece()
        yield piece()

    async def _workbook(
        self, request: Request, subject: Subject, query: HistoryQuery, names: HistoryNames
    ) -> Response:
        if query.problems:
            return refused(request, query.problems[0])
        return await workbook_response(
            request, history_workbook, subject, query, self._context.settings, names.lang
        )


def history_workbook(
    subject: Subject, query: HistoryQuery, settings: Settings, lang: str
) -> Workbook | Sentence:
    """What a query admits, as a workbook; or why the history cannot be read."""
    names = HistoryNames(settings, lang)
    title = names.text(subject.name)
    try:
        rows = asyncio.run(_workbook_rows(subject, query, settings, names))
    except JournalFailed as failure:
        return unreadable(failure)
    table = ReportTable(subject.name, title, _heads(subject, names), rows)
    return Workbook(_file_name(subject, query), title, [table])


async def _workbook_rows(
    subject: Subject, query: HistoryQuery, settings: Settings, names: HistoryNames
) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    async with (
        History.open(settings.journal) as history,
        aclosing(subject.entries(history, query, names.zone)) as found,
    ):
        async for entry in found:
            if len(rows) == MAX_WORKBOOK_ROWS:
                rows.append([names.text("workbook-cut", most=MAX_WORKBOOK_ROWS)])
                break
            rows.append(subject.cells(entry, names))
        if history.scanned_until is not None:
            rows.append([names.text("stopped", time=names.time(history.scanned_until))])
    return rows


def unreadable(failure: JournalFailed) -> Sentence:
    """Why there is no history now."""
    return sentence("history.unreadable", reason=sentence(f"cause.{failure.cause}"))


def refused(request: Request, problem: Sentence, status: int = 422) -> Response:
    """A download that is not given, and why."""
    text = translate(request_language(request), problem["sentence"], **problem["facts"])
    return PlainTextResponse(text, status)


def _heads(subject: Subject, names: HistoryNames) -> list[str]:
    return [names.text(f"head-{head}") for head in subject.heads]


def _file_name(subject: Subject, query: HistoryQuery) -> str:
    return f"{subject.name}-{query.since}-{query.until}"
