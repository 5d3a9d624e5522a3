"""The routes of residents' needs: the form for residents, and the list for staff."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import uuid
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.base import control
from gateway.base.control import DaemonNotRunning
from gateway.base.security import SECURITY_LOG
from gateway.capabilities.needs.notices import shown_notices
from gateway.capabilities.needs.particulars import MAX_LENGTHS, field_errors, normalized_fields
from gateway.capabilities.needs.rows import read_rows
from gateway.capabilities.needs.services import OPEN_STATES, OUTCOMES, Need, NeedState, Reception
from gateway.capabilities.needs.statistics import (
    category_title,
    figures_by_group,
    localized_title,
    month_registered,
    needs_figures,
    needs_table,
    newest_first,
)
from gateway.journal import JournalFailed
from gateway.model import GatewayError, Role, sentence
from gateway.web.access import SESSION_COOKIE, SESSION_LIFETIME_S
from gateway.web.icons import RESIDENT_HEROICONS, icon_symbols
from gateway.web.part import PageContext, PartHandlers
from gateway.web.qr import svg
from gateway.web.requests import ANONYMOUS_PERSON, client_address, read_form, request_language, set_cookie
from gateway.web.spreadsheet import as_csv
from gateway.words import translate

from .passes import ALLOWED_REQUESTS, COOKIE_NAME, KIOSK, PHONE, PHONE_LIFETIME_S, Passes
from .view import NeedsSettings

KIOSK_IDLE_S = 180
"""A kiosk forgets everything after this time without a touch."""
ELDER_CATEGORIES = 6
"""How many categories the elder mode offers: the first ones, and the last."""
SCREENS = ("start", "category", "text", "contact", "consent", "ask")
"""The questions of the kiosk, one on each screen."""
SCREEN_OF_FIELD = {"category": "category", "text": "text", "name": "contact", "phone": "contact",
                   "consent": "consent"}  # fmt: skip
MAX_LISTED = 200
"""Needs per page of the list."""
DESK_CHANNEL = "desk"
STEP_NAMES = (
    "accept",
    "refer",
    "done",
    "close",
    "withdraw",
    "reopen",
    "change",
    "note",
    "correct",
    "erase",
)
FormFields = Mapping[str, str]


class NeedsHandlers(PartHandlers):
    """A person with a session is staff; a resident with a pass may register a need."""

    route_roles: ClassVar = {
        "/need": Role.DUTY,
        "/need/state": Role.DUTY,
        "/need/qr.svg": Role.DISPLAY,
        "/needs.csv": Role.MANAGER,
    }

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._passes = Passes(context.access, context.clock.mono)

    def routes(self) -> list[Route]:
        """Those of the form, then those for staff."""
        return [
            Route("/need", self._form_page, methods=["GET", "POST"]),
            Route("/need/state", self._receipt_state, methods=["POST"]),
            Route("/need/qr.svg", self._qr_code),
            Route("/needs", self._list_page),
            Route("/needs.csv", self._csv_download),
            Route("/needs/kiosk", self._become_kiosk, methods=["POST"]),
            Route("/needs/{number}", self._need_page, methods=["GET", "POST"]),
            Route("/needs/{number}/particulars", self._show_particulars, methods=["POST"]),
        ]

    def is_allowed_without_session(self, request: Request) -> bool:
        """Whether a request without a session has a pass, in a cookie or its address."""
        path, method = request.scope["path"], request.method.replace("HEAD", "GET")
        channel = request.state.channel = self._passes.pass_channel(request.cookies.get(COOKIE_NAME))
        arriving = path == "/need" and method == "GET" and "pass" in request.query_params
        return arriving or f"{method} {path}" in ALLOWED_REQUESTS.get(channel or "", ())

    def rejection_response(self, request: Request) -> Response | None:
        return self._expired_response(request) if request.scope["path"] == "/need" else None

    def _expired_response(self, request: Request) -> Response:
        """A page that says that the pass is missing or too old, for paths that need one."""
        return self._resident_page(request, "need-expired.html", 401)

    def _request_channel(self, request: Request) -> str:
        return DESK_CHANNEL if request.state.person is not None else request.state.channel or PHONE

    @property
    def _settings(self) -> NeedsSettings:
        settings: NeedsSettings = self._context.settings.parts["needs"]
        return settings

    @property
    def _reception(self) -> Reception | None:
        return self._settings.reception

    async def _form_page(self, request: Request) -> Response:
        if "pass" in request.query_params:
            return self._accept_pass(request, request.query_params["pass"])
        if self._reception is None:
            return self._resident_page(request, "need-off.html", 404)
        if request.method == "POST":
            return await self._register(request, self._reception)
        return self._form_response(request, {})

    def _accept_pass(self, request: Request, token: str) -> Response:
        """Exchange the pass in the address for a cookie."""
        channel = self._passes.pass_channel(token)
        if channel is None:
            return self._expired_response(request)
        lifetime_s = PHONE_LIFETIME_S if channel == PHONE else SESSION_LIFETIME_S
        response = RedirectResponse("/need", 303)
        set_cookie(request, response, COOKIE_NAME, token, lifetime_s)
        return response

    async def _register(self, request: Request, reception: Reception) -> Response:
        given = await read_form(request)
        if "show" in given:  # The kiosk changes its language or mode, and keeps what was typed.
            return self._form_response(request, given, screen=given["show"])
        channel, lang = self._request_channel(request), request_language(request)
        fields = normalized_fields(given)
        wrong = field_errors(fields)
        if given.get("category") not in reception.categories:
            wrong["category"] = "need-category"
        if not given.get("consent"):
            wrong["consent"] = "need-consent"
        if wrong:
            return self._form_response(request, given, wrong, status=422)
        if wait_s := self._passes.registration_wait_s(
            channel, client_address(request), reception.phone_per_hour
        ):
            SECURITY_LOG.add("too-often", client_address(request))
            problem = translate(lang, "need.wait", minutes=-(-wait_s // 60))
            response = self._form_response(request, given, problem=problem, status=429)
            response.headers["retry-after"] = str(wait_s)
            return response
        self._passes.count_registration(channel, client_address(request))
        try:
            answer = await self._call_daemon(
                "need-register",
                **fields,
                category=given["category"],
                channel=channel,
                once=given.get("once", ""),
                by=request.state.person or channel,
            )
        except GatewayError as error:
            self._passes.uncount_registration(channel, client_address(request))
            return self._form_response(request, given, problem=_error_sentence(lang, error), status=503)
        return self._resident_page(request, "need-receipt.html", number=answer["id"])

    def _form_response(
        self,
        request: Request,
        typed_fields: FormFields,
        wrong_fields: Mapping[str, str] = {},
        problem: str = "",
        status: int = 200,
        lookup: Mapping[str, Any] | None = None,
        screen: str = "",
    ) -> Response:
        channel = self._request_channel(request)
        now_ms = self._context.clock.now().wall_ms
        template = "need-kiosk.html" if channel == KIOSK else "need-form.html"
        return self._resident_page(
            request, template, status, given=typed_fields, wrong=wrong_fields, problem=problem,
            lookup=lookup,
            screen=_screen(screen, wrong_fields, problem=bool(problem), is_lookup=lookup is not None),
            notices=shown_notices(self._settings.notices, now_ms, str(self._zone)),
            once=typed_fields.get("once") or uuid.uuid4().hex, limits=MAX_LENGTHS,
            wrong_names=[
                translate(request_language(request), f"need.field-{name}") for name in wrong_fields
            ],
            qr=channel == KIOSK and self._form_address(request),
        )  # fmt: skip

    async def _receipt_state(self, request: Request) -> Response:
        """The progress of the need with the number of a receipt."""
        lang, address = request_language(request), client_address(request)
        typed = (await read_form(request)).get("number", "")
        number = "".join(digit for digit in typed if digit.isdecimal() and digit.isascii())
        if wait_s := self._passes.lookup_wait_s(address):
            SECURITY_LOG.add("too-often", address)
            lookup = {"number": number, "problem": translate(lang, "need.wait", minutes=-(-wait_s // 60))}
            return self._form_response(request, {}, lookup=lookup, status=429)
        self._passes.count_lookup(address)
        need = (await self._rows()).get(number)
        if need is None:
            lookup = {"number": number, "problem": translate(lang, "error.need-unknown")}
            return self._form_response(request, {}, lookup=lookup, status=404)
        self._passes.uncount_lookup(address)
        return self._form_response(request, {}, lookup={"number": number, "need": need, "problem": ""})

    async def _qr_code(self, request: Request) -> Response:
        """The QR code of the form's address with a new pass."""
        address = self._form_address(request)
        if not address:
            return Response(status_code=404)
        return Response(
            svg(f"{address}/need?pass={self._passes.issue_pass(PHONE)}"), media_type="image/svg+xml"
        )

    def _form_address(self, request: Request) -> str:
        """The address for phones; empty if there is none, or phones may not register."""
        if self._reception is None or not self._reception.phone_per_hour:
            return ""
        if self._reception.address:
            return self._reception.address
        address = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
        return "" if _is_loopback(address) else address

    async def _list_page(self, request: Request) -> Response:
        rows = newest_first(await self._rows())
        needs = [need for _, need in rows]
        shown = self._filtered_needs(request, rows, "open")
        zone = self._zone
        return self._dashboard_page(
            request,
            "needs.html",
            chosen=_filters(request, "open"),
            query=request.scope["query_string"].decode("latin-1"),
            needs=shown[:MAX_LISTED],
            count=len(shown),
            states=NeedState,
            all=needs_figures(needs),
            by_state={state: sum(need.state is state for need in needs) for state in NeedState},
            by_category=figures_by_group(needs, lambda need: need.category),
            by_month=dict(
                reversed(figures_by_group(needs, lambda need: month_registered(need, zone)).items())
            ),
            qr=self._form_address(request),
        )

    async def _csv_download(self, request: Request) -> Response:
        shown = self._filtered_needs(request, newest_first(await self._rows()), "")
        text = "".join(as_csv(needs_table(shown, self._reception, request_language(request), self._zone)))
        today = datetime.fromtimestamp(self._context.clock.now().wall_ms / 1000, self._zone).date()
        disposition = f'attachment; filename="needs-{today}.csv"'
        return Response(text, media_type="text/csv", headers={"content-disposition": disposition})

    def _filtered_needs(
        self, request: Request, rows: list[tuple[str, Need]], default_state: str
    ) -> list[tuple[str, Need]]:
        """The needs that the query selects."""
        filters = _filters(request, default_state)
        return [(number, need) for number, need in rows if _matches_filters(need, filters)]

    async def _need_page(self, request: Request) -> Response:
        number = request.path_params["number"]
        if request.method == "GET":
            return await self._need_response(request, number)
        given, lang = await read_form(request), request_language(request)
        try:
            action, args = self._parse_step(given)
            note, fields = given.get("note", ""), normalized_fields(given)
            # Checked here already, so that overlong text does not reach the daemon.
            wrong = field_errors(fields) if action == "need-correct" else {}
            if wrong or len(note) > MAX_LENGTHS["text"]:
                raise GatewayError(next(iter(wrong.values()), "need-long"))
            await self._call_daemon(
                "need-update", action=action, args={"id": number, **args}, note=note,
                fields=fields if action == "need-correct" else {}, by=request.state.person,
            )  # fmt: skip
        except GatewayError as error:
            return await self._need_response(
                request, number, given=given, problem=_error_sentence(lang, error), status=409
            )
        return RedirectResponse(f"/needs/{number}?done={action.removeprefix('need-')}", 303)

    def _parse_step(self, typed_fields: FormFields) -> tuple[str, dict[str, Any]]:
        """Execute a form of the staff's list. Raises `GatewayError`."""
        step = typed_fields.get("step", "")
        if step not in STEP_NAMES:
            raise GatewayError("command-form", reason=sentence("cause.field-wrong", where="step"))
        args: dict[str, Any] = {
            name: typed_fields[name]
            for name in ("owner", "to", "outcome", "category")
            if typed_fields.get(name)
        }
        if typed_fields.get("satisfaction"):
            args["satisfaction"] = (
                int(typed_fields["satisfaction"]) if typed_fields["satisfaction"] in "12345" else -1
            )
        if typed_fields.get("due"):
            try:
                day = date.fromisoformat(typed_fields["due"])
                end = datetime.combine(day + timedelta(days=1), time(), self._zone)
            except (ValueError, OverflowError) as error:
                raise GatewayError("need-due") from error
            args["due"] = round(end.timestamp() * 1000) - 1
        return f"need-{step}", args

    async def _show_particulars(self, request: Request) -> Response:
        """The particulars of a need, shown once; the access is recorded."""
        number, lang = request.path_params["number"], request_language(request)
        try:
            if request.state.person == ANONYMOUS_PERSON:
                raise GatewayError("need-nameless")
            particulars = await self._call_daemon("need-particulars", id=number, by=request.state.person)
        except GatewayError as error:
            return await self._need_response(
                request, number, problem=_error_sentence(lang, error), status=409
            )
        return await self._need_response(request, number, particulars=particulars)

    async def _need_response(
        self, request: Request, number: str, status: int = 200, **more: Any
    ) -> Response:
        need = (await self._rows()).get(number)
        if need is None:
            return self._dashboard_page(request, "need-one.html", 404, number=number, need=None)
        facts = {
            "particulars": None,
            "given": {},
            "problem": "",
            "outcomes": OUTCOMES,
            "OPEN": OPEN_STATES,
            **more,
        }
        step = request.query_params.get("done", "")
        done = step if step in STEP_NAMES else ""
        return self._dashboard_page(
            request, "need-one.html", status, number=number, need=need, done=done, **facts
        )

    async def _become_kiosk(self, request: Request) -> Response:
        """Turn this screen into a public kiosk: its session ends, and it keeps only a pass to the form."""
        await self._context.access.sessions.end([request.state.session])
        response = RedirectResponse("/need", 303)
        set_cookie(request, response, COOKIE_NAME, self._passes.issue_pass(KIOSK))
        response.delete_cookie(SESSION_COOKIE)
        return response

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._context.settings.timezone)

    async def _rows(self) -> Mapping[str, Need]:
        with contextlib.suppress(JournalFailed):
            return await read_rows(self._context.settings.journal)
        return {}

    async def _call_daemon(self, name: str, /, **request: Any) -> dict[str, Any]:
        return await control.call_daemon(self._context.settings.control, name, **request)

    def _template_facts(self, lang: str) -> dict[str, Any]:
        reception = self._reception
        return {
            "reception": reception,
            "category": functools.partial(_category, reception, lang),
            "owner": lambda name: localized_title(reception.owners if reception else {}, name, lang),
            "referral": lambda name: localized_title(reception.referrals if reception else {}, name, lang),
            "day": lambda at: datetime.fromtimestamp(at / 1000, self._zone).date().isoformat(),
        }

    def _offered_categories(self, is_elder: bool) -> list[str]:
        names = list(self._reception.categories) if self._reception else []
        if is_elder and len(names) > ELDER_CATEGORIES:
            return [*names[: ELDER_CATEGORIES - 1], names[-1]]
        return names

    def _resident_page(self, request: Request, template: str, status: int = 200, **facts: Any) -> Response:
        """A page for residents."""
        channel = self._request_channel(request)
        idle_s = KIOSK_IDLE_S if channel == KIOSK else 0
        is_kiosk = channel == KIOSK
        is_elder = is_kiosk and "elder" in request.query_params
        shared = {
            "channel": channel,
            "idle_s": idle_s,
            "elder": is_elder,
            "offered": self._offered_categories(is_elder),
            "symbols": icon_symbols(for_residents=True) if is_kiosk else "",
            "category_icon": lambda name: name if name in RESIDENT_HEROICONS else "other",
            **self._template_facts(request_language(request)),
        }
        return self._context.plain_page_response(request, f"needs/{template}", status, **shared, **facts)

    def _dashboard_page(self, request: Request, template: str, status: int = 200, **facts: Any) -> Response:
        """A page of the dashboard, for staff."""
        shared = self._template_facts(request_language(request))
        return self._context.page_response(request, "needs", f"needs/{template}", status, **shared, **facts)


