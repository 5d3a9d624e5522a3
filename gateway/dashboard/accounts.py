"""Who comes in, which sessions are open, and who acts in them."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.base.connections import network_of
from gateway.base.log import log_event
from gateway.base.rate_limit import RateLimit, RateLimiter
from gateway.base.security import SECURITY_LOG
from gateway.base.tasks import exception_of
from gateway.model import GatewayError, Role
from gateway.web.access import SESSION_COOKIE
from gateway.web.browsers import browser_in_words
from gateway.web.login_limit import LoginLimit, PinLimit
from gateway.web.pages import label
from gateway.web.part import KIOSK, PageContext
from gateway.web.passkeys import Passkeys, relying_party
from gateway.web.people import MAX_NAME_CHARACTERS, is_valid_name, normalized_name
from gateway.web.pins import PIN_PATTERN
from gateway.web.requests import (
    ANONYMOUS_PERSON,
    client_address,
    only_asks,
    own_origin,
    read_form,
    remember_language,
    request_language,
    set_cookie,
    wants_json,
)
from gateway.web.sessions import OpenSession
from gateway.words import translate

SIGNATURE_LIFETIME_S = 120.0
"""After a signature on a screen, further acts of somebody on duty are that person's: a fire leaves no time
to enter a number for each step of the plan."""
SCREEN_ROLES = (Role.DISPLAY, Role.DUTY)
"""What a screen may show by itself."""
PASSKEY_LIMIT = RateLimit(30, 60.0)
"""How often one address may ask to log in with a passkey."""
PASSKEY_LOGIN_PATH = "/login/passkey"
SIGN_STATUS = "sign"
"""The status of an answer that asks for a password or PIN first."""


class ProblemPages(PageContext, Protocol):
    """The dashboard, as far as this module uses it."""

    def refuse_role(self, request: Request, own: Role, needed: Role) -> Response:
        """The page that says which role would be needed."""
        ...


class Actor(NamedTuple):
    """Whoever does something, and in which role."""

    person: str
    role: Role


class _Signature(NamedTuple):
    person: str
    until_s: float
    is_used: bool


def is_harmful(role: Role) -> bool:
    """Whether what needs that role weakens protection, opens something or changes settings."""
    return role.includes(Role.MANAGER)


class Accounts:
    """The login, the page of the sessions, and signatures. Seconds are on a monotonic clock."""

    def __init__(self, context: ProblemPages) -> None:
        self._context = context
        self._access = context.access
        self._mono = context.clock.mono
        self._login_limit = LoginLimit(self._mono)
        self._pin_limit = PinLimit(self._mono)
        self._signatures: dict[str, _Signature] = {}
        """By the session of the screen."""
        self.passkeys = Passkeys(self._context.settings.access, self._access.password_id, self._mono)
        self._passkey_questions = RateLimiter(self._mono)
        self._passkey_lock = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Those that no role restricts; the page of the sessions is `sessions_route`."""
        return [
            # Also what is opened again after a failed login, whose address this is.
            Route("/login", self._login_response, methods=["GET", "POST"]),
            Route(PASSKEY_LOGIN_PATH, self._passkey_question, methods=["POST"]),
            Route("/sign/passkey", self._passkey_question, methods=["POST"]),
            Route("/logout", self._logout_response, methods=["POST"]),
            Route("/sign", self._sign_response, methods=["POST"]),
        ]

    def sessions_route(self) -> Route:
        """The list of the open sessions, where they are ended and a screen is bound."""
        return Route("/sessions", self._sessions_response, methods=["GET", "POST"])

    async def admit(self, request: Request) -> None:
        """Put down whose request it is, in `request.state`."""
        state, cookie = request.state, request.cookies.get(SESSION_COOKIE, "")
        session = self._access.session(cookie)
        state.person, state.role, state.is_screen, state.by_key = session or (None, None, False, False)
        state.session = ""
        if session is not None:
            address = client_address(request)
            self._login_limit.remember(address, session.person)
            state.session = await self._access.use(cookie, address, request.headers.get("user-agent", ""))

    # Acts

    def actor(self, request: Request) -> Actor | None:
        """Who acts now; None on a screen on which nobody has signed."""
        state = request.state
        if not state.is_screen:
            return Actor(state.person, state.role)
        signature = self._signatures.get(state.session)
        person = self._access.people.get(signature.person) if signature else None
        if signature is None or person is None or self._mono() > signature.until_s:
            return None
        return Actor(signature.person, person.role)

    def must_sign(self, request: Request, needed: Role, *, by_itself: bool = False) -> bool:
        """Whether a password or PIN is needed again before an act that needs that role. `by_itself`: it is
        a signature, so on a screen an earlier one does not count for it."""
        if request.state.is_screen:
            return (by_itself or is_harmful(needed)) and self._signatures[request.state.session].is_used
        return is_harmful(needed) and (
            self._access.sessions.idle_s(request.state.session) > self._idle_limit_s
        )

    @property
    def _idle_limit_s(self) -> float:
        return self._context.settings.password_again_minutes * 60.0

    def note_act(self, request: Request, needed: Role, *, by_itself: bool = False) -> None:
        """The actor does something. What is harmful uses up a signature on a screen. A session that has
        been idle for too long stays so, whatever is done in it, until the password is shown."""
        session = request.state.session
        if not request.state.is_screen:
            if self._access.sessions.idle_s(session) <= self._idle_limit_s:
                self._access.sessions.act(session)
        elif by_itself or is_harmful(needed):
            del self._signatures[session]
        else:
            self._signatures[session] = self._signatures[session]._replace(
                until_s=self._mono() + SIGNATURE_LIFETIME_S, is_used=True
            )

    def drop_signature(self, request: Request) -> None:
        """Somebody else has to sign."""
        self._signatures.pop(request.state.session, None)

    def signers(self, request: Request, needed: Role) -> list[str]:
        """On a screen, the names of those who may sign what needs that role."""
        people = self._access.people.items() if request.state.is_screen else ()
        return sorted(name for name, person in people if person.role.includes(needed))

    def role_of_actors(self, request: Request) -> Role:
        """The most that can be done in this session, by whoever signs it."""
        if not request.state.is_screen:
            role: Role = request.state.role
            return role
        roles = [person.role for person in self._access.people.values()]
        return max(roles, key=list(Role).index, default=Role.DISPLAY)

    def signing_sentence(self, request: Request, needed: Role) -> str:
        """What the form of the signature says."""
        lang, state = request_language(request), request.state
        if not state.is_screen:
            key = "sign-again-key" if state.by_key else "sign-again"
            minutes = self._context.settings.password_again_minutes
            return translate(lang, f"dashboard.{key}", minutes=minutes)
        if not self.signers(request, needed):
            needed_label = label(lang, "role", needed)
            return translate(lang, "dashboard.sign-nobody", role=needed_label)
        return translate(lang, "dashboard.sign-screen")

    def signing_page(self, request: Request, needed: Role, problem: str = "", **typed: str) -> Response:
        """The form of the signature, which leads back to where one was; for a script, what to ask for."""
        if wants_json(request):
            sentence, people = self.signing_sentence(request, needed), self.signers(request, needed)
            return JSONResponse({"status": SIGN_STATUS, "message": sentence, "people": people}, 403)
        return self._context.plain_page_response(
            request,
            "core/sign.html",
            403,
            heading=translate(request_language(request), "dashboard.sign"),
            text=self.signing_sentence(request, needed),
            problem=problem,
            people=self.signers(request, needed),
            needed=str(needed),
            name=typed.get("name", ""),
            destination=typed.get("destination") or own_address(request),
            offers_passkey=self.has_passkey(request),
        )

    def restriction(self, request: Request, needed: Role, *, by_itself: bool = False) -> Response | None:
        """The response to a form that may not be sent by whoever acts, or not yet, or is not sent yet;
        None if it may."""
        actor = self.actor(request)
        if actor is not None and not actor.role.includes(needed):
            self.drop_signature(request)
            return self._context.refuse_role(request, actor.role, needed)
        if actor is None or self.must_sign(request, needed, by_itself=by_itself):
            return self.signing_page(request, needed)
        if only_asks(request):
            return Response(status_code=204)
        self.note_act(request, needed, by_itself=by_itself)
        request.state.person = actor.person
        return None

    async def _sign_response(self, request: Request) -> Response:
        """Check a password or PIN: of the session's person, or on a screen of whoever is named."""
        form = await read_form(request)
        lang, address, state = request_language(request), client_address(request), request.state
        name = normalized_name(form.get("name", "")) if state.is_screen else state.person
        secret, destination = form.get("secret", "").strip(), form.get("destination", "")
        if "passkey" in form and is_persons(request):
            wait_s, is_right = 0, await self._passkey_person(request, form["passkey"], name) == name
        else:
            wait_s, is_right = await self.check_secret(request, name, secret)
        if is_right:
            if state.is_screen:
                self._sign_screen(state.session, name)
            else:
                self._access.sessions.act(state.session)
            done = JSONResponse({"status": "done", "message": ""})
            return RedirectResponse(destination, 303) if is_local_address(destination) else done
        SECURITY_LOG.add("sign-failed", address, by=name if self._is_person(name) else "")
        key = "wait" if wait_s else "passkey-refused" if "passkey" in form else "wrong-signature"
        problem = translate(lang, f"dashboard.{key}", seconds=wait_s)
        if is_local_address(destination):
            needed = Role(form["needed"]) if form.get("needed") in list(Role) else Role.DUTY
            return self.signing_page(request, needed, problem, name=name, destination=destination)
        return JSONResponse({"status": SIGN_STATUS, "message": problem}, 429 if wait_s else 403)

    async def check_secret(self, request: Request, name: str, secret: str) -> tuple[int, bool]:
        """Seconds to wait, and whether it is right. A PIN has limits of its own: whoever guesses it shuts
        nobody out of the login."""
        address, state = client_address(request), request.state
        if not state.is_screen and self._access.is_key(secret):
            return 0, True
        person = self._access.people.get(name)
        if state.is_screen and person and person.pin and PIN_PATTERN.fullmatch(secret):
            if wait_s := self._pin_limit.wait_s(state.session, name):
                return wait_s, False
            self._pin_limit.count(state.session, name)
            is_right = await self._access.has_pin(name, secret)
            if is_right:
                self._pin_limit.uncount(state.session, name)
            return 0, is_right
        if wait_s := self._login_limit.wait_s(address, name):
            return wait_s, False
        self._login_limit.count(address, name)
        is_right = not state.by_key and await self._access.has_password(name, secret)
        if is_right:
            self._login_limit.uncount(address, name)
        return 0, is_right

    def _sign_screen(self, session: str, person: str) -> None:
        now = self._mono()
        self._signatures = {key: each for key, each in self._signatures.items() if each.until_s > now}
        self._signatures[session] = _Signature(person, now + SIGNATURE_LIFETIME_S, is_used=False)

    def _is_person(self, name: str) -> bool:
        return name in self._access.people

    # Passkeys

    def passkey_host(self, request: Request) -> str:
        """The name for which passkeys are made where the request goes; empty where there can be none."""
        return relying_party(own_origin(request))

    def has_passkey(self, request: Request) -> bool:
        """Whether whoever is logged in can sign with one."""
        host, person = self.passkey_host(request), request.state.person
        return is_persons(request) and self.passkeys.are_at(host, person)

    async def _passkey_question(self, request: Request) -> Response:
        """What a browser is to be asked, as JSON: by whom one wants to log in, or by the session's
        person."""
        is_login = request.scope["path"] == PASSKEY_LOGIN_PATH
        lang, network = request_language(request), network_of(client_address(request))
        if wait_s := self._passkey_questions.wait_s(network, PASSKEY_LIMIT):
            message = translate(lang, "dashboard.wait", seconds=wait_s)
            return JSONResponse({"status": "failed", "message": message}, 429)
        self._passkey_questions.record(network)
        person = "" if is_login else request.state.person
        is_possible = is_login or is_persons(request)
        if not is_possible or not self.passkeys.are_at(self.passkey_host(request), person):
            message = translate(lang, "dashboard.passkey-none")
            return JSONResponse({"status": "failed", "message": message}, 404)
        # In a thread, as its library is loaded at the first time.
        question = await asyncio.to_thread(self.passkeys.login_options, own_origin(request), person)
        return JSONResponse(question)

    async def _passkey_person(self, request: Request, answer: str, person: str = "") -> str:
        """Who has shown a passkey; empty if nobody has. `person`: nobody else may."""
        found = [""]

        async def check() -> None:
            now_ms = self._context.clock.now().wall_ms
            async with self._passkey_lock:
                found[0] = await asyncio.to_thread(
                    self.passkeys.person_of, answer, own_origin(request), now_ms, person
                )

        if error := await exception_of(check()):
            is_copied = isinstance(error, GatewayError) and error.key == "passkey-copied"
            event = "passkey-copied" if is_copied else "passkey-refused"
            SECURITY_LOG.add(event, client_address(request), by=person)
        return found[0]

    async def add_passkey(self, request: Request, name: str, answer: str) -> bool:
        """Whether the browser's new passkey is kept for the session's person."""

        async def add() -> None:
            now_ms = self._context.clock.now().wall_ms
            async with self._passkey_lock:
                await asyncio.to_thread(
                    self.passkeys.register, request.state.person, name, own_origin(request), answer, now_ms
                )

        error = await exception_of(add())
        event = "passkey-refused" if error else "passkey-added"
        SECURITY_LOG.add(event, client_address(request), by=request.state.person)
        return error is None

    async def remove_passkey(self, request: Request, person: str, passkey_id: str) -> None:
        """That person no longer has it. Raises `GatewayError`."""
        async with self._passkey_lock:
            is_known = await asyncio.to_thread(self.passkeys.remove, person, passkey_id)
        if is_known and is_persons(request) and person == request.state.person:
            SECURITY_LOG.add("passkey-removed", client_address(request), by=person)
        elif is_known:
            by = request.state.person
            SECURITY_LOG.add("others-passkey-removed", client_address(request), by=by, device=person)

    # Sessions

    async def _sessions_response(self, request: Request) -> Response:
        if request.method != "POST":
            return self._sessions_page(request)
        form = await read_form(request)
        if "screen" in form:
            return await self._bind_screen(request, form)
        wanted, shown = form.get("end", ""), self._shown_sessions(request)
        own, person = request.state.session, request.state.person
        if wanted == "others":
            ended = [each.id for each in shown if each.person == person and each.id != own]
        else:
            ended = [each.id for each in shown if each.id == wanted]
        if own in ended:
            return await self._logout_response(request)
        for _ in ended:
            SECURITY_LOG.add("session-ended", client_address(request), by=person)
        await self._access.sessions.end(ended)
        await self._access.sessions.save()
        return RedirectResponse("/sessions", 303)

    def _shown_sessions(self, request: Request) -> list[OpenSession]:
        """Those that this person may see and end."""
        state = request.state
        sees_all = state.role.includes(Role.MANAGER)
        return [
            each
            for each in self._access.open_sessions()
            if sees_all or (each.person == state.person and each.is_screen == state.is_screen)
        ]

    def _sessions_page(self, request: Request, problem: str = "", status: int = 200) -> Response:
        lang = request_language(request)
        return self._context.page_response(
            request,
            "sessions",
            "core/sessions.html",
            status,
            sessions=self._shown_sessions(request),
            own=request.state.session,
            may_bind=request.state.role.includes(Role.MANAGER) and not request.state.is_screen,
            screen_roles=SCREEN_ROLES,
            browser=functools.partial(browser_in_words, lang),
            problem=problem,
        )

    async def _bind_screen(self, request: Request, form: dict[str, str]) -> Response:
        """This browser becomes a screen: the session of whoever does it ends."""
        if refused := self.restriction(request, Role.MANAGER):
            return refused
        name, role = normalized_name(form["screen"]), form.get("role", "")
        if not is_valid_name(name) or role not in SCREEN_ROLES:
            lang = request_language(request)
            problem = translate(lang, "error.person-name", most=MAX_NAME_CHARACTERS)
            return self._sessions_page(request, problem, 400)
        SECURITY_LOG.add("screen-bound", client_address(request), by=request.state.person, device=name)
        await self._access.sessions.end([request.state.session])
        response = RedirectResponse(f"/?{KIOSK}" if role == Role.DISPLAY else "/", 303)
        cookie = self._access.sign_screen_session(name, Role(role))
        set_cookie(request, response, SESSION_COOKIE, cookie)
        return response

    # Login

    def ask_for_login(self, request: Request, status: int, problem: str = "", **typed: str) -> Response:
        """The form of the login, which leads to where one was going."""
        destination = typed.get("destination") or own_address(request)
        if not problem and SESSION_COOKIE in request.cookies:
            problem = translate(request_language(request), "dashboard.session-ended")
        if wants_json(request):
            again = translate(request_language(request), "dashboard.session-ended-script")
            return JSONResponse({"status": "failed", "message": again}, status)
        return self._context.plain_page_response(
            request,
            "core/login.html",
            status,
            problem=problem,
            has_people=bool(self._access.people),
            name=typed.get("name", ""),
            destination=destination,
            in_language=functools.partial(_with_language, destination),
            has_local_ca=self._context.settings.local_ca,
            offers_passkey=self.passkeys.are_at(self.passkey_host(request)),
        )

    async def log_in(self, request: Request, secret: str, name: str, destination: str) -> Response:
        """Exchange the key or a person's password for a session. The right key is never refused, whatever
        else was tried. A key in the address leaves it by the redirect; a password in it does not count."""
        lang, address = request_language(request), client_address(request)
        name = normalized_name("".join(filter(str.isprintable, name)))[:MAX_NAME_CHARACTERS]
        if self._access.is_key(secret):
            by = name or ANONYMOUS_PERSON
            return await self._logged_in(request, by, self._access.sign_owner_session(by), destination)
        typed = {"name": name, "destination": destination}
        if wait_s := self._login_limit.wait_s(address, name):
            log_event(logging.WARNING, "login-too-often", address=address)
            SECURITY_LOG.add("login-too-often", address)
            problem = translate(lang, "dashboard.wait", seconds=wait_s)
            answer = self.ask_for_login(request, 429, problem, **typed)
            answer.headers["retry-after"] = str(wait_s)
            return answer
        self._login_limit.count(address, name)
        may_be_person = request.method == "POST" and bool(name) and bool(self._access.people)
        if may_be_person and await self._access.has_password(name, secret):
            self._login_limit.uncount(address, name)
            return await self._logged_in(request, name, self._access.sign_session(name), destination)
        by = name if self._is_person(name) else ""
        log_event(logging.WARNING, "login-failed", address=address)
        SECURITY_LOG.add("login-failed", address, by=by)
        key = "wrong-password" if self._access.people else "wrong-key"
        return self.ask_for_login(request, 401, translate(lang, f"dashboard.{key}"), **typed)

    async def _log_in_by_passkey(self, request: Request, answer: str, destination: str) -> Response:
        if person := await self._passkey_person(request, answer):
            return await self._logged_in(request, person, self._access.sign_session(person), destination)
        log_event(logging.WARNING, "login-failed", address=client_address(request))
        problem = translate(request_language(request), "dashboard.passkey-refused")
        return self.ask_for_login(request, 401, problem, destination=destination)

    async def _logged_in(self, request: Request, person: str, cookie: str, destination: str) -> Response:
        address = client_address(request)
        log_event(logging.INFO, "login", by=person, address=address)
        SECURITY_LOG.add("login", address, by=person)
        self._login_limit.remember(address, person)
        if request.state.session:
            await self._access.sessions.end([request.state.session])
        session = await self._access.use(cookie, address, request.headers.get("user-agent", ""))
        self._access.sessions.act(session)
        response = RedirectResponse(destination, 303)
        set_cookie(request, response, SESSION_COOKIE, cookie)
        return remember_language(request, request_language(request), response)

    async def _login_response(self, request: Request) -> Response:
        if request.method != "POST":
            return RedirectResponse("/", 303)
        form = await read_form(request)
        destination = form.get("destination", "")
        destination = destination if is_local_address(destination) else "/"
        if "passkey" in form:
            return await self._log_in_by_passkey(request, form["passkey"], destination)
        return await self.log_in(request, form.get("key", "").strip(), form.get("name", ""), destination)

    async def _logout_response(self, request: Request) -> Response:
        """End the session. Whoever passes a screen does not put it out of use."""
        if request.state.is_screen and (refused := self.restriction(request, Role.MANAGER)):
            return refused
        await self._access.sessions.end([request.state.session])
        person, address = request.state.person, client_address(request)
        log_event(logging.INFO, "logout", by=person, address=address)
        SECURITY_LOG.add("logout", address, by=person)
        response = RedirectResponse("/", 303)
        response.delete_cookie(SESSION_COOKIE)
        return response


