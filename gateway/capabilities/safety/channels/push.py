"""Web Push (RFC 8030): phones whose owners have turned ringing on at the dashboard.

A message goes to the push service of the phone's maker, which only forwards it: it is encrypted for the
phone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from gateway.base.tasks import exception_of
from gateway.model import Checks, ConfigError, GatewayError, Stamp

from ..channel import AlarmMessage, Channel, Contact, DeliveryFailed, is_email
from ..https_post import internet_address, is_safe_url, post
from ..phones import AUTH_SECRET_BYTES, PUBLIC_KEY_BYTES, Phone, Phones, decoded, is_permitted_endpoint

MAX_TEXT_BYTES = 2000
RAISED_LIFETIME_S, OTHER_LIFETIME_S = 3600, 86_400
"""How long a push service keeps a message for a phone that is switched off. An alarm that nobody
acknowledges is sent again; that it has ended must not be missed, as the phone may still show it."""
PUSH_TIMEOUT_S = 10.0
"""For one phone."""
MAX_PAUSE_S = 60.0
"""The longest `Retry-After` that is followed, as a new alarm waits too."""
DEFAULT_PAUSE_S = 5.0
GONE = frozenset({404, 410})
"""RFC 8030, 7.3: the subscription has ended."""
MAX_ACCEPTED = 1000
"""Deliveries to single phones that are remembered."""


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`email`: where the push services' operators can reach whoever runs the gateway (RFC 8292, 2.1).
    `own_service`: a push service in the local network, `https://host:port`, which phones may use too."""

    email: str
    own_service: str = ""
    ca_file: Path | None = None
    """For that one."""

    CHECKS: ClassVar[Checks] = {
        "email": (is_email, "channel-email"),
        "own_service": (lambda url: not url or _is_origin(url), "push-service"),
    }


def _is_origin(url: str) -> bool:
    return url.startswith("https://") and is_safe_url(url) and not urlsplit(url).path


class PhoneService:
    """Sends to the phones, and remembers which of them has what, and for which the push service wants a
    pause."""

    def __init__(self, options: Options, access_key: Path) -> None:
        self.options = options
        self._access_key = access_key
        self._phones = Phones(access_key)
        self._accepted: OrderedDict[tuple[str, str], None] = OrderedDict()
        """By the ids of the notice and of the phone: what need not be sent to it again."""
        self._pauses: dict[str, float] = {}
        """By the id of a phone: until when its push service wants no message for it (monotonic,
        seconds)."""

    async def send(self, message: AlarmMessage, contacts: Sequence[Contact], at: Stamp) -> None:
        """Send to all phones of a contact; those that have it already do not ring again. Raises
        `GatewayError` if one of them does not get it, or there is none."""
        [contact] = contacts
        phones = await asyncio.to_thread(self._phones_of, contact.account)
        if not phones:
            raise DeliveryFailed("push-nobody", person=contact.account)
        notice = message.alarms[0]["notice"] if message.alarms else ""
        waiting = [phone for phone in phones if not notice or (notice, phone.id) not in self._accepted]
        errors = await asyncio.gather(*(self._send(phone, message, at) for phone in waiting))
        for phone, error in zip(waiting, errors, strict=True):
            if error is None:
                self._accepted[notice, phone.id] = None
        while len(self._accepted) > MAX_ACCEPTED:
            self._accepted.popitem(last=False)
        if failure := next(filter(None, errors), None):
            raise failure

    async def send_to(self, person: str, phone_id: str, message: AlarmMessage, at: Stamp) -> None:
        """Send to one phone of a person. Raises `GatewayError` if it does not get it, or there is none."""
        phones = await asyncio.to_thread(self._phones_of, person)
        phone = next((each for each in phones if each.id == phone_id), None)
        if phone is None:
            raise DeliveryFailed("push-nobody", person=person)
        if error := await self._send(phone, message, at):
            raise error

    def _phones_of(self, person: str) -> list[Phone]:
        """Those of somebody who may still log in. While that cannot be told, an alarm is more important."""
        from gateway.web.people import (  # noqa: PLC0415  its library is heavy
            normalized_name,
            people_file,
            read_people,
        )

        person = normalized_name(person)
        try:
            phones = self._phones.of(person)
            return phones if person in read_people(people_file(self._access_key)) else []
        except ConfigError:
            return phones
        except OSError as error:
            raise DeliveryFailed("phones-unreadable", reason=error) from error

    async def _send(self, phone: Phone, message: AlarmMessage, at: Stamp) -> GatewayError | None:
        async def push() -> None:
            async with asyncio.timeout(PUSH_TIMEOUT_S):
                await self._push(phone, message, at)

        error = await exception_of(push())
        if error is None or isinstance(error, GatewayError):
            return error
        if isinstance(error, TimeoutError):
            return DeliveryFailed("channel-slow", seconds=round(PUSH_TIMEOUT_S))
        return DeliveryFailed("internal", reason=type(error).__name__)

    async def _push(self, phone: Phone, message: AlarmMessage, at: Stamp) -> None:
        from ..web_push import PushKey, encrypted  # noqa: PLC0415  its libraries are heavy

        host, now_s = urlsplit(phone.endpoint).netloc, at.mono_ns / 1e9
        if (left_s := self._pauses.pop(phone.id, now_s) - now_s) > 0:
            self._pauses[phone.id] = now_s + left_s
            raise DeliveryFailed("channel-busy", host=host, seconds=round(left_s))
        key = await asyncio.to_thread(PushKey, self._access_key)
        if key.public != phone.server_key or not is_permitted_endpoint(
            phone.endpoint, self.options.own_service
        ):
            await self._drop(phone)
        content = msgspec.json.encode(
            notification(message.translations.get(phone.lang, message), phone.lang)
        )
        body = encrypted(
            content,
            decoded(phone.public_key, PUBLIC_KEY_BYTES),
            decoded(phone.auth_secret, AUTH_SECRET_BYTES),
        )
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            **delivery_headers(message),
            **key.authorization(phone.endpoint, self.options.email, at.wall_ms // 1000),
        }
        is_own = f"https://{host}" == self.options.own_service
        answer = await post(
            phone.endpoint,
            body,
            headers=headers,
            ca_file=self.options.ca_file if is_own else None,
            address="" if is_own else await internet_address(str(urlsplit(phone.endpoint).hostname)),
        )
        if answer.status in GONE:
            await self._drop(phone)
        if answer.status == 429 or answer.status >= 500:
            self._pauses[phone.id] = now_s + retry_after_s(answer.headers)
        if not 200 <= answer.status < 300:
            raise DeliveryFailed("channel-status", host=host, status=answer.status)

    async def _drop(self, phone: Phone) -> None:
        """It is to be turned on again at the phone. Raises `DeliveryFailed`."""
        await asyncio.to_thread(self._phones.remove, phone)
        raise DeliveryFailed("push-gone", person=phone.person)


