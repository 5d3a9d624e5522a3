"""Passkeys (W3C Web Authentication, level 3): people log in with what their phone or computer keeps, and
what it asks them for, a fingerprint, a face or its PIN.

The only file that uses fido2. The passkeys are in a file beside the access key, which the dashboard alone
writes; they are public keys, so whoever reads the file cannot enter.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gateway.base.files import file_state, write_durably
from gateway.model import GatewayError

if TYPE_CHECKING:
    from fido2.server import Fido2Server
    from fido2.webauthn import AttestedCredentialData

MAX_PASSKEYS_PER_PERSON = 10
CHALLENGE_LIFETIME_S = 120.0
"""From when somebody is asked until the answer; the browser's own dialog ends by then."""
MAX_CHALLENGES = 1000
"""Not answered yet; the oldest is forgotten first."""
MAX_NAME_CHARACTERS = 40


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """One passkey. Times are Unix milliseconds."""

    id: str
    """Of the credential, in base64url."""
    person: str
    proof: str
    """What tells the password with which it was added: as a session does, it ends with that."""
    host: str
    """The name of the gateway for which it was made (the relying party's id)."""
    name: str
    credential: str
    """The id and the public key as the authenticator gave them, in base64url."""
    counter: int
    added_ms: int
    used_ms: int = 0


class PasskeyRefused(GatewayError):
    """An answer is wrong. No fact says in what way."""


class _Challenge(NamedTuple):
    is_registration: bool
    person: str
    """Empty where anybody may answer."""
    origin: str
    state: Any
    until_s: float


def relying_party(origin: str) -> str:
    """The name for which passkeys are made at that origin; empty where browsers allow none: without
    encryption, and at an IP address (Web Authentication, 5.1.2)."""
    scheme, _, host = origin.partition("://")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name if scheme == "https" or name == "localhost" else ""
    return ""


