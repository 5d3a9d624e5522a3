"""What every handler of the dashboard asks of a request, and tells a browser to keep."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.words import LANGUAGES

from .access import KEPT

NAMELESS = "dashboard"
"""Whoever came in without saying who they are."""
BODY = 65_536
"""Bytes that a form may have."""


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


def remember(request: Request, lang: str, response: Response) -> Response:
    """Keep a language that was asked for."""
    if request.query_params.get("lang") == lang:
        set_cookie(request, response, "lang", lang)
    return response


def set_cookie(request: Request, response: Response, name: str, value: str, max_age: int = KEPT) -> None:
    """A cookie for our pages alone."""
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


async def body_of(request: Request) -> bytes:
    """Raises `HTTPException` when it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY:
            raise HTTPException(413)
    return body
