"""The gallery: the dashboard itself in every state, with made-up views and a made-up journal. It needs no
site, no gateway and no login, and changes nothing that lasts."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.base.clock import SystemClock
from gateway.config import load_site
from gateway.config.adoption import AdoptedConfiguration, save_adopted
from gateway.config.site_settings import setting_sections
from gateway.journal import Journal
from gateway.model import Revision
from gateway.services.configuration import Configuration
from gateway.web.access import SESSION_COOKIE, Access, read_key
from gateway.web.charts import Column, Mark, Reading, column_chart, heat_map, svg_text, time_chart
from gateway.web.gallery import LONG_NAMES, STATES, GalleryMoment, SampleFiles
from gateway.web.icons import DRAWN, HEROICONS
from gateway.web.part import HOME, Page, PagePart, PartHandlers, PartInput
from gateway.web.requests import request_language
from gateway.web.settings import Settings
from gateway.web.snapshot import Snapshot
from gateway.web.templating import Markup, fingerprint
from gateway.web.view import (
    DeviceCondition,
    DeviceRow,
    GatewayState,
    PointRow,
    Reminder,
    UplinkStatus,
    View,
)
from gateway.words import translate

from .app import HEARTBEAT_INTERVAL_S, Dashboard
from .assembly import with_annotations
from .http_protocol import LimitedHttpProtocol
from .parts import page_parts, template_folders
from .settings import settings_of

PERSON = "王芳"
DEMO_SITE = "demo.toml"
"""The gallery's devices, rooms and plans are the demo's."""

PLAIN_PAGES: Mapping[str, Mapping[str, object]] = {
    "login": {
        "problem": "", "destination": "/", "name": "", "has_people": True, "has_local_ca": True,
        "offers_passkey": False,
    },
    "sign": {
        "heading": "dashboard.sign", "text": "dashboard.sign-screen", "problem": "dashboard.form-wrong",
        "destination": "/", "needed": "duty", "people": ["王芳", "Wang Fang"], "name": "",
        "offers_passkey": False,
    },
    "problem": {
        "heading": "dashboard.problem-404", "text": "dashboard.problem-404-more", "may_log_out": True,
    },
    "offline": {},
}  # fmt: skip
"""By template: what it shows."""
TEXTS = frozenset({"heading", "text", "problem"})
"""The facts of them that are keys of sentences."""


class Cell(NamedTuple):
    """A cell of a board."""

    device: str
    title: dict[str, str]
    number: str
    state: str


CELLS = [
    Cell("board", {"zh": "示例", "en": "Example"}, str(number), state)
    for number, state in enumerate(("free", "occupied", "open", "shut", "unknown"), 1)
]


def sample_charts() -> list[Markup]:
    """Each kind of chart: a curve with band and gap, one that is true or false, one without readings,
    columns, and a heat map."""
    run = [Reading(n, 20 + n % 7 - n % 3, 24 + n % 5, 22 + n % 4) for n in range(48)]
    states = [Reading(n, n // 9 % 2, n // 9 % 2, n // 9 % 2) for n in range(48)]
    marks = [Mark(n, f"{n // 2:02}:00") for n in range(6, 48, 6)]
    bars = [Column(f"{n}:00", n * 7 % 40, n * 3 % 9, f"{n}:00", is_minimum=n == 12) for n in range(8, 20)]
    cells = [[None if n == row else Column(str(n), n * row, 0, "") for n in range(12)] for row in range(7)]
    return [
        svg_text(chart)
        for chart in (
            time_chart("band", [run[:20], run[30:]], 0, 48, marks=marks, unit="°C"),
            time_chart("true, false", [states], 0, 48, marks=marks, levels={0: "0", 1: "1"}, holds=True),
            time_chart("empty", [], 0, 48, marks=marks, from_zero=True),
            column_chart("columns", bars),
            heat_map("heat map", list("1234567"), [str(n) for n in range(12)], cells),
        )
    ]


def gallery_view(moment: GalleryMoment, settings: Settings) -> View:
    """What the pages show at a moment."""
    state, now = moment
    nothing = PartInput(Snapshot(), SystemClock().now(), "", {})
    gateway = {"waiting": GatewayState.WAITING, "away": GatewayState.AWAY}.get(state, GatewayState.RUNNING)
    parts = page_parts()
    views = {part.name: part.sample(moment) if part.sample else part.view(None, nothing) for part in parts}
    return View(
        title=settings.title,
        gateway=gateway,
        trouble="",
        refused={},
        known=state != "waiting",
        day=time.strftime("%Y-%m-%d", time.gmtime(now / 1000 + 8 * 3600)),
        devices=with_annotations(_devices(moment, settings), parts, views),
        uplinks=(
            UplinkStatus({}, state != "stale", now - 3_600_000, pending=7 if state == "stale" else 0),
        ),
        reminders=(
            ()
            if state in ("empty", "waiting", "calm")
            else (Reminder("dashboard.remind-findings", 2, "/lines"),)
        ),
        parts=views,
        last_word=now - 95_000 if state == "away" else None,
    )


def _devices(moment: GalleryMoment, settings: Settings) -> tuple[DeviceRow, ...]:
    """One device in each condition, and those of safety, which are well."""
    if not moment.is_known:
        return ()
    title = moment.named("门厅温湿度计", "Lobby thermometer")
    safe = (
        DeviceRow(
            info.name,
            info.title,
            info.kind,
            is_safety_device=True,
            condition=DeviceCondition.GOOD,
            at=moment.now - 5_000,
        )
        for info in settings.devices
        if info.is_safety_device
    )
    return *safe, *(
        DeviceRow(
            f"device-{condition}",
            title,
            "thermometer",
            is_safety_device=False,
            condition=condition,
            values=(PointRow("temperature", 21.5, "℃"), PointRow("humidity", 48, "%")),
            at=moment.now - 20_000,
            error="timeout" if condition is DeviceCondition.OFFLINE else "",
        )
        for condition in DeviceCondition
    )


def demo_site() -> str:
    """The text of the demo's site file."""
    package = Path(str(files("gateway")))
    shipped = package / DEMO_SITE
    return (shipped if shipped.is_file() else package.parent / "config" / DEMO_SITE).read_text("utf-8")


