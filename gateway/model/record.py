"""Facts, and the records that the journal makes of them."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

from gateway.model.time import Stamp

GATEWAY = "gateway"
"""The gateway itself, as a device: what concerns the whole centre is filed under it."""


class Lane(IntEnum):
    """The order in which records leave, and how they are kept."""

    ALARM = 0
    """Committed and synced one by one before anything else happens."""
    EVENT = 1
    TELEMETRY = 2
    """Committed in groups; published at once while the link is up."""


class Fact(msgspec.Struct, frozen=True):
    """Something a service concluded. It becomes a record when the journal gives it a sequence number."""

    lane: Lane
    device: str
    kind: str
    at: Stamp
    body: dict[str, Any]
    durable: bool = False
    """Committed at once, whatever the lane (commands); alarms always are."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A fact or sample with its place in the journal.

    `seq` counts from 1 without a gap within one stream: one device in one lane.
    """

    lane: Lane
    device: str
    seq: int
    kind: str
    at: Stamp
    body: dict[str, Any]
