"""The dashboard's routes."""

from __future__ import annotations

import contextlib
import functools
import operator
import re
import uuid
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
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

from gateway.base import control
from gateway.base.control import DaemonNotRunning
from gateway.base.security import SECURITY_LOG
from gateway.model import Clock, GatewayError, Role
from gateway.services.commands import CommandStatus
from gateway.web.access import SESSION_COOKIE, Access
from gateway.web.commands import CommandRequest, RequestContext
from gateway.web.line_changes import LineChange, line_changes
from gateway.web.pages import Pages, label
from gateway.web.part import HOME, KIOSK, PartHandlers, Selection
from gateway.web.requests import (
    client_address,
    is_same_origin,
    only_asks,
    read_body,
    remember_language,
    request_language,
    set_cookie,
    wants_json,
)
from gateway.web.settings import Settings
from gateway.web.templating import KIT_FOLDER
from gateway.web.view import View
from gateway.words import LANGUAGES, error_summary, translate

from .accounts import PASSKEY_LOGIN_PATH, SIGN_STATUS, Accounts
from .follower import Follower
from .own_account import OwnAccount
from .parts import Part, static_folders, template_folders
from .phone_app import OPEN_PATHS, PhoneApp
from .trust import TrustHandlers

HEARTBEAT_INTERVAL_S = 3.0
"""After this time without a change an event stream sends a heartbeat; a page that hears none for 8 s says
that it shows old data."""
MAX_STREAM_VIEWS = 32
"""Pages, each in a language, that one event stream may follow."""
PROBLEMS_IN_WORDS = (403, 404, 413, 500)
"""The statuses with a sentence of their own; others are a mistake in the request."""
SESSION_CHECK_INTERVAL_S = 1.0
"""In which an event stream notices that its session has ended."""
COMMAND_LIFETIME_MS = 15_000
"""A command that has not started within this time expires: a click means now."""
READING = frozenset({"GET", "HEAD"})
"""The methods that change nothing."""
PATHS_WITHOUT_SESSION = {"/favicon.ico", *OPEN_PATHS}
GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL = 13, 6
"""An event stream takes 64 kB of memory to be compressed."""
MAX_SPLIT_REGIONS = 64
MIN_COMPRESSED_BYTES = 512
ASSET_LIFETIME_S = 31_536_000
HOST_PATTERN = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,45}\])(?::[0-9]{1,5})?")
"""A name or address, and a port."""
FAVICON_FILE = KIT_FOLDER / "static" / "icon.svg"

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: with it, browsers hide the origin of a form, which we check.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(
        f"{feature}=()"
        for feature in (
            "camera",
            "display-capture",
            "geolocation",
            "hid",
            "microphone",
            "midi",
            "payment",
            "serial",
            "usb",
        )
    ),
}


class CommandAnswer(NamedTuple):
    """The outcome of a command: HTTP status code, status word for the page's script, sentence, and who may
    sign it."""

    code: int
    status: str
    message: str
    people: Sequence[str] = ()


class AccessMiddleware:
    """Admits requests with a session, and those that need none (see `Dashboard.rejection`). Adds the
    security headers to every response that has none of its own."""

    def __init__(self, app: ASGIApp, dashboard: Dashboard) -> None:
        self._app = app
        self._dashboard = dashboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                cache_control = self._dashboard.cache_control(request, message["status"])
                for name, value in {**SECURITY_HEADERS, "cache-control": cache_control}.items():
                    headers.setdefault(name, value)
                if request.state.is_screen and "set-cookie" not in headers:
                    # Browsers keep no cookie for more than 400 days; nobody logs in at a wall again.
                    renewal = Response()
                    set_cookie(request, renewal, SESSION_COOKIE, request.cookies[SESSION_COOKIE])
                    headers.append("set-cookie", renewal.headers["set-cookie"])
            await send(message)

        request = Request(scope)
        if moved := self._dashboard.moved_response(request):
            await moved(scope, receive, send)
            return
        await self._dashboard.accounts.admit(request)
        rejection = self._dashboard.rejection_response(request)
        if request.state.person is not None:
            scope["trust"]()
        await (rejection or self._app)(scope, receive, send_hardened)