def _screen(wanted: str, wrong_fields: Mapping[str, str], *, problem: bool, is_lookup: bool) -> str:
    """The question that the kiosk asks next: the first that was answered wrongly."""
    wrong = {SCREEN_OF_FIELD.get(name, "") for name in wrong_fields}
    if is_lookup:
        return "ask"
    if problem:
        return "consent"
    return next((each for each in SCREENS if each in wrong), wanted if wanted in SCREENS else SCREENS[0])


def _filters(request: Request, state: str) -> dict[str, str]:
    query = request.query_params
    return {
        "state": query.get("state", state),
        **{name: query.get(name, "") for name in ("category", "owner", "overdue")},
    }


def _matches_filters(need: Need, filters: Mapping[str, str]) -> bool:
    state = filters["state"]
    return (
        state in ("", need.state, "open" if need.state in OPEN_STATES else "")
        and filters["category"] in ("", need.category)
        and filters["owner"] in ("", need.owner)
        and (need.overdue or not filters["overdue"])
    )


def _category(reception: Reception | None, lang: str, name: str) -> str:
    return category_title(reception, name, lang)


def _error_sentence(lang: str, error: GatewayError) -> str:
    if isinstance(error, DaemonNotRunning):
        return translate(lang, "need.away")
    return translate(lang, f"error.{error.key}", **error.facts)


def _is_loopback(address: str) -> bool:
    """Whether an address is empty, or that of this machine only."""
    host = ""
    try:
        host = urlsplit(address).hostname or ""
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in {"", "localhost"}
