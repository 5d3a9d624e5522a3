"""The pages of residents' needs: the form, and the desk of those who see to them."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import uuid
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.base import control
from gateway.base.control import DaemonNotRunning
from gateway.capabilities.needs.particulars import LIMITS, fields_of, problems
from gateway.capabilities.needs.passes import COOKIE, KIOSK, PHONE, REACH, Passes
from gateway.capabilities.needs.rows import read_rows
from gateway.capabilities.needs.services import OPEN, OUTCOMES, Need, Reception, State
from gateway.capabilities.needs.statistics import (
    category_of,
    figures,
    grouped,
    month_of,
    newest_first,
    table,
    title_of,
)
from gateway.journal import JournalFailed
from gateway.model import GatewayError
from gateway.web.access import BRIEF, KEPT
from gateway.web.access import COOKIE as SESSION
from gateway.web.qr import svg
from gateway.web.requests import NAMELESS, body_of, language, remember, set_cookie
from gateway.web.spreadsheet import as_csv
from gateway.words import translate

from .pages import NEEDS, Pages
from .watch import Watch

IDLE = 60
"""Seconds after which a kiosk forgets what was typed."""
SHOWN = 200
"""Needs that one page lists."""
DESK = "desk"
STEPS = ("accept", "refer", "done", "close", "withdraw", "reopen", "change", "note", "correct", "erase")
Form = Mapping[str, str]


class NeedsPages:
    """The handlers. Who has a session is at the desk; who has a pass may register."""

    def __init__(self, pages: Pages, watch: Watch, passes: Passes) -> None:
        self._pages = pages
        self._watch = watch
        self._passes = passes

    def routes(self) -> list[Route]:
        """Those of the form, then those of the desk."""
        return [
            Route("/need", self._need, methods=["GET", "POST"]),
            Route("/need/state", self._state, methods=["POST"]),
            Route("/need/qr.svg", self._qr),
            Route("/needs", self._list),
            Route("/needs.csv", self._csv),
            Route("/needs/kiosk", self._become_kiosk, methods=["POST"]),
            Route("/needs/{number}", self._one, methods=["GET", "POST"]),
            Route("/needs/{number}/particulars", self._particulars, methods=["POST"]),
        ]

    def admits(self, request: Request) -> bool:
        """Whether a request without a session may go on, for it has a pass or brings one."""
        path, method = request.url.path, request.method.replace("HEAD", "GET")
        channel = request.state.channel = self._passes.channel(request.cookies.get(COOKIE))
        arriving = path == "/need" and method == "GET" and "pass" in request.query_params
        return arriving or f"{method} {path}" in REACH.get(channel or "", ())

    def expired(self, request: Request) -> Response:
        """The pass is too old, or there was none."""
        return self._plain(request, "need-expired.html", 401)

    def _channel(self, request: Request) -> str:
        return DESK if request.state.person is not None else request.state.channel or PHONE

    @property
    def _reception(self) -> Reception | None:
        return self._watch.settings.reception

    async def _need(self, request: Request) -> Response:
        if "pass" in request.query_params:
            return self._admit(request, request.query_params["pass"])
        if self._reception is None:
            return self._plain(request, "need-off.html", 404)
        if request.method == "POST":
            return await self._register(request, self._reception)
        return self._form(request, {})

    def _admit(self, request: Request, token: str) -> Response:
        """Exchange the pass in the address for a cookie."""
        channel = self._passes.channel(token)
        if channel is None:
            return self.expired(request)
        response = RedirectResponse("/need", 303)
        set_cookie(request, response, COOKIE, token, BRIEF if channel == PHONE else KEPT)
        return response

    async def _register(self, request: Request, reception: Reception) -> Response:
        given = await _form_of(request)
        channel, lang = self._channel(request), language(request)
        fields = fields_of(given)
        wrong = problems(fields)
        if given.get("category") not in reception.categories:
            wrong["category"] = "need-category"
        if not given.get("consent"):
            wrong["consent"] = "need-consent"
        if wrong:
            return self._form(request, given, wrong, status=422)
        if wait := self._passes.wait(channel, _address(request), reception.phone_per_hour):
            problem = translate(lang, "need.wait", minutes=-(-wait // 60))
            response = self._form(request, given, problem=problem, status=429)
            response.headers["retry-after"] = str(wait)
            return response
        self._passes.registering(channel, _address(request))
        try:
            answer = await self._call(
                "need-register",
                **fields,
                category=given["category"],
                channel=channel,
                once=given.get("once", ""),
                by=request.state.person or channel,
            )
        except GatewayError as error:
            self._passes.failed(channel, _address(request))
            return self._form(request, given, problem=_sentence(lang, error), status=503)
        return self._plain(request, "need-receipt.html", number=answer["id"])

    def _form(
        self,
        request: Request,
        given: Form,
        wrong: Mapping[str, str] = {},
        problem: str = "",
        status: int = 200,
        asked: Mapping[str, Any] | None = None,
    ) -> Response:
        channel = self._channel(request)
        return self._plain(
            request, "need-form.html", status, given=given, wrong=wrong, problem=problem, asked=asked,
            once=given.get("once") or uuid.uuid4().hex, limits=LIMITS,
            wrong_names=[translate(language(request), f"need.field-{name}") for name in wrong],
            qr=channel == KIOSK and self._form_address(request),
        )  # fmt: skip

    async def _state(self, request: Request) -> Response:
        """Where the need of a receipt stands."""
        lang, address = language(request), _address(request)
        typed = (await _form_of(request)).get("number", "")
        number = "".join(digit for digit in typed if digit.isdecimal() and digit.isascii())
        if wait := self._passes.wait_to_ask(address):
            asked = {"number": number, "problem": translate(lang, "need.wait", minutes=-(-wait // 60))}
            return self._form(request, {}, asked=asked, status=429)
        self._passes.asking(address)
        need = (await self._rows()).get(number)
        if need is None:
            asked = {"number": number, "problem": translate(lang, "error.need-unknown")}
            return self._form(request, {}, asked=asked, status=404)
        self._passes.answered(address)
        return self._form(request, {}, asked={"number": number, "need": need, "problem": ""})

    async def _qr(self, request: Request) -> Response:
        """The way to the form for a phone, with a fresh pass in it."""
        address = self._form_address(request)
        if not address:
            return Response(status_code=404)
        return Response(svg(f"{address}/need?pass={self._passes.issue(PHONE)}"), media_type="image/svg+xml")

    def _form_address(self, request: Request) -> str:
        """Where phones reach us; empty when they do not, or may not register."""
        if self._reception is None or not self._reception.phone_per_hour:
            return ""
        if self._reception.address:
            return self._reception.address
        address = f"{request.url.scheme}://{request.headers.get('host', '')}"
        return "" if _is_here(address) else address

    async def _list(self, request: Request) -> Response:
        rows = newest_first(await self._rows())
        needs = [need for _, need in rows]
        shown = self._chosen(request, rows, "open")
        zone = self._zone
        return self._page(
            request,
            "needs.html",
            chosen=_filters(request, "open"),
            query=request.url.query,
            needs=shown[:SHOWN],
            count=len(shown),
            states=State,
            all=figures(needs),
            by_state={state: sum(need.state is state for need in needs) for state in State},
            by_category=grouped(needs, lambda need: need.category),
            by_month=dict(reversed(grouped(needs, lambda need: month_of(need, zone)).items())),
            qr=self._form_address(request),
        )

    async def _csv(self, request: Request) -> Response:
        shown = self._chosen(request, newest_first(await self._rows()), "")
        text = "".join(as_csv(table(shown, self._reception, language(request), self._zone)))
        today = datetime.fromtimestamp(self._watch.now() / 1000, self._zone).date()
        disposition = f'attachment; filename="needs-{today}.csv"'
        return Response(text, media_type="text/csv", headers={"content-disposition": disposition})

    def _chosen(
        self, request: Request, rows: list[tuple[str, Need]], otherwise: str
    ) -> list[tuple[str, Need]]:
        """The needs that the address asks for."""
        wanted = _filters(request, otherwise)
        return [(number, need) for number, need in rows if _matches(need, wanted)]

    async def _one(self, request: Request) -> Response:
        number = request.path_params["number"]
        if request.method == "GET":
            return await self._show(request, number)
        given, lang = await _form_of(request), language(request)
        try:
            action, args = self._wish(given)
            note, fields = given.get("note", ""), fields_of(given)
            # Said here already: what is far too long does not even reach the daemon.
            wrong = problems(fields) if action == "need-correct" else {}
            if wrong or len(note) > LIMITS["text"]:
                raise GatewayError(next(iter(wrong.values()), "need-long"))
            await self._call(
                "need-update", action=action, args={"id": number, **args}, note=note,
                fields=fields if action == "need-correct" else {}, by=request.state.person,
            )  # fmt: skip
        except GatewayError as error:
            return await self._show(
                request, number, given=given, problem=_sentence(lang, error), status=409
            )
        return RedirectResponse(f"/needs/{number}?done={action.removeprefix('need-')}", 303)

    def _wish(self, given: Form) -> tuple[str, dict[str, Any]]:
        """What a form of the desk asks for. Raises `GatewayError`."""
        step = given.get("step", "")
        if step not in STEPS:
            raise GatewayError("command-form", reason="step")
        args: dict[str, Any] = {
            name: given[name] for name in ("owner", "to", "outcome", "category") if given.get(name)
        }
        if given.get("satisfaction"):
            args["satisfaction"] = int(given["satisfaction"]) if given["satisfaction"] in "12345" else -1
        if given.get("due"):
            try:
                day = date.fromisoformat(given["due"])
                end = datetime.combine(day + timedelta(days=1), time(), self._zone)
            except (ValueError, OverflowError) as error:
                raise GatewayError("need-due") from error
            args["due"] = round(end.timestamp() * 1000) - 1
        return f"need-{step}", args

    async def _particulars(self, request: Request) -> Response:
        """What a person said, shown once; that it was looked at is on record."""
        number, lang = request.path_params["number"], language(request)
        try:
            if request.state.person == NAMELESS:
                raise GatewayError("need-nameless")
            said = await self._call("need-particulars", id=number, by=request.state.person)
        except GatewayError as error:
            return await self._show(request, number, problem=_sentence(lang, error), status=409)
        return await self._show(request, number, said=said)

    async def _show(self, request: Request, number: str, status: int = 200, **more: Any) -> Response:
        need = (await self._rows()).get(number)
        if need is None:
            return self._page(request, "need-one.html", 404, number=number, need=None)
        facts = {"said": None, "given": {}, "problem": "", "outcomes": OUTCOMES, "OPEN": OPEN, **more}
        done = request.query_params.get("done", "")
        told = done if done in STEPS else ""
        return self._page(request, "need-one.html", status, number=number, need=need, done=told, **facts)

    async def _become_kiosk(self, request: Request) -> Response:
        """This screen is for everybody from now on: it keeps nothing but the pass to the form."""
        response = RedirectResponse("/need", 303)
        set_cookie(request, response, COOKIE, self._passes.issue(KIOSK))
        response.delete_cookie(SESSION)
        return response

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._watch.settings.timezone)

    async def _rows(self) -> Mapping[str, Need]:
        with contextlib.suppress(JournalFailed):
            return await read_rows(self._watch.settings.journal)
        return {}

    async def _call(self, name: str, /, **request: Any) -> dict[str, Any]:
        return await control.call(self._watch.settings.control, name, **request)

    def _words(self, lang: str) -> dict[str, Any]:
        reception = self._reception
        return {
            "reception": reception,
            "category": functools.partial(_category, reception, lang),
            "owner": lambda name: title_of(reception.owners if reception else {}, name, lang),
            "referral": lambda name: title_of(reception.referrals if reception else {}, name, lang),
            "day": lambda at: datetime.fromtimestamp(at / 1000, self._zone).date().isoformat(),
        }

    def _plain(self, request: Request, template: str, status: int = 200, **facts: Any) -> Response:
        """A page for residents."""
        lang = language(request)
        channel = self._channel(request)
        more = {"channel": channel, "idle": IDLE if channel == KIOSK else 0, **self._words(lang), **facts}
        return remember(request, lang, HTMLResponse(self._pages.plain(template, lang, **more), status))

    def _page(self, request: Request, template: str, status: int = 200, **facts: Any) -> Response:
        """A page of the dashboard."""
        lang = language(request)
        more = {**self._words(lang), **facts}
        html = self._pages.page(NEEDS, self._watch.view, lang, self._watch.now(), template, **more)
        return remember(request, lang, HTMLResponse(html, status))


def _filters(request: Request, state: str) -> dict[str, str]:
    query = request.query_params
    return {
        "state": query.get("state", state),
        **{name: query.get(name, "") for name in ("category", "owner", "overdue")},
    }


def _matches(need: Need, wanted: Mapping[str, str]) -> bool:
    state = wanted["state"]
    return (
        state in ("", need.state, "open" if need.state in OPEN else "")
        and wanted["category"] in ("", need.category)
        and wanted["owner"] in ("", need.owner)
        and (need.overdue or not wanted["overdue"])
    )


def _category(reception: Reception | None, lang: str, name: str) -> str:
    return category_of(reception, name, lang)


def _sentence(lang: str, error: GatewayError) -> str:
    if isinstance(error, DaemonNotRunning):
        return translate(lang, "need.away")
    return translate(lang, f"error.{error.key}", **error.facts)


async def _form_of(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    body = (await body_of(request)).decode("utf-8", "replace")
    try:
        return {name: values[0] for name, values in parse_qs(body, max_num_fields=32).items()}
    except ValueError:
        return {}


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _is_here(address: str) -> bool:
    """Whether it leads to this machine alone, or nowhere."""
    host = ""
    try:
        host = urlsplit(address).hostname or ""
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in {"", "localhost"}