class GalleryHandlers(PartHandlers):
    """The index, and the pages that are in the gallery alone."""

    def routes(self) -> list[Route]:
        return [
            Route("/gallery", self._index),
            Route("/components", self._components),
            Route("/plain/{page}", self._plain_page),
            Route("/events", self._events),
        ]

    async def _index(self, request: Request) -> Response:
        site = load_site(self._site_file)
        sections = [f"settings/{each.name}" for each in setting_sections(site)]
        return self._context.plain_page_response(
            request, "core/gallery.html", states=STATES, addresses=[*gallery_addresses(), *sections],
            plain=PLAIN_PAGES,
        )  # fmt: skip

    @property
    def _site_file(self) -> Path:
        file = self._context.settings.file
        assert file
        return file

    async def _components(self, request: Request) -> Response:
        """All that pages are made of."""
        return self._context.page_response(
            request, HOME, "core/components.html", icons=[*HEROICONS, *DRAWN], cells=CELLS,
            charts=sample_charts(),
        )  # fmt: skip

    async def _plain_page(self, request: Request) -> Response:
        """One that stands outside of the frame, whatever the state."""
        lang, page = request_language(request), request.path_params["page"]
        if page not in PLAIN_PAGES:
            return Response(status_code=404)
        facts: dict[str, Any] = {
            key: translate(lang, str(text)) if text and key in TEXTS else text
            for key, text in PLAIN_PAGES[page].items()
        }
        return self._context.plain_page_response(
            request, f"core/{page}.html", in_language=lambda each: f"?lang={each}", **facts
        )

    async def _events(self, _request: Request) -> Response:
        return StreamingResponse(self._beats(), media_type="text/event-stream")

    async def _beats(self) -> AsyncIterator[bytes]:
        """So that no page believes it has lost the dashboard; what it shows stays."""
        version = fingerprint(template_folders().values())
        while True:
            data = msgspec.json.encode({"now": self._context.clock.now().wall_ms, "version": version})
            yield b"event: beat\ndata: " + data + b"\n\n"
            await self._context.clock.sleep(HEARTBEAT_INTERVAL_S)


