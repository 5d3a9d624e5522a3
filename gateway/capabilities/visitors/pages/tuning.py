"""The page for setting up cameras, and the privacy notice."""

from __future__ import annotations

import base64

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.base import control
from gateway.model import GatewayError
from gateway.web.part import PartHandlers
from gateway.web.requests import read_body, request_language
from gateway.web.settings import title_in
from gateway.words import LANGUAGES, translate

from .cameras import CameraInfo
from .settings import VisitorsSettings

SCRIPT_SENTENCES = ("in", "line", "zone", "person", "stills-off", "copied", "copy-failed")
"""Keys of the sentences for the script that draws lines and zones."""


class CameraHandlers(PartHandlers):
    """The page, a camera's current picture, and the notice."""

    def routes(self) -> list[Route]:
        return [
            Route("/cameras", self._page),
            Route("/still", self._still, methods=["POST"]),
            Route("/privacy", self._privacy),
        ]

    @property
    def _settings(self) -> VisitorsSettings:
        settings: VisitorsSettings = self._context.settings.parts["visitors"]
        return settings

    async def _page(self, request: Request) -> Response:
        cameras = self._settings.cameras
        tuning = _script_data(request_language(request), cameras)
        return self._context.page_response(
            request, "cameras", "visitors/tune.html", cameras=cameras, tuning=tuning
        )

    async def _still(self, request: Request) -> Response:
        """A camera's current picture, for setting it up; every request is recorded."""
        lang = request_language(request)
        try:
            bus = msgspec.json.decode(await read_body(request), type=dict[str, str])["camera"]
            socket = self._context.settings.control
            answer = await control.call_daemon(socket, "still", bus=bus, by=request.state.person)
        except (ValueError, KeyError):
            return JSONResponse({"message": translate(lang, "dashboard.form-wrong")}, 400)
        except GatewayError as error:
            return JSONResponse({"message": translate(lang, f"error.{error.key}", **error.facts)}, 503)
        return Response(base64.b64decode(answer["jpeg"]), media_type="image/jpeg")

    async def _privacy(self, request: Request) -> Response:
        lang = request_language(request)
        return self._context.plain_page_response(
            request,
            "visitors/privacy.html",
            heading=translate(lang, "privacy.title"),
            contact=title_in(self._settings.contact, lang, ""),
            day=self._context.view.day,
        )


def _script_data(lang: str, cameras: tuple[CameraInfo, ...]) -> dict[str, str]:
    """JSON for the script that draws lines and zones."""
    sentences = {key: translate(lang, f"tune.{key}") for key in SCRIPT_SENTENCES}
    new_names = {
        key: {each: translate(each, f"tune.{key}") for each in LANGUAGES}
        for key in ("new-line", "new-zone")
    }
    return {
        "cameras": msgspec.json.encode(cameras).decode(),
        "words": msgspec.json.encode(sentences | new_names).decode(),
    }
