"""Access control: the owner's key in a file, the people beside it, and signed session cookies.

The only file that uses itsdangerous.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from itsdangerous import BadSignature, URLSafeTimedSerializer

from gateway.base.files import create_durably, file_state
from gateway.base.log import error_text, log_event
from gateway.base.security import SECURITY_LOG
from gateway.model import ConfigError, GatewayError, Role
from gateway.wire.secret import is_open_to_others
from gateway.words import preferred_language

from .passwords import (
    ITERATIONS,
    LANES,
    MAX_PASSWORD_CHARACTERS,
    MEMORY_KIB,
    hash_password,
    is_password_of,
)
from .people import People, people_file, read_people, write_people
from .pins import check_new_pin
from .sessions import OpenSession, Sessions, session_id

SESSION_COOKIE = "linli-session"
SESSION_LIFETIME_S = 365 * 86_400
"""Long, as a wall has no keyboard; a session that is not used ends earlier, and one of a screen does not
end while it is used. Deleting or changing the key file ends all."""
MIN_KEY_CHARACTERS = 12
"""A shorter key can be guessed."""

NOBODYS_HASH = f"$argon2id$v=19$m={MEMORY_KIB},t={ITERATIONS},p={LANES}${'A' * 22}${'A' * 43}"
"""Checked for a name that nobody has, so that the time of the answer does not tell who there is."""


class Session(NamedTuple):
    """Whose session it is. Whoever came in by the key has any name, or none, and is the installer. A screen
    has its name and role from whoever bound it; what is done on it, people sign."""

    person: str
    role: Role
    is_screen: bool = False
    by_key: bool = False


def read_key(path: Path) -> str:
    """The access key; created if there is none. Raises `ConfigError`: unreadable, too short, or readable by
    others than its owner."""
    try:
        if not path.exists():
            create_durably(path, f"{secrets.token_urlsafe(16)}\n".encode())
        key = path.read_text("utf-8-sig").strip()
        is_open = is_open_to_others(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("access-key-unreadable", file=path, reason=error) from error
    if not key:
        raise ConfigError("access-key-empty", file=path)
    if len(key) < MIN_KEY_CHARACTERS:
        raise ConfigError("access-key-short", file=path, least=MIN_KEY_CHARACTERS)
    if is_open:
        raise ConfigError("access-key-open", file=path)
    return key


class Access:
    """Checks keys, passwords and cookies.

    `file` holds the key: if it is changed or deleted, that holds at once, and all sessions end. So it is
    with the people beside it: a session ends with its person, and with the password it began with.
    """

    def __init__(self, key: str, file: Path | None = None, sessions: Sessions | None = None) -> None:
        self._file = file
        self._file_state = file and file_state(file)
        self._set_key(key)
        self._people_file = file and people_file(file)
        self._people_state: tuple[int, ...] | None = None
        self._people: People = {}
        self._hashing = asyncio.Lock()
        self.sessions = sessions or Sessions(file)

    def _set_key(self, key: str) -> None:
        self._key = key.encode()
        self._secret = hmac.digest(self._key, b"linli dashboard session", hashlib.sha256)
        self._sessions = URLSafeTimedSerializer(self._secret)

    def _follow_file(self) -> None:
        """Take over another key from the file. Nobody gets in while there is no valid one."""
        if not self._file or file_state(self._file) == self._file_state:
            return
        try:
            self._set_key(read_key(self._file))
            self.sessions.forget()
            log_event(logging.WARNING, "access-key-changed")
            SECURITY_LOG.add("access-key-changed")
        except ConfigError as error:
            self._set_key(secrets.token_urlsafe())
            log_event(logging.ERROR, "access-key-refused", reason=error_text(error.key, **error.facts))
            SECURITY_LOG.add("access-key-refused")
        self._file_state = file_state(self._file)

    @property
    def people(self) -> People:
        """Those who may log in with a password. Nobody may while their file is wrong."""
        if self._people_file and (state := file_state(self._people_file)) != self._people_state:
            try:
                self._people = read_people(self._people_file)
            except ConfigError as error:
                self._people = {}
                mistakes = "; ".join(
                    each.text(preferred_language()) for each in getattr(error, "mistakes", ())
                )
                reason = mistakes or error_text(error.key, **error.facts)
                log_event(logging.ERROR, "people-refused", reason=reason)
                SECURITY_LOG.add("people-refused")
            self._people_state = state
        return self._people

    def is_key(self, text: str) -> bool:
        """Whether that is the access key."""
        self._follow_file()
        return hmac.compare_digest(text.encode("utf-8", "surrogatepass"), self._key)

    async def has_password(self, name: str, password: str) -> bool:
        """Whether there is a person of that name, with that password."""
        person = self.people.get(name)
        return await self._is_right(password, person.password if person else NOBODYS_HASH)

    async def has_pin(self, name: str, pin: str) -> bool:
        """Whether there is a person of that name, with that PIN."""
        person = self.people.get(name)
        return await self._is_right(pin, person.pin if person and person.pin else NOBODYS_HASH)

    async def set_pin(self, name: str, pin: str) -> None:
        """Give a person another PIN. Raises `ConfigError`: nobody may have it, or the file of the people is
        wrong; and `GatewayError`: there is no such person, or the file cannot be written."""
        check_new_pin(pin)
        async with self._hashing:
            await asyncio.to_thread(self._write_pin, name, pin)

    def _write_pin(self, name: str, pin: str) -> None:
        if self._people_file is None or name not in (people := read_people(self._people_file)):
            raise GatewayError("person-unknown", name=name, known="—")
        changed = msgspec.structs.replace(people[name], pin=hash_password(pin))
        try:
            write_people(self._people_file, {**people, name: changed})
        except OSError as error:
            raise GatewayError("people-unsaved", file=self._people_file, reason=error) from error

    async def _is_right(self, secret: str, secret_hash: str) -> bool:
        """One is checked after the other, so that many at once do not take all memory and processors."""
        if len(secret) > MAX_PASSWORD_CHARACTERS:
            return False
        async with self._hashing:
            is_right = await asyncio.to_thread(is_password_of, secret, secret_hash)
        return is_right and secret_hash != NOBODYS_HASH

    def sign_owner_session(self, name: str) -> str:
        """The cookie of whoever has shown the key, and is called that."""
        return self._sessions.dumps([name, secrets.token_urlsafe(8)])

    def sign_session(self, name: str) -> str:
        """The cookie of a person who has shown the password."""
        return self._sessions.dumps([name, secrets.token_urlsafe(8), self.password_id(name)])

    def sign_screen_session(self, name: str, role: Role) -> str:
        """The cookie of a screen that hangs or stands somewhere, and is nobody's."""
        return self._sessions.dumps([name, secrets.token_urlsafe(8), role, "screen"])

    def password_id(self, name: str) -> str:
        """What tells one password of a person from the next; empty if there is no such person."""
        person = self.people.get(name)
        if person is None:
            return ""
        return hmac.digest(self._secret, person.password.encode(), hashlib.sha256).hex()[:16]

    def session(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None if it is invalid, too old or ended."""
        found = self._read(cookie)
        if found is None:
            return None
        by_key = not found.proof and not found.is_screen
        return Session(found.person, found.role, found.is_screen, by_key)

    def _read(self, cookie: str | None) -> OpenSession | None:
        """What a valid cookie says."""
        self._follow_file()
        content, signed_ms = _verified(self._sessions, cookie)
        if content is None or self.sessions.is_ended(session_id(str(cookie))):
            return None
        # Cookies of earlier versions have the name only.
        name, *more = content if isinstance(content, list) else [content]
        is_person, is_screen = len(more) == 2, len(more) == 3
        proof = more[1] if is_person else ""
        person = self.people.get(name) if is_person else None
        if is_person and (person is None or proof != self.password_id(name)):
            return None
        if not is_screen and time.time() - signed_ms / 1000 > SESSION_LIFETIME_S:
            return None
        role = Role(more[1]) if is_screen else person.role if person else Role.INSTALLER
        return OpenSession(
            id=session_id(str(cookie)), person=str(name), role=role, proof=proof, is_screen=is_screen,
            began_ms=signed_ms,
        )  # fmt: skip

    async def use(self, cookie: str, address: str, agent: str) -> str:
        """A request came in a valid session. Returns what the session is known by."""
        if session := self._read(cookie):
            surplus = self.sessions.use(msgspec.structs.replace(session, address=address, agent=agent))
            if surplus:
                await self.sessions.end(surplus)
            await self.sessions.save()
        return session_id(cookie)

    def open_sessions(self) -> list[OpenSession]:
        """Those of everybody, the one used last first."""
        self._follow_file()
        return [
            each
            for each in self.sessions.open()
            if not each.proof or each.proof == self.password_id(each.person)
        ]

    def user_id(self, name: str) -> bytes:
        """What an authenticator knows a person by, which says nothing about them (Web Authentication,
        14.6.1)."""
        return hmac.digest(self._secret, f"user {name}".encode(), hashlib.sha256)

    def sign_token(self, purpose: str, content: str) -> str:
        """A signed token that is valid for that purpose only."""
        self._follow_file()
        return URLSafeTimedSerializer(self._secret, salt=purpose).dumps(content)

    def token_content(self, purpose: str, token: str | None, max_age_s: int) -> str | None:
        """The content of a token; None if it is invalid, for another purpose or too old."""
        self._follow_file()
        content, signed_ms = _verified(URLSafeTimedSerializer(self._secret, salt=purpose), token)
        is_valid = content is not None and time.time() - signed_ms / 1000 <= max_age_s
        return str(content) if is_valid else None


def _verified(serializer: URLSafeTimedSerializer, token: str | None) -> tuple[Any, int]:
    """The content and when it was signed (Unix milliseconds); None and 0 if the token is invalid."""
    try:
        content, signed = serializer.loads(token or "", return_timestamp=True)
    except BadSignature:
        return None, 0
    return content, int(signed.timestamp() * 1000)
