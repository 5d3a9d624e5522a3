"""Helpers of request handlers: origin, language, cookies, address, body, form and workbooks."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from gateway.model import Role
from gateway.words import LANGUAGES, translate

from .access import SESSION_LIFETIME_S
from .spreadsheet import XLSX_TYPE
from .workbook_process import MakeWorkbook, make_workbook

ANONYMOUS_PERSON = "dashboard"
"""The name of a person who logged in without a name."""
MAX_BODY_BYTES = 65_536
MAX_FORM_FIELDS = 128


def is_same_origin(headers: Headers) -> bool:
    """Whether a page of this dashboard sent the request, by `Sec-Fetch-Site` or `Origin`; False without
    either."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None and origin is None:
        return False
    return site in {None, "same-origin"} and (
        origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()
    )


def wants_json(request: Request) -> bool:
    """Whether a script of a page sent the request, which reads JSON and shows no other page."""
    return request.headers.get("accept", "") == "application/json"


def only_asks(request: Request) -> bool:
    """Whether the script of a page only wants to know what a form needs first, such as the password: the
    form itself is not sent yet, and nothing is to be done."""
    return "linli-only-ask" in request.headers


def request_language(request: Request) -> str:
    """The language of the query, else of the cookie, else of `Accept-Language`, else the default."""
    for choice in (request.query_params.get("lang"), request.cookies.get("lang")):
        if choice in LANGUAGES:
            return choice
    for part in request.headers.get("accept-language", "").split(","):
        choice = part.partition(";")[0].partition("-")[0].strip().lower()
        if choice in LANGUAGES:
            return choice
    return LANGUAGES[0]


def remember_language(request: Request, lang: str, response: Response) -> Response:
    """Store the language of the query in a cookie."""
    if request.query_params.get("lang") == lang:
        set_cookie(request, response, "lang", lang)
    return response


def set_cookie(
    request: Request, response: Response, name: str, value: str, max_age_s: int = SESSION_LIFETIME_S
) -> None:
    """Set a cookie that only these pages receive."""
    response.set_cookie(
        name,
        value,
        max_age=max_age_s,
        httponly=True,
        samesite="strict",
        secure=request.scope["scheme"] == "https",
    )


def client_address(request: Request) -> str:
    """The address the request came from; empty when unknown."""
    return request.client.host if request.client else ""


def own_origin(request: Request) -> str:
    """The origin at which the browser sees these pages: scheme, name and, where it is not the usual one,
    the port."""
    return f"{request.scope['scheme']}://{request.headers.get('host', '').lower()}"


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The body. Raises `HTTPException` if it is longer than that, or the client leaves."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise HTTPException(413)
    except ClientDisconnect as error:
        raise HTTPException(400) from error
    return bytes(body)


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, each once. Raises `HTTPException` when there are too many or it is too long."""
    body = (await read_body(request)).decode("utf-8", "replace")
    try:
        fields = parse_qs(body, max_num_fields=MAX_FORM_FIELDS)
    except ValueError as error:
        raise HTTPException(400) from error
    return {name: values[0] for name, values in fields.items()}


def sees_others(request: Request) -> bool:
    """Whether whoever is logged in also sees and removes what lets other people in: a manager, but not on a
    screen that people share."""
    role: Role = request.state.role
    return not request.state.is_screen and role.includes(Role.MANAGER)


async def workbook_response(request: Request, make: MakeWorkbook, *arguments: Any) -> Response:
    """A workbook to download, or why there is none; see `make_workbook`. Raises `OSError`."""
    with contextlib.ExitStack() as left_behind:
        folder = left_behind.enter_context(tempfile.TemporaryDirectory(prefix="linli-"))
        file = Path(folder) / "book.xlsx"
        made = await make_workbook(file, make, *arguments)
        if not isinstance(made, str):
            text = translate(request_language(request), made["sentence"], **made["facts"])
            return PlainTextResponse(text, 503)
        sent = BackgroundTask(left_behind.pop_all().close)
    return FileResponse(file, filename=f"{made}.xlsx", media_type=XLSX_TYPE, background=sent)
