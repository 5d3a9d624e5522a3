"""The dashboard's routes. The only file, with the server's, that knows Starlette."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import control
from gateway.control import DaemonAway
from gateway.model import Clock, GatewayError
from gateway.services.commands import Status
from gateway.words import LANGUAGES, because, say

from .access import COOKIE, KEPT, Access
from .pages import Pages, word
from .settings import Settings, title
from .view import AlarmLine, View
from .watch import Watch

BODY = 65_536
BEAT = 15.0
"""Seconds of silence after which an event stream says that it is still there."""
EXPIRES = 15_000
"""Milliseconds in which a command must have begun: a click means now."""
NAME = 40
STATIC = str(files(__package__).joinpath("static"))

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: with it, browsers hide the origin of a form, which we check.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Acknowledge(msgspec.Struct, frozen=True, tag="acknowledge", tag_field="action"):
    """A person has seen an alarm."""

    alarm: str


class Reset(msgspec.Struct, frozen=True, tag="reset", tag_field="action"):
    """A person has made sure that an alarm is over."""

    alarm: str


class Open(msgspec.Struct, frozen=True, tag="open", tag_field="action"):
    """A person wants a compartment opened."""

    device: str
    lock: int


class Do(msgspec.Struct, frozen=True, tag="do", tag_field="action"):
    """A person wants a device to do something."""

    device: str
    name: str


class Gate:
    """Lets in whoever has a session; everybody may see the way in. Hardens every answer."""

    def __init__(self, app: ASGIApp, dashboard: Dashboard) -> None:
        self._app = app
        self._dashboard = dashboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._dashboard.refusal(Request(scope))
        await (refusal or self._app)(scope, receive, hardened)


class Dashboard:
    """The handlers, and what they share."""

    def __init__(self, settings: Settings, access: Access, clock: Clock) -> None:
        self._settings = settings
        self._access = access
        self._clock = clock
        self._pages = Pages(settings)
        self.watch = Watch(settings, clock)

    def application(self) -> Starlette:
        @contextlib.asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with self.watch.running():
                yield

        return Starlette(
            routes=[
                Route("/", self._home),
                Route("/login", self._login, methods=["POST"]),
                Route("/logout", self._logout, methods=["POST"]),
                Route("/events", self._events),
                Route("/command", self._command, methods=["POST"]),
                Route("/favicon.ico", _favicon),
                Mount("/static", StaticFiles(directory=STATIC)),
            ],
            middleware=[Middleware(Gate, dashboard=self)],
            lifespan=lifespan,
        )

    def refusal(self, request: Request) -> Response | None:
        """Why a request goes no further, if so."""
        if request.method not in {"GET", "HEAD"} and not same_origin(request.headers):
            return Response(status_code=403)
        path = request.url.path
        request.state.person = self._access.person(request.cookies.get(COOKIE))
        arriving = path == "/login" or (path == "/" and "key" in request.query_params)
        if request.state.person is not None or arriving or path == "/favicon.ico":
            return None
        return None if path.startswith("/static/") else self._ask_for_key(request, 401)

    def _ask_for_key(self, request: Request, status: int, problem: str = "") -> Response:
        lang = language(request)
        return _remember(request, lang, HTMLResponse(self._pages.login(lang, problem), status))

    def _enter(self, request: Request, key: str, name: str) -> Response:
        """Exchange a key for a session, and leave no key in the address bar."""
        lang = language(request)
        address = request.client.host if request.client else ""
        if wait := self._access.wait(address):
            refusal = self._ask_for_key(request, 429, say(lang, "dashboard.wait", seconds=wait))
            refusal.headers["retry-after"] = str(wait)
            return refusal
        if not self._access.admits(address, key):
            return self._ask_for_key(request, 401, say(lang, "dashboard.wrong-key"))
        name = "".join(filter(str.isprintable, name)).strip()[:NAME] or "dashboard"
        response = _remember(request, lang, RedirectResponse("/", 303))
        _set_cookie(request, response, COOKIE, self._access.session(name))
        return response

    async def _home(self, request: Request) -> Response:
        query = request.query_params
        if "key" in query:
            return self._enter(request, query["key"], query.get("name", ""))
        lang = language(request)
        page = self._pages.page(self.watch.view, lang, self.watch.now())
        return _remember(request, lang, HTMLResponse(page))

    async def _login(self, request: Request) -> Response:
        body = (await _body(request)).decode("utf-8", "replace")
        try:
            form = parse_qs(body, max_num_fields=8)
        except ValueError:
            return Response(status_code=400)
        return self._enter(request, form.get("key", [""])[0].strip(), form.get("name", [""])[0])

    async def _logout(self, _request: Request) -> Response:
        response = RedirectResponse("/", 303)
        response.delete_cookie(COOKIE)
        return response

    async def _events(self, request: Request) -> Response:
        return StreamingResponse(
            self._stream(language(request)),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )

    async def _stream(self, lang: str) -> AsyncIterator[bytes]:
        """All regions first, for the page may be older than the stream; then those that change."""
        seen: View | None = None
        sent: dict[str, str] = {}
        yield b"retry: 2000\n\n"
        while not self.watch.closed:
            if not await self.watch.changed(seen, BEAT):
                yield _event("beat", {"now": self.watch.now()})
                continue
            seen = self.watch.view
            regions = self._pages.regions(seen, lang)
            changed = {name: html for name, html in regions.items() if sent.get(name) != html}
            sent = regions
            heading = self._pages.heading(seen, lang)
            yield _event("view", {"now": self.watch.now(), "title": heading, "regions": changed})

    async def _command(self, request: Request) -> Response:
        lang = language(request)
        try:
            wish = msgspec.json.decode(await _body(request), type=Acknowledge | Reset | Open | Do)
        except ValueError:
            return Response(status_code=400)
        if isinstance(wish, Acknowledge | Reset):
            return await self._attend(request.state.person, lang, wish)
        if isinstance(wish, Do):
            return await self._do(request.state.person, lang, wish)
        return await self._open(request.state.person, lang, wish)

    async def _attend(self, person: str, lang: str, wish: Acknowledge | Reset) -> Response:
        action = type(wish).__struct_config__.tag
        alarm = next((alarm for alarm in self.watch.view.alarms if alarm.id == wish.alarm), None)
        if alarm is None:
            return _answer(404, "failed", say(lang, "dashboard.gone"))
        done = say(
            lang,
            f"dashboard.done-{action}",
            hazard=say(lang, f"hazard.{alarm.hazard}"),
            device=_title(alarm, lang),
        )
        return await self._send(person, lang, done, alarm.device, str(action), {"alarm": alarm.id})

    async def _open(self, person: str, lang: str, wish: Open) -> Response:
        cabinets = {cabinet.name: cabinet for cabinet in self.watch.view.cabinets}
        cabinet = cabinets.get(wish.device)
        if cabinet is None or wish.lock not in {cell.number for cell in cabinet.cells}:
            return Response(status_code=404)
        name = title(cabinet.title, lang, cabinet.name)
        done = say(lang, "dashboard.done-open", device=name, number=wish.lock)
        return await self._send(person, lang, done, cabinet.name, "open", {"lock": wish.lock})

    async def _do(self, person: str, lang: str, wish: Do) -> Response:
        cards = {card.name: card for card in self._settings.devices}
        card = cards.get(wish.device)
        if card is None or wish.name not in card.actions:
            return Response(status_code=404)
        name, action = title(card.title, lang, card.name), word(lang, "action", wish.name)
        done = say(lang, "dashboard.done-do", device=name, action=action)
        return await self._send(person, lang, done, card.name, wish.name, {})

    async def _send(
        self, person: str, lang: str, done: str, device: str, action: str, args: dict[str, Any]
    ) -> Response:
        """Ask the daemon, once, and say in words how it went."""
        try:
            answer = await control.call(
                self._settings.control,
                "command",
                id=uuid.uuid4().hex,
                device=device,
                action=action,
                args=args,
                by=person,
                origin="dashboard",
                expires=self._clock.now().wall + EXPIRES,
            )
        except DaemonAway:
            return _answer(503, "failed", say(lang, "dashboard.no-answer"))
        except GatewayError as error:
            if isinstance(error.__cause__, TimeoutError):
                return _answer(503, "unknown", say(lang, "dashboard.no-answer-late"))
            return _answer(200, "failed", say(lang, "dashboard.failed", reason=because(lang, error.key)))
        return _ended(lang, str(answer.get("status")), str(answer.get("detail") or "…"), done)


def _ended(lang: str, status: str, detail: str, done: str) -> Response:
    """What became of a command, in words."""
    if status == Status.DONE:
        return _answer(200, "done", done)
    if status == Status.ACCEPTED:
        return _answer(200, status, say(lang, "dashboard.accepted"))
    if status in {Status.FAILED, Status.DENIED}:
        return _answer(200, status, say(lang, f"dashboard.{status}", reason=because(lang, detail)))
    return _answer(200, "unknown", say(lang, "dashboard.command-unknown", reason=because(lang, detail)))


def same_origin(headers: Headers) -> bool:
    """Whether a page of ours sent this: browsers say so in one of two ways, strangers in none."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None and origin is None:
        return False
    return site in {None, "same-origin"} and (
        origin is None or urlsplit(origin).netloc == headers.get("host")
    )


def language(request: Request) -> str:
    """What was asked for, else what was last chosen, else what the browser likes best."""
    for choice in (request.query_params.get("lang"), request.cookies.get("lang")):
        if choice in LANGUAGES:
            return choice
    for part in request.headers.get("accept-language", "").split(","):
        choice = part.partition(";")[0].partition("-")[0].strip().lower()
        if choice in LANGUAGES:
            return choice
    return LANGUAGES[0]


def _remember(request: Request, lang: str, response: Response) -> Response:
    """Keep a language that was asked for."""
    if request.query_params.get("lang") == lang:
        _set_cookie(request, response, "lang", lang)
    return response


def _set_cookie(request: Request, response: Response, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=KEPT,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY:
            raise HTTPException(413)
    return body


async def _favicon(_request: Request) -> Response:
    return FileResponse(f"{STATIC}/icon.svg")


def _title(alarm: AlarmLine, lang: str) -> str:
    return title(alarm.title, lang, alarm.device)


def _answer(code: int, status: str, message: str) -> Response:
    return JSONResponse({"status": status, "message": message}, code)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))
