"""Access control: one key in a file, signed session cookies, and a waiting time after wrong keys.

The only file that uses itsdangerous.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

from gateway.base.files import create_durably
from gateway.base.rate_limit import RateLimit, RateLimiter
from gateway.model import ConfigError

SESSION_COOKIE = "linli-session"
SESSION_LIFETIME_S = 365 * 86_400
"""Long, as a wall screen has no keyboard. Deleting the key file ends all sessions."""

WRONG_KEY_LIMIT = RateLimit(5, 60.0)
"""After more wrong keys an address has to wait."""


def read_key(path: Path) -> str:
    """The access key; created if there is none. Raises `ConfigError`."""
    try:
        if not path.exists():
            create_durably(path, f"{secrets.token_urlsafe(16)}\n".encode())
        key = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("access-key-unreadable", file=path, reason=error) from error
    if not key:
        raise ConfigError("access-key-empty", file=path)
    return key


class Access:
    """Checks keys and cookies. Time is seconds on a monotonic clock."""

    def __init__(self, key: str, mono: Callable[[], float]) -> None:
        self._key = key.encode()
        self._secret = hmac.digest(self._key, b"linli dashboard session", hashlib.sha256)
        self._sessions = URLSafeTimedSerializer(self._secret)
        self._wrong_keys = RateLimiter(mono)

    def wait_s(self, address: str) -> int:
        """Seconds until this address may try again."""
        return self._wrong_keys.wait_s(address, WRONG_KEY_LIMIT)

    def check_key(self, address: str, key: str) -> bool:
        """Whether the key is right; a wrong one is counted."""
        if hmac.compare_digest(key.encode(), self._key):
            self._wrong_keys.reset(address)
            return True
        self._wrong_keys.record(address)
        return False

    def sign_session(self, name: str) -> str:
        """A session cookie for the person of that name."""
        return self._sessions.dumps(name)

    def session_person(self, cookie: str | None) -> str | None:
        """The name in a session cookie; None if it is invalid or too old."""
        return _verified_content(self._sessions, cookie, SESSION_LIFETIME_S)

    def sign_token(self, purpose: str, content: str) -> str:
        """A signed token that is valid for that purpose only."""
        return URLSafeTimedSerializer(self._secret, salt=purpose).dumps(content)

    def token_content(self, purpose: str, token: str | None, max_age_s: int) -> str | None:
        """The content of a token; None if it is invalid, for another purpose or too old."""
        return _verified_content(URLSafeTimedSerializer(self._secret, salt=purpose), token, max_age_s)


def _verified_content(serializer: URLSafeTimedSerializer, token: str | None, max_age_s: int) -> str | None:
    try:
        return str(serializer.loads(token or "", max_age=max_age_s))
    except BadSignature:
        return None
