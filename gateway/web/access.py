"""Who may come in: one key in a file, a signed cookie, and patience with wrong guesses.

The only file that knows itsdangerous.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

from gateway.base.files import create_durably
from gateway.base.rate_limit import Rate, RateLimiter
from gateway.model import ConfigError

COOKIE = "linli-session"
KEPT = 365 * 86_400
"""Seconds a session lasts: a wall screen has nobody to type. Deleting the key file ends them all."""
BRIEF = 3600
"""Seconds that a phone's pass lasts: to read a form and fill it in."""

WRONG_KEYS = Rate(5, 60.0)
"""Wrong keys that an address may try."""


def read_key(path: Path) -> str:
    """The access key; the first start makes one. Raises `ConfigError`."""
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
    """Judges keys and cookies. Time is seconds on a monotonic clock."""

    def __init__(self, key: str, mono: Callable[[], float]) -> None:
        self._key = key.encode()
        secret = hmac.digest(self._key, b"linli dashboard session", hashlib.sha256)
        self._sign = URLSafeTimedSerializer(secret)
        self._passes = URLSafeTimedSerializer(secret, salt="needs")
        self._wrong_keys = RateLimiter(mono)

    def wait(self, address: str) -> int:
        """Seconds until this address may try again."""
        return self._wrong_keys.wait_s(address, WRONG_KEYS)

    def admits(self, address: str, key: str) -> bool:
        """Whether the key is right; a wrong one is remembered."""
        if hmac.compare_digest(key.encode(), self._key):
            self._wrong_keys.reset(address)
            return True
        self._wrong_keys.record(address)
        return False

    def session(self, name: str) -> str:
        """A cookie for somebody who was admitted."""
        return self._sign.dumps(name)

    def person(self, cookie: str | None) -> str | None:
        """Whose cookie this is; None when it is not ours or too old."""
        try:
            return str(self._sign.loads(cookie or "", max_age=KEPT))
        except BadSignature:
            return None

    def pass_for(self, channel: str) -> str:
        """A pass, for a kiosk or a phone, that is no session."""
        return self._passes.dumps(channel)

    def channel(self, token: str | None) -> str | None:
        """Whose pass this is; None when it is not ours or too old."""
        try:
            channel = str(self._passes.loads(token or "", max_age=KEPT))
            self._passes.loads(token or "", max_age=BRIEF if channel == "phone" else KEPT)
        except BadSignature:
            return None
        return channel
