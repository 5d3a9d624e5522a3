"""The page that explains how to trust the certificates of the local authority, and its download."""

from __future__ import annotations

from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.model import Role
from gateway.web.certificates import LocalAuthority
from gateway.web.part import PartHandlers
from gateway.web.requests import request_language
from gateway.words import translate

TRUST_PATH, DOWNLOAD_PATH = "/trust", "/trust/linli-ca.crt"
SYSTEMS = ("ios", "android", "windows")


class TrustHandlers(PartHandlers):
    """For everybody: whoever does not trust the certificate yet does not log in either."""

    route_roles: ClassVar = {TRUST_PATH: Role.DISPLAY, DOWNLOAD_PATH: Role.DISPLAY}

    def routes(self) -> list[Route]:
        """None without a local authority."""
        if not self._context.settings.local_ca:
            return []
        return [Route(TRUST_PATH, self._page), Route(DOWNLOAD_PATH, self._download)]

    def is_allowed_without_session(self, request: Request) -> bool:
        return request.scope["path"] in {TRUST_PATH, DOWNLOAD_PATH} and request.method in {"GET", "HEAD"}

    @property
    def _authority(self) -> LocalAuthority:
        return LocalAuthority(self._context.settings.access)

    async def _page(self, request: Request) -> Response:
        return self._context.plain_page_response(
            request,
            "core/trust.html",
            heading=translate(request_language(request), "trust.title"),
            download=DOWNLOAD_PATH,
            fingerprint=self._authority.fingerprint(),
            systems=SYSTEMS,
        )

    async def _download(self, _request: Request) -> Response:
        return Response(
            self._authority.certificate(),
            media_type="application/x-x509-ca-cert",
            headers={"content-disposition": 'attachment; filename="linli-ca.crt"'},
        )
