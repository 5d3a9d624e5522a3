"""Facts, and the records that the journal makes of them."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

from gateway.model.time import Stamp

GATEWAY_DEVICE = "gateway"
"""The name of the gateway itself as a device, for facts about the whole centre."""
UNKNOWN_FIRE_POINT = "unknown_fire"
"""The gateway's point that stands for fires behind senders that are not configured."""
UPLINK_DEVICE = "uplink"
"""The name under which the connection to the platform reports its presence, like a device."""


def uplink_device(uplink: str) -> str:
    """The same of one of several platforms; `uplink` is its name in the site file."""
    return UPLINK_DEVICE if uplink == UPLINK_DEVICE else f"{UPLINK_DEVICE}.{uplink}"


class Lane(IntEnum):
    """The priority of records, and how they are committed."""

    ALARM = 0
    """Each committed and synced before anything else happens."""
    EVENT = 1
    TELEMETRY = 2
    """Committed in groups; sent at once while the link is up."""


class Fact(msgspec.Struct, frozen=True):
    """A conclusion of a service. The journal makes it a record by giving it a sequence number."""

    lane: Lane
    device: str
    kind: str
    at: Stamp
    body: dict[str, Any]
    durable: bool = False
    """Committed at once, whatever the lane (commands); alarms always are."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A fact or sample with its sequence number.

    `seq` counts from 1 without a gap within one stream: one device in one lane.
    """

    lane: Lane
    device: str
    seq: int
    kind: str
    at: Stamp
    body: dict[str, Any]
    epoch: str = ""
    """Of the journal that gave the number, where that is not the one that has the record: see
    `gateway.journal.merge`."""
