"""The gallery: the pages in every state, with made-up views. It needs no site, no gateway and no login, and
changes nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from gateway.base.clock import SystemClock
from gateway.model import Role
from gateway.web.charts import Column, Mark, Reading, column_chart, heat_map, svg_text, time_chart
from gateway.web.gallery import STATES, GalleryMoment
from gateway.web.icons import DRAWN, HEROICONS
from gateway.web.pages import Pages
from gateway.web.part import HOME, PartInput
from gateway.web.requests import request_language
from gateway.web.settings import Settings
from gateway.web.snapshot import Snapshot
from gateway.web.templating import Markup
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

from .app import HEARTBEAT_INTERVAL_S, SECURITY_HEADERS, static_files
from .assembly import with_annotations
from .parts import page_parts, template_folders

SETTINGS = Settings(
    journal=Path(),
    control=Path(),
    access=Path(),
    title={"zh": "示例邻里中心", "en": "Example Neighbourhood Centre"},
    timezone="Asia/Shanghai",
)


COMPONENTS = "components"
"""The page of all that pages are made of."""
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


def gallery_view(moment: GalleryMoment) -> View:
    """What the pages show at a moment."""
    state, now = moment
    nothing = PartInput(Snapshot(), SystemClock().now(), "", {})
    gateway = {"waiting": GatewayState.WAITING, "away": GatewayState.AWAY}.get(state, GatewayState.RUNNING)
    parts = page_parts()
    views = {part.name: part.sample(moment) if part.sample else part.view(None, nothing) for part in parts}
    return View(
        title=SETTINGS.title,
        gateway=gateway,
        trouble="",
        refused={},
        known=state != "waiting",
        day=time.strftime("%Y-%m-%d", time.gmtime(now / 1000 + 8 * 3600)),
        devices=with_annotations(_devices(moment), parts, views),
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


def _devices(moment: GalleryMoment) -> tuple[DeviceRow, ...]:
    """One device in each condition."""
    if not moment.is_known:
        return ()
    title = moment.named("门厅温湿度计", "Lobby thermometer")
    return tuple(
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


class Gallery:
    """Serves the pages of all parts that need no handlers, at `/page?state=…&lang=…`."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._pages = Pages(SETTINGS, page_parts(), template_folders())
        self._names = [
            page.name
            for part in page_parts()
            for page in part.pages
            if page.regions and (page.name == HOME or not page.has_own_route)
        ]

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._index),
                Route("/events", self._events),
                Route("/plain/{page}", self._plain_page),
                Route("/{page}", self._page),
                Mount("/static", static_files()),
            ]
        )

    async def _index(self, request: Request) -> Response:
        lang = request_language(request)
        html = self._pages.render_plain(
            "core/gallery.html",
            lang,
            SETTINGS.title,
            states=STATES,
            names=[COMPONENTS, *self._names],
            plain=PLAIN_PAGES,
        )
        return HTMLResponse(html, headers=SECURITY_HEADERS)

    async def _plain_page(self, request: Request) -> Response:
        """One that stands outside of the frame, whatever the state."""
        lang, page = request_language(request), request.path_params["page"]
        if page not in PLAIN_PAGES:
            return Response(status_code=404)
        facts = {
            key: translate(lang, str(text)) if text and key in TEXTS else text
            for key, text in PLAIN_PAGES[page].items()
        }
        html = self._pages.render_plain(
            f"core/{page}.html", lang, SETTINGS.title, **facts, in_language=lambda each: f"?lang={each}"
        )
        return HTMLResponse(html, headers=SECURITY_HEADERS)

    async def _page(self, request: Request) -> Response:
        page, state = request.path_params["page"], request.query_params.get("state", "calm")
        if page not in (*self._names, COMPONENTS) or state not in STATES:
            return Response(status_code=404)
        lang, now = request_language(request), self._clock.now().wall_ms
        page, template = (HOME, "core/components.html") if page == COMPONENTS else (page, "")
        selection = self._pages.selection(page, "")
        view = gallery_view(GalleryMoment(state, now))
        html = self._pages.render_page(
            page, view, lang, now, Role.INSTALLER, "王芳", template, selection,
            icons=[*HEROICONS, *DRAWN], cells=CELLS, has_passkey=False, charts=sample_charts(),
        )  # fmt: skip
        return HTMLResponse(html, headers=SECURITY_HEADERS)

    async def _events(self, _request: Request) -> Response:
        return StreamingResponse(self._beats(), media_type="text/event-stream")

    async def _beats(self) -> AsyncIterator[bytes]:
        """So that no page believes it has lost the dashboard."""
        while True:
            data = msgspec.json.encode({"now": self._clock.now().wall_ms, "version": self._pages.version})
            yield b"event: beat\ndata: " + data + b"\n\n"
            await self._clock.sleep(HEARTBEAT_INTERVAL_S)


def serve_gallery() -> None:
    """Serve on a free port of this machine alone, and print its address, until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        Gallery().application(), access_log=False, log_config=None, timeout_graceful_shutdown=1
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
        uvicorn.Server(config).run(sockets=[listening])
