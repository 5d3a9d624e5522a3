"""The dashboard as an app on a phone: its manifest, its service worker, and what it shows while the gateway
cannot be reached. Browsers offer this over HTTPS, and on the gateway itself."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from gateway.web.part import PageContext
from gateway.web.requests import request_language
from gateway.web.settings import title_in
from gateway.web.templating import KIT_FOLDER
from gateway.words import translate

OPEN_PATHS = frozenset({"/manifest.webmanifest", "/service-worker.js", "/offline"})
"""They say nothing about the centre but its name, which the login page says too."""
BRAND_COLOUR, PAPER_COLOUR = "#0b5f6b", "#f3f4f0"
ICONS = (
    {"src": "/static/icon.svg", "sizes": "any", "type": "image/svg+xml"},
    {"src": "/static/icon-512.png", "sizes": "512x512", "type": "image/png"},
)


class PhoneApp:
    """The routes of the app."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        return [
            Route("/manifest.webmanifest", self._manifest),
            # At the top, so that it answers for all pages.
            Route("/service-worker.js", _service_worker),
            Route("/offline", self._offline_page),
        ]

    async def _manifest(self, request: Request) -> Response:
        """W3C Web Application Manifest."""
        lang = request_language(request)
        product = translate(lang, "dashboard.product")
        manifest = {
            "name": title_in(self._context.settings.title, lang, product),
            "short_name": product,
            "lang": lang,
            "id": "/",
            "start_url": "/",
            "display": "standalone",
            "theme_color": BRAND_COLOUR,
            "background_color": PAPER_COLOUR,
            "icons": ICONS,
        }
        return JSONResponse(manifest, media_type="application/manifest+json")

    async def _offline_page(self, request: Request) -> Response:
        return self._context.plain_page_response(request, "core/offline.html")


async def _service_worker(_request: Request) -> Response:
    return FileResponse(KIT_FOLDER / "static" / "service-worker.js", media_type="text/javascript")