def is_loud(message: AlarmMessage) -> bool:
    """Whether the phone is to ring: not for the news that somebody has acknowledged the alarm, or that it
    has ended."""
    return not message.alarms or message.alarms[0]["news"] == "raised"


def alarm_id(message: AlarmMessage) -> str:
    """Of the alarm that the message is about; the messages about one alarm replace one another."""
    return str(message.alarms[0]["alarm"]) if message.alarms else "trial"


def notification(message: AlarmMessage, lang: str) -> dict[str, Any]:
    """What the phone shows: see `gateway/web/static/service-worker.js`."""
    title, _, text = message.render(MAX_TEXT_BYTES).partition("\n")
    loud = is_loud(message)
    return {
        "title": title,
        "body": text,
        "tag": alarm_id(message),
        "lang": lang,
        "loud": loud,
        "url": "/#alarms",
    }


def delivery_headers(message: AlarmMessage) -> dict[str, str]:
    """RFC 8030, 5.2–5.4: how long to keep it, to wake the phone, and what message it replaces."""
    loud = is_loud(message)
    digest = hashlib.sha256(alarm_id(message).encode()).digest()[:24]
    return {
        "TTL": str(RAISED_LIFETIME_S if loud else OTHER_LIFETIME_S),
        "Urgency": "high" if loud else "normal",
        "Topic": base64.urlsafe_b64encode(digest).decode(),
    }


def retry_after_s(headers: Mapping[str, str]) -> float:
    """The pause that an answer asks for, within bounds; a date counts as the longest."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return DEFAULT_PAUSE_S
    return float(min(int(text), MAX_PAUSE_S)) if text.isascii() and text.isdigit() else MAX_PAUSE_S


async def send(
    service: PhoneService, message: AlarmMessage, contacts: Sequence[Contact], at: Stamp
) -> None:
    await service.send(message, contacts, at)


CHANNEL = Channel(
    options=Options,
    opened=PhoneService,
    send=send,
    address_field="account",
    # One notification an alarm.
    max_alarms=1,
    # Push API, 3.4: secure contexts only.
    needs_https=True,
    is_parallel=True,
)
