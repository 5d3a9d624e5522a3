"""Logging in to HTTP servers: Basic (RFC 7617), and Digest (RFC 7616, and as RFC 2617 and 2069 had it).

Devices leave out what is optional, write it in any case, with or without quotes, and compare what they get
back byte by byte: what they sent is returned as they wrote it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

_HASHES: dict[str, str] = {"md5": "md5", "sha-256": "sha256", "sha-512-256": "sha512_256"}
"""RFC 7616, 6.1: algorithm to name in `hashlib`, weakest first."""
_PART = re.compile(
    r"""(?P<name>[\w-]+) \s*=\s* (?: "(?P<quoted>(?:[^"\\]|\\.)*)" | (?P<plain>[^\s,"\\]*) )
    | (?P<word>[\w-]+)""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)


class Challenge(NamedTuple):
    """One way that a server offers to log in: a scheme, and parameters, both by lower-case name."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges of `WWW-Authenticate` headers, of which each may hold several (RFC 9110, 11.6.1).

    Of a quoted parameter, the text between the quotes as it is: RFC 7616 hashes and returns it so.
    """
    challenges: list[Challenge] = []
    for header in headers:
        name = ""
        for part in _PART.finditer(header):
            if part["name"]:
                name = part["name"].lower()
                if challenges:
                    value = part["plain"] if part["quoted"] is None else part["quoted"]
                    challenges[-1].parameters[name] = value
            elif name == "qop" and part["word"].lower().startswith("auth"):
                challenges[-1].parameters[name] += f",{part['word']}"  # A list without quotes.
            else:
                challenges.append(Challenge(part["word"].lower(), {}))
                name = ""
    return challenges


class Login(Protocol):
    """A name and password, in the form that a server wants."""

    def accept(self, challenges: Sequence[Challenge]) -> bool:
        """Whether there is a challenge that can be met; the next request meets it."""
        ...

    def authorization(self, method: str, uri: bytes) -> bytes | None:
        """The `Authorization` header of a request; None before the first challenge that needs one."""
        ...


class BasicLogin:
    """The password itself, with every request."""

    def __init__(self, username: str, password: str) -> None:
        self._header = b"Basic " + base64.b64encode(f"{username}:{password}".encode())

    def accept(self, challenges: Sequence[Challenge]) -> bool:
        return any(each.scheme == "basic" for each in challenges)

    def authorization(self, method: str, uri: bytes) -> bytes | None:
        return self._header


class DigestLogin:
    """A hash over the password and what the server challenges with. `new_cnonce` gives a random text."""

    def __init__(
        self, username: str, password: str, new_cnonce: Callable[[], str] = lambda: secrets.token_hex(8)
    ) -> None:
        self._username, self._password = username.encode(), password.encode()
        self._new_cnonce = new_cnonce
        self._challenge: dict[str, str] = {}
        self._cnonce = ""
        self._count = 0

    def accept(self, challenges: Sequence[Challenge]) -> bool:
        """Of several challenges, the one with the strongest algorithm is met."""
        usable = [
            each.parameters
            for each in challenges
            if each.scheme == "digest" and "nonce" in each.parameters and _hash_name(each.parameters)
        ]
        if not usable:
            return False
        strengths = list(_HASHES.values())
        self._challenge = max(usable, key=lambda each: strengths.index(_hash_name(each)))
        self._cnonce = self._new_cnonce()
        self._count = 0
        return True

    def authorization(self, method: str, uri: bytes) -> bytes | None:
        challenge = self._challenge
        if not challenge:
            return None
        self._count += 1

        def value(name: str) -> bytes:
            return challenge.get(name, "").encode("latin-1")

        def digest(*parts: bytes) -> bytes:
            return hashlib.new(_hash_name(challenge), b":".join(parts)).hexdigest().encode()

        cnonce, count, qop = self._cnonce.encode(), b"%08x" % self._count, _qop(challenge)
        ha1 = digest(self._username, value("realm"), self._password)
        is_session = challenge.get("algorithm", "").lower().endswith("-sess")
        if is_session:
            ha1 = digest(ha1, value("nonce"), cnonce)
        # No request has a body.
        ha2 = digest(method.encode(), uri, *([digest(b"")] if qop == b"auth-int" else []))
        proof = (count, cnonce, qop) if qop else ()
        name = re.sub(rb'(["\\])', rb"\\\1", self._username)
        fields = [
            b'username="%b"' % name,
            b'realm="%b"' % value("realm"),
            b'nonce="%b"' % value("nonce"),
            b'uri="%b"' % uri,
            b'response="%b"' % digest(ha1, value("nonce"), *proof, ha2),
        ]
        if "algorithm" in challenge:
            fields.append(b"algorithm=" + value("algorithm"))
        if "opaque" in challenge:
            fields.append(b'opaque="%b"' % value("opaque"))
        if qop:
            fields += [b"qop=" + qop, b"nc=" + count]
        if qop or is_session:
            fields.append(b'cnonce="%b"' % cnonce)
        return b"Digest " + b", ".join(fields)


def _hash_name(challenge: dict[str, str]) -> str:
    """The name of a challenge's hash function in `hashlib`; empty if it is not known."""
    return _HASHES.get(challenge.get("algorithm", "md5").lower().removesuffix("-sess"), "")


def _qop(challenge: dict[str, str]) -> bytes:
    """The quality of protection to use; empty without one, as in RFC 2069."""
    offered = {each.strip().lower() for each in challenge.get("qop", "").split(",")}
    return next((wanted.encode() for wanted in ("auth", "auth-int") if wanted in offered), b"")
