"""What a channel consists of: data, and one function that sends a message."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.model import GatewayError, Stamp

_EMAIL = re.compile(r"[^@\s<>,;:()\"]+@[^@\s<>,;:()\"]+")


def is_email(text: str) -> bool:
    """Whether it looks like an e-mail address."""
    return text.isascii() and _EMAIL.fullmatch(text) is not None


class DeliveryFailed(GatewayError):
    """The message was not accepted, this time. Neither the key nor the facts contain a secret."""


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """`[contact.…]`: a person who can be notified."""

    name: str
    title: dict[str, str]
    phone: str = ""
    email: str = ""
    wecom: str = ""
    """Their user id at WeCom, to be mentioned by."""
    account: str = ""
    """Their name at the dashboard, whose phones ring."""

    @property
    def mobile(self) -> str:
        """The number without the country code of China, as Chinese services expect it."""
        return self.phone.removeprefix("+86")


class AlarmMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message about alarms: a headline, and a paragraph for each alarm."""

    headline: str
    paragraphs: tuple[str, ...]
    omitted_sentence: str
    """The sentence for alarms that do not fit; `{count}` is their number."""
    alarms: tuple[dict[str, Any], ...] = ()
    """The alarms in machine-readable form."""
    translations: Mapping[str, AlarmMessage] = {}
    """The same in every language."""

    def render(self, max_size: int, size_of: Callable[[str], int] = lambda text: len(text.encode())) -> str:
        """The text with as many alarms as fit into `max_size`, which `size_of` measures (bytes)."""
        best = self.headline[: max_size // 4]
        for count in range(len(self.paragraphs) + 1):
            omitted = len(self.paragraphs) - count
            tail = (self.omitted_sentence.format(count=omitted),) if omitted else ()
            shown = (self.headline, *self.paragraphs[:count])
            if size_of("\n".join(shown)) > max_size:
                break
            text = "\n".join((*shown, *tail))
            if size_of(text) <= max_size:
                best = text
        return best


SendMessage = Callable[[Any, AlarmMessage, Sequence[Contact], Stamp], Awaitable[None]]
"""Send a message with the channel's options to contacts (for a group: those to mention), at a moment.
Returns when the other side has accepted it; raises `GatewayError`."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """What a file in `channels/` offers as `CHANNEL`."""

    options: type[msgspec.Struct]
    """The keys of a `[channel.…]` table."""
    send: SendMessage
    opened: Callable[[Any, Path], Any] = lambda options, _access_key: options
    """What `send` gets in place of the options, where it needs more than these; arguments: options and the
    file of the dashboard's access key."""
    address_field: Literal["phone", "email", "account", ""] = ""
    """The field of a `Contact` that it sends to; empty for a channel to a group."""
    min_interval_s: float = 0.0
    """The interval between two messages that the other side requires."""
    max_alarms: int = 10_000
    """How many alarms one message may contain."""
    timeout_s: float = 20.0
    """How long a delivery may take."""
    needs_https: bool = False
    """Whether people can turn it on only at a dashboard with HTTPS."""
    is_parallel: bool = False
    """Whether several contacts are sent to at the same time: one who cannot be reached delays no other."""