GALLERY: PagePart[None, None] = PagePart(
    name="gallery", pages=(Page(name="components", title="dashboard.gallery", has_own_route=True),),
    handlers=GalleryHandlers,
)  # fmt: skip


def gallery_addresses() -> list[str]:
    """Those of all pages, without the first slash."""
    pages = [page for part in (GALLERY, *page_parts()) for page in part.pages]
    return [address for page in pages for address in page.examples or (page.name,)]


class Gallery:
    """The dashboard of each state, at `?gallery=…`; without it, that of the `calm` one. Its files are in
    `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clock = SystemClock()
        self._dashboards: dict[str, tuple[Dashboard, ASGIApp, bytes]] = {}
        """By state, with the cookie of a session."""
        self._making = asyncio.Lock()

    async def _of_state(self, state: str) -> tuple[Dashboard, ASGIApp, bytes]:
        """Made when it is first looked at."""
        async with self._making:
            if state not in self._dashboards:
                folder = self._folder / state
                folder.mkdir()
                moment = GalleryMoment(state, self._clock.now().wall_ms)
                dashboard = await self._dashboard(folder, moment)
                cookie = f"{SESSION_COOKIE}={dashboard.access.sign_owner_session(PERSON)}".encode()
                self._dashboards[state] = dashboard, dashboard.application(), cookie
        return self._dashboards[state]

    async def _dashboard(self, folder: Path, moment: GalleryMoment) -> Dashboard:
        file = folder / DEMO_SITE
        file.write_text(demo_site().replace('".demo/', f'"{folder}/'), "utf-8")
        site, parts = load_site(file), (GALLERY, *page_parts())
        settings = settings_of(site, parts, file)
        if moment.state == "long-names":
            devices = tuple(msgspec.structs.replace(each, title=LONG_NAMES) for each in settings.devices)
            settings = msgspec.structs.replace(settings, devices=devices, title=LONG_NAMES)
        now = self._clock.now()
        first = Revision(1, site.digest, now, "start")
        save_adopted(settings.journal, AdoptedConfiguration(str(file.resolve()), first, site.sources))
        async with Journal.open(settings.journal, self._clock) as journal:
            journal.append(Configuration.name, [], {"1": first})
            if moment.is_known:
                for part in parts:
                    part.fill_sample(settings.parts.get(part.name), SampleFiles(settings, journal, now))
        return Dashboard(settings, parts, Access(read_key(settings.access), settings.access), self._clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope)
        state = request.query_params.get("gallery", "calm")
        if state not in STATES:
            await Response(status_code=404)(scope, receive, send)
            return
        dashboard, application, cookie = await self._of_state(state)
        moment = GalleryMoment(state, self._clock.now().wall_ms)
        dashboard.follower.view = gallery_view(moment, dashboard.settings)
        headers = [(name, value) for name, value in scope["headers"] if name != b"cookie"]
        await application({**scope, "headers": [*headers, (b"cookie", cookie)]}, receive, send)


async def _serve(folder: Path) -> None:
    config = uvicorn.Config(
        Gallery(folder), http=LimitedHttpProtocol, ws="none", lifespan="off", access_log=False,
        log_config=None, timeout_graceful_shutdown=1,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/gallery", flush=True)
        await uvicorn.Server(config).serve(sockets=[listening])


def serve_gallery() -> None:
    """Serve on a free port of this machine alone, and print its address, until SIGTERM or SIGINT."""
    # uvicorn raises the signal once more when it has ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="linli-") as folder:
        asyncio.run(_serve(Path(folder)))