class Passkeys:
    """Those of everybody, and the questions that are being answered. `proof_of` tells the password of a
    person (see `Passkey.proof`; empty if there is none); seconds are on a monotonic clock."""

    def __init__(self, access_key: Path, proof_of: Callable[[str], str], mono: Callable[[], float]) -> None:
        self._file = access_key.with_name(f"{access_key.name}.passkeys")
        self._proof_of = proof_of
        self._mono = mono
        self._kept: list[Passkey] = []
        self._state: tuple[int, ...] | None = None
        self._challenges: OrderedDict[str, _Challenge] = OrderedDict()

    def all(self) -> list[Passkey]:
        """Those that count: of a person who still has the password that they were added with."""
        if (state := file_state(self._file)) != self._state:
            try:
                self._kept = msgspec.json.decode(self._file.read_bytes(), type=list[Passkey])
            except (OSError, msgspec.DecodeError):
                self._kept = []  # None, or damaged: people have their passwords, and add others.
            self._state = state
        return [each for each in self._kept if each.proof and each.proof == self._proof_of(each.person)]

    def of(self, person: str) -> list[Passkey]:
        """Those of a person."""
        return [each for each in self.all() if each.person == person]

    def are_at(self, host: str, person: str = "") -> bool:
        """Whether somebody, or that person, has one for that name of the gateway."""
        return bool(host) and any(each.host == host and person in {"", each.person} for each in self.all())

    def _save(self, passkeys: Sequence[Passkey]) -> None:
        try:
            write_durably(self._file, msgspec.json.encode(passkeys))
        except OSError as error:
            raise GatewayError("passkeys-unsaved", file=self._file, reason=error) from error

    def remove(self, person: str, passkey_id: str) -> bool:
        """Whether there was such a one. Raises `GatewayError`."""
        known = self.all()
        left = [each for each in known if (each.person, each.id) != (person, passkey_id)]
        if len(left) == len(known):
            return False
        self._save(left)
        return True

    # Ceremonies

    def registration_options(self, person: str, user_id: bytes, origin: str, title: str) -> dict[str, Any]:
        """What a browser is asked to make a new passkey of that person. Raises `GatewayError`: there are
        too many."""
        own = self.of(person)
        if len(own) >= MAX_PASSKEYS_PER_PERSON:
            raise GatewayError("passkeys-many", most=MAX_PASSKEYS_PER_PERSON)
        options, state = _server(origin, title).register_begin(
            {"id": user_id, "name": person, "displayName": person},  # type: ignore[arg-type]
            [_credential(each) for each in own if each.host == relying_party(origin)],
            resident_key_requirement="required",  # type: ignore[arg-type]
            user_verification="required",  # type: ignore[arg-type]
        )
        return self._asked(True, person, origin, state, options)

    def register(self, person: str, name: str, origin: str, answer: str, now_ms: int) -> None:
        """Keep the passkey that a browser has made. Raises `GatewayError`, and whatever the library makes
        of an answer that is none."""
        response = _parsed(answer)
        found = _server(origin).register_complete(self._taken(True, person, origin, response), response)
        credential = found.credential_data
        if credential is None or credential.public_key.ALGORITHM is None:
            raise PasskeyRefused("passkey-wrong")
        passkey_id = _text(credential.credential_id)
        known = self.all()
        if any(each.id == passkey_id for each in known):
            raise PasskeyRefused("passkey-wrong")
        passkey = Passkey(
            id=passkey_id, person=person, proof=self._proof_of(person), host=relying_party(origin),
            name=name, credential=_text(bytes(credential)), counter=found.counter, added_ms=now_ms,
        )  # fmt: skip
        self._save([*known, passkey])

    def login_options(self, origin: str, person: str = "") -> dict[str, Any]:
        """What a browser is asked to show a passkey: any, or one of that person."""
        own = [_credential(each) for each in self.of(person) if each.host == relying_party(origin)]
        options, state = _server(origin).authenticate_begin(
            own or None,
            user_verification="required",  # type: ignore[arg-type]
        )
        return self._asked(False, person, origin, state, options)

    def person_of(self, answer: str, origin: str, now_ms: int, person: str = "") -> str:
        """Who has shown a passkey; `person`: nobody else may. Raises `GatewayError`, and whatever the
        library makes of an answer that is none."""
        response = _parsed(answer)
        state = self._taken(False, person, origin, response)
        known = self.all()
        passkey = next((each for each in known if each.id == response.get("id")), None)
        if passkey is None or passkey.host != relying_party(origin) or person not in {"", passkey.person}:
            raise PasskeyRefused("passkey-unknown")
        _server(origin).authenticate_complete(state, [_credential(passkey)], response)
        counter = _counter(response)
        # A copy of the authenticator counts for itself (Web Authentication, 6.1.1).
        if (counter or passkey.counter) and counter <= passkey.counter:
            raise PasskeyRefused("passkey-copied")
        used = msgspec.structs.replace(passkey, counter=counter, used_ms=now_ms)
        self._save([used if each is passkey else each for each in known])
        return passkey.person

    def _asked(
        self, is_registration: bool, person: str, origin: str, state: Any, options: Any
    ) -> dict[str, Any]:
        until_s = self._mono() + CHALLENGE_LIFETIME_S
        asked = _Challenge(is_registration, person, origin, state, until_s)
        self._challenges[state["challenge"]] = asked
        while len(self._challenges) > MAX_CHALLENGES:
            self._challenges.popitem(last=False)
        plain: dict[str, Any] = json.loads(json.dumps(dict(options), default=_plain))
        return plain

    def _taken(self, is_registration: bool, person: str, origin: str, response: dict[str, Any]) -> Any:
        """The question that the response answers; nobody can answer it again."""
        client_data = json.loads(_bytes(response["response"]["clientDataJSON"]))
        challenge = self._challenges.pop(str(client_data.get("challenge")), None)
        if (
            challenge is None
            or self._mono() > challenge.until_s
            or challenge[:3] != (is_registration, person, origin)
        ):
            raise PasskeyRefused("passkey-late")
        return challenge.state


def _server(origin: str, title: str = "") -> Fido2Server:
    from fido2.server import Fido2Server  # noqa: PLC0415  only where somebody uses a passkey
    from fido2.webauthn import PublicKeyCredentialRpEntity  # noqa: PLC0415

    host = relying_party(origin)
    return Fido2Server(
        PublicKeyCredentialRpEntity(id=host, name=title or host),
        attestation="none",  # type: ignore[arg-type]
        verify_origin=origin.__eq__,
    )


def _credential(passkey: Passkey) -> AttestedCredentialData:
    from fido2.webauthn import AttestedCredentialData  # noqa: PLC0415

    return AttestedCredentialData(_bytes(passkey.credential))


def _counter(response: dict[str, Any]) -> int:
    from fido2.webauthn import AuthenticatorData  # noqa: PLC0415

    return AuthenticatorData(_bytes(response["response"]["authenticatorData"])).counter


def _parsed(answer: str) -> dict[str, Any]:
    response = json.loads(answer)
    if not isinstance(response, dict):
        raise PasskeyRefused("passkey-wrong")
    return response


def _plain(value: Any) -> Any:
    return _text(value) if isinstance(value, bytes) else dict(value)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise PasskeyRefused("passkey-wrong") from error
