"""The page of cameras, with what sets one up, and the notice to those who walk past them."""

from __future__ import annotations

import base64

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from gateway.base import control
from gateway.model import GatewayError
from gateway.web.requests import body_of, language, remember
from gateway.words import LANGUAGES, translate

from .cameras import CameraCard
from .pages import CAMERAS, Pages
from .settings import title
from .watch import Watch

TUNE = ("in", "line", "zone", "person", "stills-off", "copied", "copy-failed")
"""What the script says that draws lines and zones."""


class TuningPages:
    """The handlers."""

    def __init__(self, pages: Pages, watch: Watch) -> None:
        self._pages = pages
        self._watch = watch

    def routes(self) -> list[Route]:
        """The page, a look at what a camera sees, and the notice."""
        return [
            Route(f"/{CAMERAS}", self._page),
            Route("/still", self._still, methods=["POST"]),
            Route("/privacy", self._privacy),
        ]

    async def _page(self, request: Request) -> Response:
        lang, cameras = language(request), self._watch.settings.cameras
        page = self._pages.page(
            CAMERAS, self._watch.view, lang, self._watch.now(), "tune.html",
            cameras=cameras, tune=_tune(lang, cameras),
        )  # fmt: skip
        return remember(request, lang, HTMLResponse(page))

    async def _still(self, request: Request) -> Response:
        """What a camera sees now, for who sets it up; asked for, not linked, for each look is on record."""
        lang = language(request)
        try:
            bus = msgspec.json.decode(await body_of(request), type=dict[str, str])["camera"]
            socket = self._watch.settings.control
            answer = await control.call(socket, "still", bus=bus, by=request.state.person)
        except (ValueError, KeyError):
            return JSONResponse({"message": translate(lang, "dashboard.form-wrong")}, 400)
        except GatewayError as error:
            return JSONResponse({"message": translate(lang, f"error.{error.key}", **error.facts)}, 503)
        return Response(base64.b64decode(answer["jpeg"]), media_type="image/jpeg")

    async def _privacy(self, request: Request) -> Response:
        lang = language(request)
        page = self._pages.plain(
            "privacy.html",
            lang,
            heading=translate(lang, "privacy.title"),
            contact=title(self._watch.settings.contact, lang, ""),
            day=self._watch.view.day,
        )
        return remember(request, lang, HTMLResponse(page))


def _tune(lang: str, cameras: tuple[CameraCard, ...]) -> dict[str, str]:
    """What the script that draws lines and zones must know, as JSON."""
    said = {key: translate(lang, f"tune.{key}") for key in TUNE}
    new = {
        key: {each: translate(each, f"tune.{key}") for each in LANGUAGES}
        for key in ("new-line", "new-zone")
    }
    return {
        "cameras": msgspec.json.encode(cameras).decode(),
        "words": msgspec.json.encode(said | new).decode(),
    }
