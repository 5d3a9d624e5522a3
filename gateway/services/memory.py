"""Memory: what drivers must know of their devices when a line or the gateway begins anew.

A fire panel tells a fire once, and is told that it was heard. So which detector it was is on the disk
before that, in the transaction of the alarm if it raised one; or after a restart the panel's next sign
of life would look as if the fire were over.
"""

from __future__ import annotations

import msgspec

from gateway.model import Changes, Fact, Message, Rows, Sample, Service


class Kept(msgspec.Struct, frozen=True):
    """The driver's own words; the key is the device's name."""

    memory: bytes


class Memory(Service):
    """Keeps each device's newest memory; it concludes nothing."""

    name = "memory"
    row = Kept
    durable = True

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if not isinstance(message, Sample) or message.memory is None:
            return {}, []
        kept = Kept(message.memory)
        return ({}, []) if rows.get(message.device) == kept else ({message.device: kept}, [])


def memories(rows: Rows) -> dict[str, bytes]:
    """By device."""
    return {device: kept.memory for device, kept in rows.items()}
