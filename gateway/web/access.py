"""Access control: the owner's key in a file, the people beside it, and signed session cookies.

The only file that uses itsdangerous.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from pathlib import Path
from typing import Any, NamedTuple

from itsdangerous import BadSignature, URLSafeTimedSerializer

from gateway.base.files import create_durably, write_durably
from gateway.base.log import error_text, log_event
from gateway.base.security import SECURITY_LOG
from gateway.model import ConfigError
from gateway.wire.secret import is_open_to_others
from gateway.words import preferred_language

from .passwords import ITERATIONS, LANES, MAX_PASSWORD_CHARACTERS, MEMORY_KIB, is_password_of
from .people import People, people_file, read_people
from .roles import Role

SESSION_COOKIE = "linli-session"
SESSION_LIFETIME_S = 365 * 86_400
"""Long, as a wall screen has no keyboard. Deleting or changing the key file ends all sessions."""
MIN_KEY_CHARACTERS = 12
"""A shorter key can be guessed."""
MAX_ENDED_SESSIONS = 10_000
"""Remembered with the key; the oldest is forgotten first."""

NOBODYS_HASH = f"$argon2id$v=19$m={MEMORY_KIB},t={ITERATIONS},p={LANES}${'A' * 22}${'A' * 43}"
"""Checked for a name that nobody has, so that the time of the answer does not tell who there is."""


class Session(NamedTuple):
    """Whose session it is. Whoever came in by the key has any name, or none, and is the installer."""

    person: str
    role: Role


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
    with the people beside it: a session ends with its person, and with the password it began with. Sessions
    that have been ended one by one are remembered there too.
    """

    def __init__(self, key: str, file: Path | None = None) -> None:
        self._file = file
        self._file_state = _file_state(file)
        self._set_key(key)
        self._people_file = file and people_file(file)
        self._people_state: tuple[int, ...] | None = None
        self._people: People = {}
        self._hashing = asyncio.Lock()
        self._ended_file = file and file.with_name(f"{file.name}.ended")
        self._ended = dict.fromkeys(_read_lines(self._ended_file))
        self._saving = asyncio.Lock()

    def _set_key(self, key: str) -> None:
        self._key = key.encode()
        self._secret = hmac.digest(self._key, b"linli dashboard session", hashlib.sha256)
        self._sessions = URLSafeTimedSerializer(self._secret)

    def _follow_file(self) -> None:
        """Take over another key from the file. Nobody gets in while there is no valid one."""
        if _file_state(self._file) == self._file_state:
            return
        assert self._file
        try:
            self._set_key(read_key(self._file))
            log_event(logging.WARNING, "access-key-changed")
            SECURITY_LOG.add("access-key-changed")
        except ConfigError as error:
            self._set_key(secrets.token_urlsafe())
            log_event(logging.ERROR, "access-key-refused", reason=error_text(error.key, **error.facts))
            SECURITY_LOG.add("access-key-refused")
        self._file_state = _file_state(self._file)

    @property
    def people(self) -> People:
        """Those who may log in with a password. Nobody may while their file is wrong."""
        state = _file_state(self._people_file)
        if self._people_file and state != self._people_state:
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
        """Whether there is a person of that name, with that password. One is checked after the other, so
        that many at once do not take all memory."""
        person = self.people.get(name)
        if len(password) > MAX_PASSWORD_CHARACTERS:
            return False
        async with self._hashing:
            expected = person.password if person else NOBODYS_HASH
            is_right = await asyncio.to_thread(is_password_of, password, expected)
        return is_right and person is not None

    def sign_owner_session(self, name: str) -> str:
        """The cookie of whoever has shown the key, and is called that."""
        return self._sessions.dumps([name, secrets.token_urlsafe(8)])

    def sign_session(self, name: str) -> str:
        """The cookie of a person who has shown the password."""
        return self._sessions.dumps([name, secrets.token_urlsafe(8), self._password_id(name)])

    def _password_id(self, name: str) -> str:
        """What tells one password of a person from the next; empty if there is no such person."""
        person = self.people.get(name)
        if person is None:
            return ""
        return hmac.digest(self._secret, person.password.encode(), hashlib.sha256).hex()[:16]

    def session(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None if it is invalid, too old or ended."""
        self._follow_file()
        content = _verified_content(self._sessions, cookie, SESSION_LIFETIME_S)
        if content is None or _session_id(str(cookie)) in self._ended:
            return None
        # Cookies of earlier versions have the name only.
        name, *more = content if isinstance(content, list) else [content]
        if len(more) < 2:
            return Session(str(name), Role.INSTALLER)
        person = self.people.get(name)
        if person is None or more[1] != self._password_id(name):
            return None
        return Session(name, person.role)

    async def end_session(self, cookie: str) -> None:
        """End one session, at once and for ever, wherever its cookie may be."""
        self._ended[_session_id(cookie)] = None
        while len(self._ended) > MAX_ENDED_SESSIONS:
            del self._ended[next(iter(self._ended))]
        if self._ended_file:
            async with self._saving:
                lines = "".join(f"{session}\n" for session in self._ended).encode()
                try:
                    await asyncio.to_thread(write_durably, self._ended_file, lines)
                except OSError as error:
                    log_event(logging.ERROR, "sessions-unsaved", file=self._ended_file, reason=error)

    def sign_token(self, purpose: str, content: str) -> str:
        """A signed token that is valid for that purpose only."""
        self._follow_file()
        return URLSafeTimedSerializer(self._secret, salt=purpose).dumps(content)

    def token_content(self, purpose: str, token: str | None, max_age_s: int) -> str | None:
        """The content of a token; None if it is invalid, for another purpose or too old."""
        self._follow_file()
        content = _verified_content(URLSafeTimedSerializer(self._secret, salt=purpose), token, max_age_s)
        return None if content is None else str(content)


def _verified_content(serializer: URLSafeTimedSerializer, token: str | None, max_age_s: int) -> Any:
    """None if the token is invalid or too old."""
    try:
        return serializer.loads(token or "", max_age=max_age_s)
    except BadSignature:
        return None


def _session_id(cookie: str) -> str:
    """What a session is known by: not the cookie itself, which is as good as a password."""
    return hashlib.sha256(cookie.encode()).hexdigest()[:32]


def _file_state(file: Path | None) -> tuple[int, ...] | None:
    """What changes with the content or the permissions of the file; None without one."""
    try:
        state = file.stat() if file else None
    except OSError:
        return ()
    return (state.st_ino, state.st_mtime_ns, state.st_size, state.st_mode, state.st_uid) if state else None


def _read_lines(file: Path | None) -> list[str]:
    try:
        return file.read_text("utf-8").split() if file else []
    except (OSError, UnicodeDecodeError):
        return []
