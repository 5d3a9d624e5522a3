"""Access control: one key in a file, signed session cookies, and a waiting time after wrong keys.

The only file that uses itsdangerous.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from itsdangerous import BadSignature, URLSafeTimedSerializer

from gateway.base.connections import network_of
from gateway.base.files import create_durably, write_durably
from gateway.base.log import error_text, log_event
from gateway.base.rate_limit import RateLimit, RateLimiter
from gateway.base.security import SECURITY_LOG
from gateway.model import ConfigError
from gateway.wire.secret import is_open_to_others

SESSION_COOKIE = "linli-session"
SESSION_LIFETIME_S = 365 * 86_400
"""Long, as a wall screen has no keyboard. Deleting or changing the key file ends all sessions."""
MIN_KEY_CHARACTERS = 12
"""A shorter key can be guessed."""
MAX_ENDED_SESSIONS = 10_000
"""Remembered with the key; the oldest is forgotten first."""

WRONG_KEY_LIMIT = RateLimit(5, 60.0)
"""After more wrong keys an address has to wait."""


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
    """Checks keys and cookies. Time is seconds on a monotonic clock.

    `file` holds the key: if it is changed or deleted, that holds at once, and all sessions end. Sessions
    that have been ended one by one are remembered beside it.
    """

    def __init__(self, key: str, mono: Callable[[], float], file: Path | None = None) -> None:
        self._file = file
        self._file_state = _file_state(file)
        self._set_key(key)
        self._wrong_keys = RateLimiter(mono)
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

    def wait_s(self, address: str) -> int:
        """Seconds until this address may try again."""
        return self._wrong_keys.wait_s(network_of(address), WRONG_KEY_LIMIT)

    def check_key(self, address: str, key: str) -> bool:
        """Whether the key is right; a wrong one is counted."""
        self._follow_file()
        if hmac.compare_digest(key.encode(), self._key):
            self._wrong_keys.reset(network_of(address))
            return True
        self._wrong_keys.record(network_of(address))
        return False

    def sign_session(self, name: str) -> str:
        """A session cookie for the person of that name."""
        return self._sessions.dumps([name, secrets.token_urlsafe(8)])

    def session_person(self, cookie: str | None) -> str | None:
        """The name in a session cookie; None if it is invalid, too old or ended."""
        self._follow_file()
        content = _verified_content(self._sessions, cookie, SESSION_LIFETIME_S)
        if content is None or _session_id(str(cookie)) in self._ended:
            return None
        # Cookies of earlier versions have the name only.
        return str(content[0] if isinstance(content, list) else content)

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
    return (state.st_ino, state.st_mtime_ns, state.st_size, state.st_mode) if state else None


def _read_lines(file: Path | None) -> list[str]:
    try:
        return file.read_text("utf-8").split() if file else []
    except (OSError, UnicodeDecodeError):
        return []
