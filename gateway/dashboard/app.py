"""The dashboard's routes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
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

from gateway.base import control
from gateway.base.control import DaemonNotRunning
from gateway.capabilities.needs.passes import Passes
from gateway.model import GATEWAY, Clock, GatewayError, Hazard
from gateway.services.commands import CommandStatus
from gateway.web.access import COOKIE, Access
from gateway.web.requests import NAMELESS, body_of, language, remember, same_origin, set_cookie
from gateway.words import error_summary, translate

from .needs import NeedsPages
from .pages import CAMERAS, HOME, KIOSK, NEEDS, PAGES, VISITORS, Pages, label
from .settings import Settings, title
from .tuning import TuningPages
from .view import AlarmLine, OutLine, View
from .visitors import VisitorsPages
from .watch import Watch
from .wishes import Book, CancelBooking, CorrectInside, MarkTour, Text, VisitsWish, Wish

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


Seconds = Annotated[int, msgspec.Meta(ge=60, le=86_400)]


class AlarmWish(Wish, frozen=True):
    """It concerns an alarm that stands, or a drill."""

    alarm: str


class Acknowledge(AlarmWish, frozen=True):
    """A person has seen an alarm."""


class Reset(AlarmWish, frozen=True):
    """A person has made sure that an alarm is over; a drill ends with it."""


class Shelve(AlarmWish, frozen=True):
    """An alarm is known and being dealt with: it makes no sound for a while."""

    seconds: Seconds
    why: Text


class Unshelve(AlarmWish, frozen=True):
    """A shelved alarm counts again."""


class Step(AlarmWish, frozen=True):
    """A step of the emergency plan is done."""

    step: str


class Unstep(AlarmWish, frozen=True):
    """It was not, after all."""

    step: str


class Muster(AlarmWish, frozen=True):
    """So many people were found."""

    found: Annotated[int, msgspec.Meta(ge=0, le=99_999)]


class DeviceWish(Wish, frozen=True):
    """It concerns a configured device."""

    device: str


class Disable(DeviceWish, frozen=True):
    """A device is out of service (屏蔽) for a while."""

    seconds: Seconds
    why: Text


class Enable(DeviceWish, frozen=True):
    """It is back."""


class Test(DeviceWish, frozen=True):
    """A device is being tried; nobody in `device`: all that a walk-test tries."""

    seconds: Seconds


class EndTest(DeviceWish, frozen=True):
    """The test is over, of a device or of all."""


class Open(DeviceWish, frozen=True):
    """A person wants a compartment opened."""

    lock: int


class Do(DeviceWish, frozen=True):
    """A person wants a device to do something."""

    name: str


class Mute(Wish, frozen=True):
    """Silence what sounds now."""


class Drill(Wish, frozen=True):
    """A practice alarm begins."""

    hazard: Hazard


class CheckIn(Wish, frozen=True):
    """Somebody on patrol is at a checkpoint."""

    patrol: str
    checkpoint: str
    note: Annotated[str, msgspec.Meta(max_length=200)] = ""


class HazardFound(Wish, frozen=True):
    """Somebody has found a hazard."""

    where: Text
    what: Text
    severity: str


class HazardClosed(Wish, frozen=True):
    """Something was done about it."""

    id: str
    what: Text


Wishes = (
    Acknowledge | Reset | Shelve | Unshelve | Step | Unstep | Muster
    | Disable | Enable | Test | EndTest | Open | Do
    | Mute | Drill | CheckIn | HazardFound | HazardClosed
    | Book | CancelBooking | MarkTour | CorrectInside
)  # fmt: skip


class Answer(NamedTuple):
    """How it went, as a code of HTTP, a word for the page's script and a sentence."""

    code: int
    status: str
    message: str


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
        self._needs = NeedsPages(self._pages, self.watch, Passes(access, clock.mono))
        self._visitors = VisitorsPages(self._pages, self.watch, clock)
        self._tuning = TuningPages(self._pages, self.watch)

    def application(self) -> Starlette:
        @contextlib.asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with self.watch.running():
                yield

        return Starlette(
            routes=[
                Route("/", self._home),
                *(
                    Route(f"/{name}", self._page)
                    for name in PAGES
                    if name not in {HOME, CAMERAS, NEEDS, VISITORS}
                ),
                *self._needs.routes(),
                *self._visitors.routes(),
                *self._tuning.routes(),
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
        if path.startswith("/static/") or self._needs.admits(request):
            return None
        return self._needs.expired(request) if path == "/need" else self._ask_for_key(request, 401)

    def _ask_for_key(self, request: Request, status: int, problem: str = "") -> Response:
        lang = language(request)
        return remember(request, lang, HTMLResponse(self._pages.login(lang, problem), status))

    def _enter(self, request: Request, key: str, name: str) -> Response:
        """Exchange a key for a session, and leave no key in the address bar."""
        lang = language(request)
        address = request.client.host if request.client else ""
        if wait := self._access.wait(address):
            refusal = self._ask_for_key(request, 429, translate(lang, "dashboard.wait", seconds=wait))
            refusal.headers["retry-after"] = str(wait)
            return refusal
        if not self._access.admits(address, key):
            return self._ask_for_key(request, 401, translate(lang, "dashboard.wrong-key"))
        name = "".join(filter(str.isprintable, name)).strip()[:NAME] or NAMELESS
        home = f"/?{KIOSK}" if KIOSK in request.query_params else "/"
        response = remember(request, lang, RedirectResponse(home, 303))
        set_cookie(request, response, COOKIE, self._access.session(name))
        return response

    async def _home(self, request: Request) -> Response:
        query = request.query_params
        if "key" in query:
            return self._enter(request, query["key"], query.get("name", ""))
        return self._show(request, KIOSK if KIOSK in query else HOME)

    async def _page(self, request: Request) -> Response:
        return self._show(request, request.url.path.removeprefix("/"))

    def _show(self, request: Request, name: str) -> Response:
        lang = language(request)
        page = self._pages.page(name, self.watch.view, lang, self.watch.now())
        return remember(request, lang, HTMLResponse(page))

    async def _login(self, request: Request) -> Response:
        body = (await body_of(request)).decode("utf-8", "replace")
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
        page = request.query_params.get("page", HOME)
        if page not in PAGES:
            return Response(status_code=404)
        return StreamingResponse(
            self._stream(page, language(request)),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )

    async def _stream(self, page: str, lang: str) -> AsyncIterator[bytes]:
        """All regions first, for the page may be older than the stream; then those that change."""
        seen: View | None = None
        sent: dict[str, str] = {}
        yield b"retry: 2000\n\n"
        while not self.watch.closed:
            if not await self.watch.changed(seen, BEAT):
                yield _event("beat", {"now": self.watch.now()})
                continue
            seen = self.watch.view
            regions = self._pages.regions(page, seen, lang)
            changed = {name: html for name, html in regions.items() if sent.get(name) != html}
            sent = regions
            heading = self._pages.heading(seen, lang)
            yield _event("view", {"now": self.watch.now(), "title": heading, "regions": changed})

    async def _command(self, request: Request) -> Response:
        lang = language(request)
        try:
            wish = msgspec.json.decode(await body_of(request), type=Wishes)
        except ValueError:
            answer = Answer(400, "failed", translate(lang, "dashboard.form-wrong"))
        else:
            answer = await self._grant(request.state.person, lang, wish)
        return JSONResponse({"status": answer.status, "message": answer.message}, answer.code)

    async def _grant(self, person: str, lang: str, wish: Wish) -> Answer:
        """Ask the daemon for what is wished, of one device after the other until one refuses."""
        tag = str(type(wish).__struct_config__.tag)
        action, args = tag, msgspec.structs.asdict(wish)
        devices, said = self._meant(lang, wish)
        args.pop("device", None)
        if isinstance(wish, VisitsWish) and devices:
            args = wish.arguments(ZoneInfo(self._settings.timezone))
        if isinstance(wish, Do):
            action, args = wish.name, {}
            said["action"] = label(lang, "action", wish.name)
        over = isinstance(wish, Reset) and any(drill.id == wish.alarm for drill in self.watch.view.drills)
        done = translate(lang, f"dashboard.done-{'drill-end' if over else tag}", **(args | said))
        gone = "gone" if isinstance(wish, AlarmWish) else "form-wrong"
        answer = Answer(404, "failed", translate(lang, f"dashboard.{gone}"))
        for device in devices:
            answer = await self._send(person, lang, done, device, action, args)
            if answer.status != CommandStatus.DONE:
                break
        return answer

    def _meant(self, lang: str, wish: Wish) -> tuple[list[str], dict[str, str]]:
        """The devices that a wish concerns, none if it makes no sense, and what it is about in words."""
        if isinstance(wish, AlarmWish):
            return self._alarm(lang, wish.alarm)
        if isinstance(wish, DeviceWish):
            return self._devices(lang, wish)
        if isinstance(wish, Drill):
            return [GATEWAY], {"hazard": label(lang, "hazard", wish.hazard)}
        known = True
        if isinstance(wish, VisitsWish):
            known = wish.sensible(self.watch.view.visits)
        elif isinstance(wish, CheckIn):
            patrol = self.watch.view.duties.patrols.get(wish.patrol)
            known = patrol is not None and wish.checkpoint in patrol.checkpoints
        elif isinstance(wish, HazardFound):
            known = wish.severity in self.watch.view.duties.hazards
        elif isinstance(wish, HazardClosed):
            known = any(hazard.id == wish.id for hazard in self.watch.view.hazards)
        return [GATEWAY] if known else [], {}

    def _alarm(self, lang: str, alarm_id: str) -> tuple[list[str], dict[str, str]]:
        view = self.watch.view
        known: list[tuple[AlarmLine | OutLine, Hazard]] = [
            *((alarm, alarm.hazard) for alarm in (*view.alarms, *view.drills) if alarm.id == alarm_id),
            *((line, line.hazards[0]) for line in view.out if line.alarm == alarm_id),
        ]
        for alarm, hazard in known:
            # A rule or a siren is no device that could be told anything.
            configured = any(card.name == alarm.device for card in self.watch.settings.devices)
            where = title(alarm.rule or alarm.title, lang, label(lang, "kind", alarm.device))
            device = alarm.device if configured else GATEWAY
            return [device], {"hazard": label(lang, "hazard", hazard), "device": where}
        return [], {}

    def _devices(self, lang: str, wish: DeviceWish) -> tuple[list[str], dict[str, str]]:
        if isinstance(wish, Test | EndTest) and not wish.device:
            tried = [card.name for card in self.watch.settings.devices if card.tried]
            return tried, {"device": translate(lang, "dashboard.all-detectors")}
        card = next((card for card in self.watch.settings.devices if card.name == wish.device), None)
        if card is None:
            return [], {}
        sensible = card.safety
        if isinstance(wish, Do):
            sensible = wish.name in card.actions
        elif isinstance(wish, Open):
            cabinets = [each for each in self.watch.view.cabinets if each.name == card.name]
            sensible = any(cell.number == wish.lock for each in cabinets for cell in each.cells)
        return [card.name] if sensible else [], {"device": title(card.title, lang, card.name)}

    async def _send(
        self, person: str, lang: str, done: str, device: str, action: str, args: dict[str, Any]
    ) -> Answer:
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
        except DaemonNotRunning:
            return Answer(503, "failed", translate(lang, "dashboard.no-answer"))
        except GatewayError as error:
            if isinstance(error.__cause__, TimeoutError):
                return Answer(503, "unknown", translate(lang, "dashboard.no-answer-late"))
            return Answer(
                200, "failed", translate(lang, "dashboard.failed", reason=error_summary(lang, error.key))
            )
        return _ended(lang, str(answer.get("status")), str(answer.get("detail") or "…"), done)


def _ended(lang: str, status: str, detail: str, done: str) -> Answer:
    """What became of a command, in words."""
    if status == CommandStatus.DONE:
        return Answer(200, "done", done)
    if status == CommandStatus.ACCEPTED:
        return Answer(200, status, translate(lang, "dashboard.accepted"))
    if status in {CommandStatus.FAILED, CommandStatus.DENIED}:
        return Answer(
            200, status, translate(lang, f"dashboard.{status}", reason=error_summary(lang, detail))
        )
    return Answer(
        200, "unknown", translate(lang, "dashboard.command-unknown", reason=error_summary(lang, detail))
    )


async def _favicon(_request: Request) -> Response:
    return FileResponse(f"{STATIC}/icon.svg")


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))
