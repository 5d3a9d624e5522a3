"""Who may come in: one key in a file, a signed cookie, and a wait after wrong keys.

The only file that knows itsdangerous.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

from gateway.model import ConfigError
from gateway.wire.secret import create_secret

COOKIE = "linli-session"
SESSION_LIFETIME_S = 365 * 86_400
"""A wall screen has nobody to type the key. Deleting the key file ends all sessions."""

MAX_WRONG_KEYS = 5
WRONG_KEY_WAIT_S = 60.0
"""After so many wrong keys, an address has to wait so long."""
MAX_ADDRESSES = 1024
"""Of which wrong keys are counted; the oldest are removed first."""


def read_key(path: Path) -> str:
    """The access key; the first start makes one. Raises `ConfigError`."""
    try:
        if not path.exists():
            create_secret(path, secrets.token_urlsafe(16))
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
        self._mono = mono
        self._secret = hmac.digest(self._key, b"linli dashboard session", hashlib.sha256)
        self._sessions = URLSafeTimedSerializer(self._secret)
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """Seconds until this address may try again."""
        count, last = self._wrong.get(address, (0, 0.0))
        left = last + WRONG_KEY_WAIT_S - self._mono()
        if left <= 0:
            self._wrong.pop(address, None)
        return int(left) + 1 if left > 0 and count >= MAX_WRONG_KEYS else 0

    def check_key(self, address: str, key: str) -> bool:
        """Whether the key is right; a wrong one is counted."""
        if hmac.compare_digest(key.encode(), self._key):
            self._wrong.pop(address, None)
            return True
        count, _ = self._wrong.pop(address, (0, 0.0))
        self._wrong[address] = count + 1, self._mono()
        while len(self._wrong) > MAX_ADDRESSES:
            self._wrong.popitem(last=False)
        return False

    def session(self, name: str) -> str:
        """A cookie for somebody who was admitted."""
        return self._sessions.dumps(name)

    def person(self, cookie: str | None) -> str | None:
        """Whose cookie this is; None when it is not ours or too old."""
        return _content(self._sessions, cookie, SESSION_LIFETIME_S)

    def sign_token(self, purpose: str, content: str) -> str:
        """A token that is no session: it is good for that purpose alone."""
        return URLSafeTimedSerializer(self._secret, salt=purpose).dumps(content)

    def token_content(self, purpose: str, token: str | None, max_age_s: int) -> str | None:
        """What a token holds; None when it is not ours, for another purpose or too old."""
        return _content(URLSafeTimedSerializer(self._secret, salt=purpose), token, max_age_s)


def _content(serializer: URLSafeTimedSerializer, token: str | None, max_age_s: int) -> str | None:
    try:
        return str(serializer.loads(token or "", max_age=max_age_s))
    except BadSignature:
        return None
