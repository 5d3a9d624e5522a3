"""The page where a person turns on that their phone rings on an alarm, tries it, and turns it off."""

from __future__ import annotations

import asyncio
import functools
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.base import control
from gateway.base.rate_limit import RateLimit, RateLimiter
from gateway.base.security import SECURITY_LOG
from gateway.model import GatewayError, Role
from gateway.web.browsers import browser_in_words
from gateway.web.part import PageContext, PartHandlers
from gateway.web.requests import (
    client_address,
    read_form,
    request_language,
    sees_others,
    wants_json,
)
from gateway.words import error_summary, translate

from ..phones import (
    AUTH_SECRET_BYTES,
    PUBLIC_KEY_BYTES,
    Phone,
    Phones,
    decoded,
    is_permitted_endpoint,
)
from .settings import SafetySettings

TEST_LIMIT = RateLimit(6, 60.0)
"""Test messages to the phones of one person."""
TEST_TIMEOUT_S = 15.0
OTHERS_PATH = "/phones/others"
"""Where a manager removes a phone of somebody else."""


class PhoneHandlers(PartHandlers):
    """Each person sees and changes their own phones alone; a manager removes those of others, too."""

    route_roles: ClassVar = {"/phones": Role.DISPLAY, OTHERS_PATH: Role.MANAGER}

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._tests = RateLimiter(context.clock.mono)

    def routes(self) -> list[Route]:
        return [
            Route("/phones", self._response, methods=["GET", "POST"]),
            Route(OTHERS_PATH, self._remove_of_other, methods=["POST"]),
        ]

    @property
    def _phones(self) -> Phones:
        return Phones(self._context.settings.access)

    @property
    def _settings(self) -> SafetySettings:
        settings: SafetySettings = self._context.settings.parts["safety"]
        return settings

    def _is_persons(self, request: Request) -> bool:
        """Whether the session is that of a person who may be taken off the list of people: a screen is
        nobody's, and the key is no person."""
        return not (request.state.is_screen or request.state.by_key)

    async def _response(self, request: Request) -> Response:
        if request.method != "POST":
            return await self._page(request)
        form = await read_form(request)
        try:
            if not self._is_persons(request) or self._settings.ringing is None:
                raise GatewayError("phones-off")
            done = await self._act(request, form)
        except (GatewayError, OSError) as error:
            problem = _problem(request_language(request), error)
            if wants_json(request):
                return JSONResponse({"status": "failed", "message": problem}, 400)
            return await self._page(request, problem, 400)
        if wants_json(request):
            return JSONResponse(
                {"status": "done", "message": translate(request_language(request), f"phones.done-{done}")}
            )
        return RedirectResponse(f"/phones?done={done}", 303)

    async def _act(self, request: Request, form: dict[str, str]) -> str:
        """What has been done. Raises `GatewayError` and `OSError`."""
        person, address = request.state.person, client_address(request)
        if "endpoint" in form:
            await asyncio.to_thread(self._phones.add, self._new_phone(request, form))
            SECURITY_LOG.add("phone-added", address, by=person)
            return "add"
        own = await asyncio.to_thread(self._phones.of, person)
        wanted = form.get("remove") or form.get("test")
        phone = next((each for each in own if each.id == wanted), None)
        if phone is None:
            raise GatewayError("phone-unknown")
        if "remove" in form:
            await asyncio.to_thread(self._phones.remove, phone)
            SECURITY_LOG.add("phone-removed", address, by=person)
            return "remove"
        if wait_s := self._tests.wait_s(person, TEST_LIMIT):
            raise GatewayError("phone-test-often", seconds=wait_s)
        self._tests.record(person)
        socket = self._context.settings.control
        await control.call_daemon(socket, "phone-test", TEST_TIMEOUT_S, person=person, phone=phone.id)
        return "test"

    async def _remove_of_other(self, request: Request) -> Response:
        wanted = (await read_form(request)).get("remove")
        try:
            others = await asyncio.to_thread(self._phones.all)
            phone = next((each for each in others if each.id == wanted), None)
            if phone is None:
                raise GatewayError("phone-unknown")
            await asyncio.to_thread(self._phones.remove, phone)
        except (GatewayError, OSError) as error:
            return await self._page(request, _problem(request_language(request), error), 400)
        address, by = client_address(request), request.state.person
        SECURITY_LOG.add("others-phone-removed", address, by=by, device=phone.person)
        return RedirectResponse("/phones?done=remove", 303)

    def _new_phone(self, request: Request, form: dict[str, str]) -> Phone:
        """Raises `GatewayError` if the browser's subscription is none that can be used."""
        from ..web_push import check_public_key  # noqa: PLC0415  its libraries are heavy

        ringing = self._settings.ringing
        assert ringing
        try:
            public_key, auth_secret = form.get("p256dh", ""), form.get("auth", "")
            point = decoded(public_key, PUBLIC_KEY_BYTES)
            decoded(auth_secret, AUTH_SECRET_BYTES)
            check_public_key(point)
            if not is_permitted_endpoint(form["endpoint"], ringing.own_service):
                raise ValueError("endpoint")
        except ValueError as error:
            raise GatewayError("phone-wrong") from error
        return Phone(
            endpoint=form["endpoint"],
            public_key=public_key,
            auth_secret=auth_secret,
            server_key=self._server_key(),
            person=request.state.person,
            lang=request_language(request),
            agent=request.headers.get("user-agent", "")[: Phone.MAX_AGENT_CHARACTERS],
            added_ms=self._context.clock.now().wall_ms,
        )

    def _server_key(self) -> str:
        """Raises `GatewayError`."""
        from ..web_push import PushKey  # noqa: PLC0415  its libraries are heavy

        return PushKey(self._context.settings.access).public

    async def _page(self, request: Request, problem: str = "", status: int = 200) -> Response:
        lang, person, ringing = request_language(request), request.state.person, self._settings.ringing
        is_persons, server_key = self._is_persons(request), ""
        phones: list[Phone] = []

        def is_own(phone: Phone) -> bool:
            return is_persons and phone.person == person

        try:
            if ringing is not None and is_persons:
                server_key = await asyncio.to_thread(self._server_key)
            if is_persons or sees_others(request):
                phones = await asyncio.to_thread(self._phones.all)
        except (GatewayError, OSError) as error:
            problem = _problem(lang, error)
        return self._context.page_response(
            request,
            "phones",
            "safety/phones.html",
            status,
            phones=list(filter(is_own, phones)),
            others=[each for each in phones if sees_others(request) and not is_own(each)],
            server_key=server_key,
            is_possible=ringing is not None,
            is_persons=is_persons,
            is_told=ringing is not None and person in ringing.people,
            browser=functools.partial(browser_in_words, lang),
            problem=problem,
            done=request.query_params.get("done", ""),
        )


def _problem(lang: str, error: GatewayError | OSError) -> str:
    if isinstance(error, GatewayError):
        return error_summary(lang, error.key, error.facts)
    return error_summary(lang, "phones-unreadable", {"reason": error})
