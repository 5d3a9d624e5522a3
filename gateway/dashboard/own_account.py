"""A person's own page: passkeys, the PIN for shared screens, and what else concerns that person alone."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.base.security import SECURITY_LOG
from gateway.model import GatewayError
from gateway.web.browsers import browser_in_words
from gateway.web.part import PageContext
from gateway.web.passkeys import MAX_NAME_CHARACTERS
from gateway.web.people import normalized_name
from gateway.web.pins import MAX_PIN_DIGITS, MIN_PIN_DIGITS
from gateway.web.requests import client_address, own_origin, read_form, request_language, sees_others
from gateway.web.settings import title_in
from gateway.words import error_summary, translate

from .accounts import Accounts, is_persons


class OwnAccount:
    """Whatever lets one in needs the password again, however short ago it was shown."""

    def __init__(self, context: PageContext, accounts: Accounts) -> None:
        self._context = context
        self._accounts = accounts

    def routes(self) -> list[Route]:
        return [
            Route("/account", self._response, methods=["GET", "POST"]),
            Route("/account/passkey", self._new_passkey, methods=["POST"]),
        ]

    def others_route(self) -> Route:
        """Where a manager removes a passkey of somebody else."""
        return Route("/account/others", self._remove_of_other, methods=["POST"])

    async def _response(self, request: Request) -> Response:
        if request.method != "POST":
            return self._page(request)
        form = await read_form(request)
        try:
            if not is_persons(request):
                raise GatewayError("account-none")
            done = await self._act(request, form)
        except GatewayError as error:
            problem = error_summary(request_language(request), error.key, error.facts)
            return self._page(request, problem, 400)
        return RedirectResponse(f"/account?done={done}", 303)

    async def _act(self, request: Request, form: dict[str, str]) -> str:
        """What has been done. Raises `GatewayError`."""
        person, address = request.state.person, client_address(request)
        if "remove" in form:
            await self._accounts.remove_passkey(request, person, form["remove"])
            return "passkey-removed"
        await self._check_password(request, form)
        await self._context.access.set_pin(person, form.get("pin", "").strip())
        SECURITY_LOG.add("pin-set", address, by=person)
        return "pin-set"

    async def _remove_of_other(self, request: Request) -> Response:
        form = await read_form(request)
        try:
            await self._accounts.remove_passkey(request, form.get("person", ""), form.get("remove", ""))
        except GatewayError as error:
            problem = error_summary(request_language(request), error.key, error.facts)
            return self._page(request, problem, 400)
        return RedirectResponse("/account?done=passkey-removed", 303)

    async def _check_password(self, request: Request, form: dict[str, str]) -> None:
        """Raises `GatewayError` if the password is not that of the session's person."""
        person, secret = request.state.person, form.get("secret", "").strip()
        wait_s, is_right = await self._accounts.check_secret(request, person, secret)
        if wait_s:
            raise GatewayError("account-wait", seconds=wait_s)
        if not is_right:
            SECURITY_LOG.add("sign-failed", client_address(request), by=person)
            raise GatewayError("account-password")

    async def _new_passkey(self, request: Request) -> Response:
        """For the script of the page: with the password, what the browser is to be asked; with the
        browser's answer, whether the passkey is kept."""
        form, lang, person = await read_form(request), request_language(request), request.state.person
        origin = own_origin(request)
        try:
            if not is_persons(request) or not self._accounts.passkey_host(request):
                raise GatewayError("account-none")
            if "answer" not in form:
                await self._check_password(request, form)
                title = title_in(self._context.settings.title, lang, translate(lang, "dashboard.product"))
                user_id = self._context.access.user_id(person)
                passkeys = self._accounts.passkeys
                # In a thread, as its library is loaded at the first time.
                question = await asyncio.to_thread(
                    passkeys.registration_options, person, user_id, origin, title
                )
                return JSONResponse(question)
            name = normalized_name("".join(filter(str.isprintable, form.get("name", ""))))
            name = name[:MAX_NAME_CHARACTERS] or browser_in_words(
                lang, request.headers.get("user-agent", "")
            )
            if not await self._accounts.add_passkey(request, name, form["answer"]):
                raise GatewayError("passkey-wrong")
        except GatewayError as error:
            message = error_summary(lang, error.key, error.facts)
            return JSONResponse({"status": "failed", "message": message}, 400)
        return JSONResponse({"status": "done", "message": ""})

    def _page(self, request: Request, problem: str = "", status: int = 200) -> Response:
        person, passkeys = request.state.person, self._accounts.passkeys.all()
        own = [each for each in passkeys if is_persons(request) and each.person == person]
        others = [each for each in passkeys if sees_others(request) and each not in own]
        known = self._context.access.people.get(person)
        return self._context.page_response(
            request,
            "account",
            "core/account.html",
            status,
            is_persons=is_persons(request),
            host=self._accounts.passkey_host(request),
            is_encrypted=request.scope["scheme"] == "https",
            passkeys=own,
            others=sorted(others, key=lambda each: (each.person, each.added_ms)),
            has_pin=bool(known and known.pin),
            pin_digits=(MIN_PIN_DIGITS, MAX_PIN_DIGITS),
            problem=problem,
            done=request.query_params.get("done", ""),
        )