def is_persons(request: Request) -> bool:
    """Whether the session is that of a person: a screen is nobody's, and the key is no person."""
    state = request.state
    return state.person is not None and not (state.is_screen or state.by_key)


def is_local_address(address: str) -> bool:
    """Whether an address is one of these pages, whatever a browser makes of it."""
    try:
        scheme, host, *_ = urlsplit(address)
    except ValueError:
        return False
    is_path = address.startswith("/") and not address.startswith("//")
    return is_path and not scheme and not host and "\\" not in address and address.isprintable()


def own_address(request: Request) -> str:
    """The address of a page, to come back to it: the one asked for, or the one whose form was sent."""
    if request.method in {"GET", "HEAD"}:
        path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    else:
        try:
            _, host, path, query, _ = urlsplit(request.headers.get("referer", ""))
        except ValueError:
            return "/"
        if host != request.headers.get("host"):
            return "/"
    address = path + (f"?{query}" if query else "")
    is_page = path not in {"/login", "/logout", "/sign"} and "key" not in parse_qs(query)
    return address if is_page and is_local_address(address) else "/"


def _with_language(address: str, lang: str) -> str:
    """The same page in that language."""
    path, _, query = address.partition("?")
    others = [(name, text) for name, text in parse_qsl(query, True) if name != "lang"]
    return f"{path}?{urlencode([*others, ('lang', lang)])}"
