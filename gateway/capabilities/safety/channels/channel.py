"""What a channel is: a way to reach people, as data and one function."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec

from gateway.model import GatewayError, Stamp

_EMAIL = re.compile(r"[^@\s<>,;:()\"]+@[^@\s<>,;:()\"]+")


def is_email(text: str) -> bool:
    return text.isascii() and _EMAIL.fullmatch(text) is not None


class DeliveryFailed(GatewayError):
    """The message was not accepted, this time. Neither key nor facts ever hold a secret."""


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can be told."""

    name: str
    title: dict[str, str]
    phone: str = ""
    email: str = ""
    wecom: str = ""
    """Their user id at WeCom, to be mentioned by."""

    @property
    def mobile(self) -> str:
        """The number as Chinese services want it."""
        return self.phone.removeprefix("+86")


class AlarmMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said: a headline, and a paragraph for each alarm."""

    head: str
    items: tuple[str, ...]
    more: str
    """The sentence for what had no room; `{count}` is how many alarms."""
    data: tuple[dict[str, Any], ...] = ()
    """The same for machines."""

    def within(self, limit: int, size: Callable[[str], int] = lambda text: len(text.encode())) -> str:
        """All of it, or as many alarms as there is room for."""
        best = self.head[: limit // 4]
        for kept in range(len(self.items) + 1):
            left = len(self.items) - kept
            tail = (self.more.format(count=left),) if left else ()
            shown = (self.head, *self.items[:kept])
            if size("\n".join(shown)) > limit:
                break
            text = "\n".join((*shown, *tail))
            if size(text) <= limit:
                best = text
        return best


Send = Callable[[Any, AlarmMessage, Sequence[Contact], Stamp], Awaitable[None]]
"""Deliver by a channel with those options to those people (a group: whom to mention), at that moment.
Returns when the other side has accepted it; raises `GatewayError`."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """What a file in `channels/` offers as `CHANNEL`."""

    options: type[msgspec.Struct]
    """The keys of a `[channel.…]` table."""
    send: Send
    needs: Literal["phone", "email", ""] = ""
    """What of a person it needs; nothing: it speaks to a group."""
    every: float = 0.0
    """Seconds between two messages that the other side asks for."""
    most: int = 10_000
    """Alarms that one message can speak of."""
    limit: float = 20.0
    """Seconds that a delivery may take."""
