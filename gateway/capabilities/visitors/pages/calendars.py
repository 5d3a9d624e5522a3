"""Bookings for other programs, and calendars of other programs whose busy times hold a room."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.base import control
from gateway.base.security import SECURITY_LOG
from gateway.capabilities.visitors.services import ACTIVITY, MAX_ADVANCE_MS, MAX_DURATION_MS
from gateway.model import GATEWAY_DEVICE, GatewayError, Role
from gateway.scheduling import BookingState, Interval
from gateway.scheduling.content_lines import CalendarWrong
from gateway.scheduling.icalendar import BusyTimes, CalendarEvent, busy_times, calendar_text
from gateway.services.commands import CommandStatus
from gateway.web.part import PartHandlers
from gateway.web.requests import client_address, own_origin, read_body, read_form, request_language
from gateway.web.settings import title_in
from gateway.words import error_summary, translate

from ..feeds import Feed, FeedKind, Feeds
from .view import VisitorsView
from .visits import BookingRow

FEED_FOLDER = "/calendar/"
CALENDAR_ROLES = {FEED_FOLDER + "{file}": Role.DISPLAY, "/calendars/feed": Role.MANAGER}
MAX_CALENDAR_BYTES = 1 << 20
MAX_IMPORTED = 200
"""Busy times of one calendar."""
COMMAND_LIFETIME_MS = 15_000
HELD = frozenset({BookingState.BOOKED, BookingState.PRESENT, BookingState.ENDED, BookingState.NO_SHOW})
"""Bookings that other programs are told of."""


def is_feed(request: Request) -> bool:
    """Whether a request is for a feed: whoever knows its address may read it."""
    return str(request.scope["path"]).startswith(FEED_FOLDER)


class _Import(NamedTuple):
    """What an import changes, and what stands in its way, in words."""

    new: list[Interval]
    gone: list[BookingRow]
    problems: list[str]


class CalendarHandlers(PartHandlers):
    """`/calendars` with its forms, and the feeds."""

    feed_headers: ClassVar = {"X-Robots-Tag": "noindex"}

    def routes(self) -> list[Route]:
        return [
            Route(FEED_FOLDER + "{file}", self._feed),
            Route("/calendars", self._page),
            Route("/calendars/feed", self._change_feed, methods=["POST"]),
            Route("/calendars/import", self._import, methods=["POST"]),
        ]

    @property
    def _feeds(self) -> Feeds:
        return Feeds(self._context.settings.access)

    @property
    def _part(self) -> VisitorsView:
        part: VisitorsView = self._context.view.parts["visitors"]
        return part

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._context.settings.timezone)

    # Feeds

    async def _feed(self, request: Request) -> Response:
        name, is_calendar, rest = request.path_params["file"].partition(".ics")
        feed = await asyncio.to_thread(self._feeds.find, name) if is_calendar and not rest else None
        visits = self._part.visits
        if feed is None or feed.room not in visits.rooms:
            raise HTTPException(404)
        lang = request_language(request)
        site = title_in(self._context.settings.title, lang, "")
        title = f"{site} {title_in(visits.rooms[feed.room], lang, feed.room)}".strip()
        events = [
            CalendarEvent(
                f"{row.id.removeprefix('booking/')}.{row.made:x}@linli", row.since, row.until,
                _event_title(feed, row, lang), row.made or row.since,
            )
            for row in visits.bookings
            if row.room == feed.room and row.state in HELD
        ]  # fmt: skip
        text = calendar_text(title, events)
        return Response(text, media_type="text/calendar; charset=utf-8", headers=self.feed_headers)

    async def _change_feed(self, request: Request) -> Response:
        form = await read_form(request)
        room, kind = form.get("room", ""), form.get("kind", "")
        if room not in self._part.visits.rooms or kind not in list(FeedKind):
            raise HTTPException(400)
        change = self._feeds.remove if "remove" in form else self._feeds.renew
        await asyncio.to_thread(change, room, FeedKind(kind))
        SECURITY_LOG.add("feed-changed", client_address(request), by=request.state.person, device=room)
        return RedirectResponse("/calendars", 303)

    async def _page(self, request: Request) -> Response:
        feeds = await asyncio.to_thread(self._feeds.all)
        may_change = request.state.role.includes(Role.MANAGER)
        addresses = {
            (each.room, each.kind): f"{own_origin(request)}{FEED_FOLDER}{each.token}.ics" for each in feeds
        }
        visits = self._part.visits
        imported = sorted({(row.room, row.calendar) for row in visits.bookings if row.calendar})
        return self._context.page_response(
            request, "calendars", "visitors/calendars.html",
            rooms=visits.rooms, kinds=list(FeedKind), addresses=addresses if may_change else {},
            may_change=may_change, imported=imported,
        )  # fmt: skip

    # Import

    async def _import(self, request: Request) -> Response:
        lang, query = request_language(request), request.query_params
        data, room = await read_body(request, MAX_CALENDAR_BYTES), query.get("room", "")
        if room not in self._part.visits.rooms:
            raise HTTPException(400)
        now = self._context.clock.now().wall_ms
        try:
            busy = await asyncio.to_thread(_read, data, now, self._zone)
        except CalendarWrong as wrong:
            return _answer(422, translate(lang, "calendars.wrong", line=wrong.line))
        name = " ".join((query.get("name", "") or busy.name).split())[:60]
        if not name:
            return _answer(422, translate(lang, "calendars.name-missing"))
        found = self._compared(lang, room, name, busy, now)
        if len(found.new) > MAX_IMPORTED:
            return _answer(422, translate(lang, "calendars.many", count=len(found.new), most=MAX_IMPORTED))
        if found.problems and "skip" not in query:
            return _answer(422, translate(lang, "calendars.not-imported"), found.problems)
        problems = found.problems + await self._carry_out(request, room, name, found)
        facts = {"new": len(found.new), "gone": len(found.gone)}
        return _answer(200, translate(lang, "calendars.imported", **facts), problems)

    def _compared(self, lang: str, room: str, name: str, busy: BusyTimes, now: int) -> _Import:
        """A calendar and the bookings of the room: what is new, and what is no more in the calendar."""
        rows = [row for row in self._part.visits.bookings if row.room == room and row.takes_place]
        wanted = set(_parts(busy.intervals))
        own = [row for row in rows if row.calendar == name]
        others = [row for row in rows if row.calendar != name and not row.over]
        new, problems = [], []
        for each in sorted(wanted - {(row.since, row.until) for row in own}):
            taken = [row for row in others if row.since < each.until and row.until > each.since]
            if taken:
                when = self._time_text(each)
                problems.append(translate(lang, "calendars.taken", when=when, title=taken[0].title))
            else:
                new.append(each)
        problems += [
            translate(lang, f"calendars.unread-{each.reason}", title=each.title or "–", text=each.text)
            for each in busy.unread
        ]
        gone = [row for row in own if (row.since, row.until) not in wanted and row.since > now]
        return _Import(new, gone, problems)

    async def _carry_out(self, request: Request, room: str, name: str, found: _Import) -> list[str]:
        """Returns what went wrong, in words."""
        lang, problems = request_language(request), []
        commands: list[tuple[str, dict[str, object]]] = [
            ("cancel-booking", {"booking": row.id}) for row in found.gone
        ]
        for each in found.new:
            times = {"from": each.since, "until": each.until}
            about = {"title": name, "calendar": name, "class": ACTIVITY, "room": room}
            commands.append(("book", {**about, **times}))
        for action, arguments in commands:
            try:
                answer = await control.call_daemon(
                    self._context.settings.control, "command",
                    id=uuid.uuid4().hex, device=GATEWAY_DEVICE, action=action, args=arguments,
                    by=request.state.person, origin="dashboard",
                    expires=self._context.clock.now().wall_ms + COMMAND_LIFETIME_MS,
                )  # fmt: skip
                key, facts = str(answer.get("detail") or "…"), answer.get("facts", {})
                is_done = answer.get("status") == CommandStatus.DONE
            except GatewayError as error:
                key, facts, is_done = error.key, error.facts, False
            if not is_done:
                problems.append(error_summary(lang, key, facts))
        return list(dict.fromkeys(problems))

    def _time_text(self, interval: Interval) -> str:
        since, until = (datetime.fromtimestamp(at / 1000, self._zone) for at in interval)
        end = f"{until:%H:%M}" if until - since < timedelta(days=1) else f"{until:%m-%d %H:%M}"
        return f"{since:%Y-%m-%d %H:%M}–{end}"


def _read(data: bytes, now: int, zone: ZoneInfo) -> BusyTimes:
    """Raises `CalendarWrong`."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CalendarWrong(data[: error.start].count(b"\n") + 1) from error
    return busy_times(text, now, now + MAX_ADVANCE_MS, zone)


def _parts(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """Those that are longer than a booking may be, in parts."""
    for since, until in intervals:
        for start in range(since, until, MAX_DURATION_MS):
            yield Interval(start, min(until, start + MAX_DURATION_MS))


def _event_title(feed: Feed, row: BookingRow, lang: str) -> str:
    if feed.kind is FeedKind.PUBLIC:
        return translate(lang, "visits.booked")
    return f"{row.title} ({row.person})" if row.person else row.title


def _answer(status: int, message: str, problems: list[str] | None = None) -> Response:
    return JSONResponse({"message": message, "problems": problems or []}, status)