class Dashboard:
    """The request handlers and their shared state; the `PageContext` of the parts."""

    def __init__(self, settings: Settings, parts: Sequence[Part], access: Access, clock: Clock) -> None:
        self._settings = settings
        self.parts = parts
        self.access = access
        self.clock = clock
        self.follower = Follower(settings, parts, clock)
        self._pages = Pages(settings, parts, template_folders())
        self._plain_routes = [page.name for part in parts for page in part.pages if not page.has_own_route]
        self._requests = {request: part.name for part in parts for request in part.requests}
        any_request: Any = functools.reduce(operator.or_, self._requests)
        self._decoder: msgspec.json.Decoder[CommandRequest] = msgspec.json.Decoder(any_request)
        self._handlers = [*(part.handlers(self) for part in parts), TrustHandlers(self)]
        self.accounts = Accounts(self)

    @property
    def settings(self) -> Settings:
        """Those of the configuration that the gateway runs now."""
        return self.follower.settings

    @property
    def view(self) -> View:
        """The current view."""
        return self.follower.view

    def application(self) -> Starlette:
        @contextlib.asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with self.follower.running():
                yield
            await self.access.sessions.save(at_once=True)

        own_account = OwnAccount(self, self.accounts)
        app = Starlette(
            routes=[
                Route("/", self._home_page),
                *(
                    self._restricted(Route(f"/{name}", self._plain_route), self._pages.role_of(name))
                    for name in self._plain_routes
                ),
                *(
                    self._restricted(
                        route, self._route_role(handlers, route), route.path in handlers.signed_paths
                    )
                    for handlers in self._handlers
                    for route in handlers.routes()
                ),
                *self.accounts.routes(),
                self._restricted(self.accounts.sessions_route(), self._pages.role_of("sessions")),
                *(
                    self._restricted(route, self._pages.role_of("account"))
                    for route in own_account.routes()
                ),
                self._restricted(own_account.others_route(), Role.MANAGER),
                Route("/events", self._events),
                Route("/command", self._command, methods=["POST"]),
                Route("/favicon.ico", _favicon),
                *PhoneApp(self).routes(),
                Mount("/static", static_files()),
            ],
            middleware=[
                Middleware(AccessMiddleware, dashboard=self),
                Middleware(GZipMiddleware, minimum_size=MIN_COMPRESSED_BYTES, compresslevel=6),
            ],
            exception_handlers={HTTPException: self._problem_response, 500: self._problem_response},
            lifespan=lifespan,
        )
        # It would make an address of the `Host` header, whatever that contains.
        app.router.redirect_slashes = False
        return app

    def cache_control(self, request: Request, status: int) -> str:
        """Assets are addressed by their version, and kept; those that are not are asked for again. Nothing
        else is kept."""
        if not request.scope["path"].startswith("/static/") or status not in {200, 206, 304}:
            return "no-store"
        if request.query_params.get("v") == self._pages.version:
            return f"private, max-age={ASSET_LIFETIME_S}, immutable"
        return "no-cache"

    def _route_role(self, handlers: PartHandlers, route: Route) -> Role:
        """The least role that a route of a part needs."""
        page = route.path.split("/")[1].partition(".")[0]
        owned = self._pages.role_of(page) if page in self._pages else Role.INSTALLER
        return handlers.route_roles.get(route.path, owned)

    def _restricted(self, route: Route, role: Role, is_signed: bool = False) -> Route:
        """The route for those who have the role, and for those who need no session. `is_signed`: see
        `PartHandlers.signed_paths`."""
        endpoint: Callable[[Request], Awaitable[Response]] = route.endpoint

        async def restricted(request: Request) -> Response:
            own: Role | None = request.state.role
            if own is not None and not own.includes(role):
                return self.refuse_role(request, own, role)
            is_act = own is not None and request.method not in READING
            refused = self.accounts.restriction(request, role, by_itself=is_signed) if is_act else None
            if only_asks(request) and refused is None:
                return Response(status_code=204)
            return refused or await endpoint(request)

        return Route(route.path, restricted, methods=route.methods)

    def refuse_role(self, request: Request, own: Role, needed: Role) -> Response:
        """The page that says which role would be needed."""
        refusal = self._refusal(request, own, needed)
        return self._problem_page(request, 403, "problem-role", refusal)

    def _refusal(self, request: Request, own: Role, needed: Role) -> str:
        SECURITY_LOG.add("role-refused", client_address(request), by=request.state.person)
        lang = request_language(request)
        labels = [label(lang, "role", each) for each in (own, needed)]
        return translate(lang, "dashboard.role-refused", own=labels[0], needed=labels[1])

    def moved_response(self, request: Request) -> Response | None:
        """Where the pages are now, to a request without encryption though there is some."""
        settings = self._settings
        if request.scope["scheme"] == "https" or not (settings.local_ca or settings.certificate_file):
            return None
        host = request.headers.get("host", "")
        if not HOST_PATTERN.fullmatch(host):
            return Response(status_code=400)
        query = request.scope["query_string"].decode("latin-1")
        address = f"https://{host}{quote(request.scope['path'])}" + (f"?{query}" if query else "")
        return RedirectResponse(address, 308)

    def rejection_response(self, request: Request) -> Response | None:
        """The response to a request that is not admitted; None if it is."""
        path = request.scope["path"]
        if request.method not in READING and not is_same_origin(request.headers):
            SECURITY_LOG.add("page-foreign", client_address(request))
            return self._problem_page(request, 403)
        arriving = path in {"/login", PASSKEY_LOGIN_PATH} or (path == "/" and "key" in request.query_params)
        if request.state.person is not None or arriving or path in PATHS_WITHOUT_SESSION:
            return None
        if path.startswith("/static/") or any(
            handlers.is_allowed_without_session(request) for handlers in self._handlers
        ):
            return None
        if SESSION_COOKIE in request.cookies or request.method not in READING:
            SECURITY_LOG.add("session-refused", client_address(request))
        answers = (handlers.rejection_response(request) for handlers in self._handlers)
        return next(filter(None, answers), None) or self.accounts.ask_for_login(request, 401)

    def page_response(
        self, request: Request, name: str, template: str = "", status: int = 200, **facts: object
    ) -> Response:
        """The page of that name, as the query chooses. `template` extends `page.html`; `facts` are further
        variables for it."""
        lang = request_language(request)
        selection = self._pages.selection(name, request.url.query)
        html = self._pages.render_page(
            name, self.view, lang, self.follower.now_ms(), request.state.role, request.state.person,
            template, selection, acting_role=self.accounts.role_of_actors(request),
            is_screen=request.state.is_screen, has_passkey=self.accounts.has_passkey(request), **facts,
        )  # fmt: skip
        return remember_language(request, lang, HTMLResponse(html, status))

    def plain_page_response(
        self, request: Request, template: str, status: int = 200, **facts: object
    ) -> Response:
        """A page without frame and menu. `template` extends `base.html`."""
        lang = request_language(request)
        html = self._pages.render_plain(template, lang, self.settings.title, **facts)
        return remember_language(request, lang, HTMLResponse(html, status))

    def _problem_page(self, request: Request, status: int, key: str = "", text: str = "") -> Response:
        """What was wrong with the request, in words, and the way back. `key`: of its heading."""
        lang = request_language(request)
        key = key or f"problem-{status if status in PROBLEMS_IN_WORDS else 400}"
        if wants_json(request):
            message = text or translate(lang, f"dashboard.{key}-more")
            return JSONResponse({"status": "failed", "message": message}, status)
        return self.plain_page_response(
            request,
            "core/problem.html",
            status,
            heading=translate(lang, f"dashboard.{key}"),
            text=text or translate(lang, f"dashboard.{key}-more"),
            may_log_out=bool(text),
        )

    async def _problem_response(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            return self._problem_page(request, 500)
        response = self._problem_page(request, error.status_code)
        response.headers.update(error.headers or {})
        return response

    async def _home_page(self, request: Request) -> Response:
        query = request.query_params
        if "key" in query:
            home = f"/?{KIOSK}" if KIOSK in query else "/"
            return await self.accounts.log_in(request, query["key"], query.get("name", ""), home)
        return self.page_response(request, KIOSK if KIOSK in query else HOME)

    async def _plain_route(self, request: Request) -> Response:
        page = request.scope["path"].removeprefix("/")
        selection = self._pages.selection(page, request.url.query)
        await self._pages.prepare(page, self.view, request_language(request), selection)
        return self.page_response(request, page)

    async def _events(self, request: Request) -> Response:
        default = f"{HOME}.{request_language(request)}"
        views = list(dict.fromkeys(request.query_params.getlist("view"))) or [default]
        if len(views) > MAX_STREAM_VIEWS:
            return Response(status_code=400)
        wanted = {}
        role: Role = request.state.role
        for view in views:
            address, _, lang = view.rpartition(".")
            page, _, query = address.partition("?")
            if page not in self._pages or lang not in LANGUAGES:
                return Response(status_code=404)
            if role.includes(self._pages.role_of(page)):
                wanted[view] = page, lang, self._pages.selection(page, query)
        if not wanted:
            return Response(status_code=403)
        cookie = request.cookies[SESSION_COOKIE]
        events = self._stream_events(wanted, role, cookie, request.state.session)
        headers = {"x-accel-buffering": "no", "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            events = _compressed(events)
            headers["content-encoding"] = "gzip"
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _stream_events(
        self,
        wanted: Mapping[str, tuple[str, str, Selection | None]],
        role: Role,
        cookie: str,
        session_id: str,
    ) -> AsyncIterator[bytes]:
        """For all tabs of a browser, each page in its language with its choices, by its view: all regions
        first, as a page may be older than the stream; then what changes in their lines, until the session
        ends or its role changes."""
        seen: View | None = None
        sent: dict[str, dict[str, list[str]]] = {}
        quiet_s = 0.0
        yield b"retry: 2000\n\n"
        while (
            not self.follower.closed and (session := self.access.session(cookie)) and session.role is role
        ):
            self.access.sessions.touch(session_id)
            if not await self.follower.wait_for_change(seen, SESSION_CHECK_INTERVAL_S):
                quiet_s += SESSION_CHECK_INTERVAL_S
                if quiet_s >= HEARTBEAT_INTERVAL_S:
                    quiet_s = 0.0
                    yield _event("beat", {"now": self.follower.now_ms(), "version": self._pages.version})
                continue
            quiet_s = 0.0
            seen = self.view
            for view, (page, lang, selection) in wanted.items():
                await self._pages.prepare(page, seen, lang, selection)
                regions = self._pages.render_regions(page, seen, lang, selection)
                lines = {name: _lines_of(html) for name, html in regions.items()}
                before, sent[view] = sent.get(view), lines
                yield _event(
                    "view",
                    {
                        "view": view,
                        "now": self.follower.now_ms(),
                        "version": self._pages.version,
                        "title": self._pages.document_title(seen, lang),
                        "site": self._pages.site_title(seen.title, lang),
                        "regions": regions if before is None else _region_changes(before, lines),
                    },
                )
        if not self.follower.closed:
            yield _event("ended", {})

    async def _command(self, request: Request) -> Response:
        lang = request_language(request)
        try:
            wanted = self._decoder.decode(await read_body(request))
        except (ValueError, RecursionError):
            answer = CommandAnswer(400, "failed", translate(lang, "dashboard.form-wrong"))
        else:
            answer = await self._execute(request, lang, wanted)
        people = {"people": answer.people} if answer.status == SIGN_STATUS else {}
        return JSONResponse({"status": answer.status, "message": answer.message, **people}, answer.code)

    async def _execute(self, request: Request, lang: str, wanted: CommandRequest) -> CommandAnswer:
        """Send the command to one target device after the other, until one does not execute it."""
        part = self.view.parts[self._requests[type(wanted)]]
        context = RequestContext(self.settings, self.view, part, lang)
        role, actor = wanted.least_role(context), self.accounts.actor(request)
        if actor is not None and not actor.role.includes(role):
            self.accounts.drop_signature(request)
            return CommandAnswer(403, "denied", self._refusal(request, actor.role, role))
        if actor is None or self.accounts.must_sign(request, role):
            sentence = self.accounts.signing_sentence(request, role)
            return CommandAnswer(403, SIGN_STATUS, sentence, self.accounts.signers(request, role))
        target = wanted.target(context)
        answer = CommandAnswer(404, "failed", translate(lang, target.refusal or wanted.no_target_sentence))
        if not target.devices:
            return answer
        self.accounts.note_act(request, role)
        arguments = wanted.arguments(context)
        done = translate(lang, wanted.done_sentence(context), **{**arguments, **target.facts})
        for device in target.devices:
            answer = await self._send_command(actor.person, lang, done, device, wanted.action, arguments)
            if answer.status != CommandStatus.DONE:
                break
        return answer

    async def _send_command(
        self, person: str, lang: str, done: str, device: str, action: str, arguments: dict[str, Any]
    ) -> CommandAnswer:
        """Send a command to the daemon, once. Returns the outcome in words."""
        try:
            answer = await control.call_daemon(
                self._settings.control,
                "command",
                id=uuid.uuid4().hex,
                device=device,
                action=action,
                args=arguments,
                by=person,
                origin="dashboard",
                expires=self.clock.now().wall_ms + COMMAND_LIFETIME_MS,
            )
        except DaemonNotRunning:
            return CommandAnswer(503, "failed", translate(lang, "dashboard.no-answer"))
        except GatewayError as error:
            if isinstance(error.__cause__, TimeoutError):
                return CommandAnswer(503, "unknown", translate(lang, "dashboard.no-answer-late"))
            reason = error_summary(lang, error.key, error.facts)
            return CommandAnswer(200, "failed", translate(lang, "dashboard.failed", reason=reason))
        return _outcome(lang, answer, done)


def _outcome(lang: str, answer: dict[str, Any], done: str) -> CommandAnswer:
    """The outcome of a command, in words."""
    status, detail = str(answer.get("status")), str(answer.get("detail") or "…")
    if status == CommandStatus.DONE:
        return CommandAnswer(200, "done", done)
    if status == CommandStatus.ACCEPTED:
        return CommandAnswer(200, status, translate(lang, "dashboard.accepted"))
    reason = error_summary(lang, detail, answer.get("facts", {}))
    if status in {CommandStatus.FAILED, CommandStatus.DENIED}:
        return CommandAnswer(200, status, translate(lang, f"dashboard.{status}", reason=reason))
    return CommandAnswer(200, "unknown", translate(lang, "dashboard.command-unknown", reason=reason))


async def _favicon(_request: Request) -> Response:
    return FileResponse(FAVICON_FILE)


def static_files() -> StaticFiles:
    """The static files of the kit and of every part."""
    static = StaticFiles()
    static.all_directories = [folder for folder in static_folders() if folder.is_dir()]
    return static


@functools.lru_cache(MAX_SPLIT_REGIONS)
def _lines_of(html: str) -> list[str]:
    """Kept once for all streams that have sent it; nobody changes the list."""
    return html.split("\n")


def _region_changes(
    before: Mapping[str, list[str]], now: Mapping[str, list[str]]
) -> dict[str, list[LineChange]]:
    """By region that has changed: what has changed in its lines."""
    return {name: line_changes(before[name], lines) for name, lines in now.items() if before[name] != lines}


async def _compressed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """As gzip, each piece at once."""
    packer = zlib.compressobj(wbits=GZIP_WINDOW_BITS + 16, memLevel=GZIP_MEMORY_LEVEL)
    async for piece in pieces:
        yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))
