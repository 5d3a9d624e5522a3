"""The shift log: whoever is on duty takes over, writes, and hands over, each signed with a name."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.base import control
from gateway.base.control import DaemonNotRunning
from gateway.journal import JournalFailed, JournalReader
from gateway.model import GATEWAY_DEVICE, GatewayError, Sentence, sentence
from gateway.services.commands import CommandStatus
from gateway.web.part import PageContext, PartHandlers
from gateway.web.requests import ANONYMOUS_PERSON, read_form, request_language
from gateway.words import translate

from ..history.names import HistoryNames
from ..history.reading import History
from ..history.shift_report import ShiftReport, shift_report
from ..services.shift_log import COUNTED, LEFT_OPEN, MAX_TEXT_CHARACTERS, DutyShift, ShiftLog, current_shift
from .history import unreadable
from .view import SafetyView

STEPS = ("begin", "remark", "end", "amend")
COMMAND_LIFETIME_MS = 15_000
"""A signature that has not been recorded within this time is not recorded later."""
MAX_LISTED = 60
"""Shifts on the page."""
_ONCE = re.compile("[0-9a-f]{32}", re.ASCII)


class ShiftHandlers(PartHandlers):
    """The page of the current shift, and that of each shift."""

    signed_paths = frozenset({"/shifts", "/shifts/{number}"})

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._lock = asyncio.Lock()
        """One query after the other, as each takes a while."""

    def routes(self) -> list[Route]:
        return [
            Route("/shifts", self._list_page, methods=["GET", "POST"]),
            Route("/shifts/{number}", self._shift_page, methods=["GET", "POST"]),
        ]

    async def _list_page(self, request: Request) -> Response:
        problems: list[Sentence] = []
        typed: Mapping[str, str] = {}
        if request.method == "POST":
            typed = await read_form(request)
            problem = await self._take_step(request, typed, "")
            if problem is None:
                return RedirectResponse(f"/shifts?done={typed['step']}", 303)
            problems.append(problem)
        rows, unread = await self._rows()
        current = current_shift(rows)
        names = self._names(request)
        report, failure = await self._report(current[1], names) if current else (None, None)
        ended = sorted(
            ((key, shift) for key, shift in rows.items() if shift.ended is not None),
            key=lambda each: each[1].began.wall_ms,
            reverse=True,
        )
        return self._response(
            request,
            "shifts",
            [*problems, *filter(None, (unread, failure))],
            bool(problems),
            current=current[1] if current else None,
            counts={**(report.counts if report else {}), **self._left_open()},
            report=report,
            ended=[(key.partition("/")[2], shift) for key, shift in ended[:MAX_LISTED]],
            typed=typed,
        )

    async def _shift_page(self, request: Request) -> Response:
        number = request.path_params["number"]
        key = f"shift/{number}"
        rows, unread = await self._rows()
        if key not in rows:
            raise HTTPException(503 if unread else 404)
        problems: list[Sentence] = []
        typed: Mapping[str, str] = {}
        if request.method == "POST":
            typed = await read_form(request)
            problem = await self._take_step(request, typed, key)
            if problem is None:
                return RedirectResponse(f"/shifts/{number}?done={typed['step']}", 303)
            problems.append(problem)
        report, failure = await self._report(rows[key], self._names(request))
        return self._response(
            request,
            "shift",
            [*problems, *filter(None, (failure,))],
            bool(problems),
            number=number,
            shift=rows[key],
            report=report,
            typed=typed,
        )

    async def _take_step(self, request: Request, typed: Mapping[str, str], key: str) -> Sentence | None:
        """Have the daemon record a step; returns what is wrong."""
        step, text, person = typed.get("step", ""), _one_line(typed.get("text", "")), request.state.person
        if problem := _step_problem(step, text, person, is_ended=bool(key)):
            return problem
        args: dict[str, Any] = {"text": text}
        if step == "amend":
            args["shift"] = key
        if step == "end":
            args |= await self._counts(request)
        once = typed.get("once", "")
        try:
            answer = await control.call_daemon(
                self._context.settings.control,
                "command",
                id=once if _ONCE.fullmatch(once) else uuid.uuid4().hex,
                device=GATEWAY_DEVICE,
                action=f"shift-{step}",
                args=args,
                by=person,
                origin="dashboard",
                expires=self._context.clock.now().wall_ms + COMMAND_LIFETIME_MS,
            )
        except DaemonNotRunning:
            return sentence("shift.away")
        except GatewayError as error:
            return sentence(f"error.{error.key}", **error.facts)
        return None if answer.get("status") == CommandStatus.DONE else sentence(f"shift.refused-{step}")

    async def _counts(self, request: Request) -> dict[str, int]:
        """What the person who hands over has seen of the shift."""
        rows, _ = await self._rows()
        current = current_shift(rows)
        if current is None:
            return {}
        report, _ = await self._report(current[1], self._names(request))
        return {**report.counts, **self._left_open()} if report else self._left_open()

    def _left_open(self) -> dict[str, int]:
        """What is to be handed over now, by `LEFT_OPEN`."""
        part: SafetyView = self._context.view.parts["safety"]
        return dict(zip(LEFT_OPEN, map(len, (part.alarms, part.out, part.findings)), strict=True))

    async def _rows(self) -> tuple[dict[str, DutyShift], Sentence | None]:
        """The shifts by key, and why they cannot be read."""
        rows: dict[str, DutyShift] = {}
        try:
            async with JournalReader.open(self._context.settings.journal) as reader:
                found = await reader.service_rows(ShiftLog.name)
        except JournalFailed as failure:
            return {}, unreadable(failure)
        for key, body in found.items():
            with contextlib.suppress(msgspec.DecodeError):
                rows[key] = msgspec.msgpack.decode(body, type=DutyShift)
        return rows, None

    async def _report(
        self, shift: DutyShift, names: HistoryNames
    ) -> tuple[ShiftReport | None, Sentence | None]:
        """What happened in a shift, or why that cannot be told."""
        end = shift.ended or self._context.clock.now()
        if not (shift.began.is_set and end.is_set):
            return None, sentence("shift.undated")
        try:
            async with self._lock, History.open(self._context.settings.journal) as history:
                return await shift_report(history, shift.began.wall_ms, end.wall_ms + 1, names), None
        except JournalFailed as failure:
            return None, unreadable(failure)

    def _names(self, request: Request) -> HistoryNames:
        return HistoryNames(self._context.settings, request_language(request))

    def _response(
        self, request: Request, template: str, problems: list[Sentence], is_wrong: bool, **facts: Any
    ) -> Response:
        names = self._names(request)
        done = request.query_params.get("done", "")
        return self._context.page_response(
            request,
            "shifts",
            f"safety/{template}.html",
            422 if is_wrong else 200,
            problems=[translate(names.lang, each["sentence"], **each["facts"]) for each in problems],
            done=done if done in STEPS and not problems else "",
            me="" if request.state.person == ANONYMOUS_PERSON else request.state.person,
            names=names,
            counted=(*COUNTED, *LEFT_OPEN),
            most=MAX_TEXT_CHARACTERS,
            once=uuid.uuid4().hex,
            **facts,
        )


def _one_line(text: str) -> str:
    """What a person typed, without line breaks and superfluous spaces."""
    return " ".join(text.split())


def _step_problem(step: str, text: str, person: str, *, is_ended: bool) -> Sentence | None:
    """What is wrong with a step, before the daemon is asked."""
    if step not in STEPS or (step == "amend") != is_ended:
        return sentence("shift.wrong-step")
    if person == ANONYMOUS_PERSON:
        return sentence("shift.nameless")
    if len(text) > MAX_TEXT_CHARACTERS:
        return sentence("shift.too-long", most=MAX_TEXT_CHARACTERS)
    return sentence("shift.empty") if not text and step in ("remark", "amend") else None
