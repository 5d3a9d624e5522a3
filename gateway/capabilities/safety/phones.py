"""The phones that ring on an alarm: the subscriptions of browsers to Web Push, one file each in a folder
beside the dashboard's access key.

The dashboard creates the files; it and the daemon remove them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec

from gateway.base.files import write_durably
from gateway.model import GatewayError

MAX_PHONES, MAX_PHONES_PER_PERSON = 500, 10
MAX_ENDPOINT_CHARACTERS = 1000
PUBLIC_KEY_BYTES, AUTH_SECRET_BYTES = 65, 16
"""RFC 8291, 3.1 and 3.2: an uncompressed point of P-256, and a secret."""
_ID = re.compile("[0-9a-f]{32}", re.ASCII)
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.ASCII)
LOCAL_DOMAINS = frozenset(
    {"local", "localhost", "localdomain", "lan", "home", "internal", "intranet", "arpa"}
)
"""Nobody's push service is there: these are machines of somebody's own network."""


class Phone(msgspec.Struct, frozen=True, kw_only=True):
    """The subscription of one browser. Whoever has the endpoint and both keys can make it show
    something."""

    endpoint: str
    """The address at the push service of the phone's maker."""
    public_key: str
    """The browser's, `p256dh`, in base64url."""
    auth_secret: str
    """In base64url."""
    server_key: str
    """The gateway's public key with which it was made: no other may send to it."""
    person: str
    """At the dashboard."""
    lang: str
    agent: str
    """The browser's `User-Agent`."""
    added_ms: int
    """Unix milliseconds."""

    MAX_AGENT_CHARACTERS: ClassVar = 300

    @property
    def id(self) -> str:
        """What it is known by: not its endpoint, which is as good as a password."""
        return hashlib.sha256(self.endpoint.encode()).hexdigest()[:32]


def decoded(text: str, length: int) -> bytes:
    """Base64url without padding. Raises `ValueError` unless it is that many bytes."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if len(data) != length:
        raise ValueError("another length")
    return data


def is_permitted_endpoint(endpoint: str, own_service: str = "") -> bool:
    """Whether it may be that of a push service: at a name in the internet, by https on its usual port, or
    at the service that the site file names. What addresses the name has is checked when something is
    sent."""
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:
        return False
    host = (url.hostname or "").lower()
    is_plain = (
        endpoint.isascii() and endpoint.isprintable() and " " not in endpoint and "\\" not in endpoint
    )
    if not is_plain or url.scheme != "https" or "@" in url.netloc or url.fragment:
        return False
    if len(endpoint) > MAX_ENDPOINT_CHARACTERS:
        return False
    if own_service and f"https://{url.netloc}" == own_service:
        return True
    return (
        port in {None, 443}
        and _HOST.fullmatch(host) is not None
        and host.rpartition(".")[2] not in LOCAL_DOMAINS
    )


class Phones:
    """Those of everybody. `access_key`: beside which they are stored."""

    def __init__(self, access_key: Path) -> None:
        self._folder = access_key.with_name("phones")

    def _files(self) -> list[Path]:
        try:
            return [file for file in self._folder.iterdir() if _ID.fullmatch(file.stem)]
        except FileNotFoundError:
            return []

    def _found(self) -> Iterator[Phone]:
        for file in self._files():
            try:
                yield msgspec.json.decode(file.read_bytes(), type=Phone)
            except (FileNotFoundError, msgspec.DecodeError):
                continue  # Removed meanwhile; or damaged, and to be turned on again.

    def all(self) -> list[Phone]:
        """Those of everybody by person, the newest last. Raises `OSError`."""
        return sorted(self._found(), key=lambda each: (each.person, each.added_ms))

    def of(self, person: str) -> list[Phone]:
        """Those of a person, the newest last. Raises `OSError`."""
        return [each for each in self.all() if each.person == person]

    def add(self, phone: Phone) -> None:
        """Add it; a browser that was another person's is this one's now. Raises `GatewayError`: there are
        too many, and `OSError`."""
        others = [each for each in self._found() if each.id != phone.id]
        own = sum(each.person == phone.person for each in others)
        if own >= MAX_PHONES_PER_PERSON or len(others) >= MAX_PHONES:
            raise GatewayError("phones-many", most=MAX_PHONES_PER_PERSON)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_durably(self._folder / f"{phone.id}.json", msgspec.json.encode(phone))

    def remove(self, phone: Phone) -> None:
        """It rings no more. Raises `OSError`."""
        (self._folder / f"{phone.id}.json").unlink(missing_ok=True)
