"""What drivers must know of their devices after the line or the gateway restarts.

A fire panel reports a fire once and expects an acknowledgement. So the detector is committed before the
acknowledgement is sent, in the transaction of the alarm if it raised one. Without it, the panel's next
heartbeat after a restart would look as if the fire were over.
"""

from __future__ import annotations

import msgspec

from gateway.model import ConfigurationAdopted, Fact, Message, RowChanges, Rows, Sample, Service


class DriverStateRow(msgspec.Struct, frozen=True):
    """One device's state as its driver encoded it; the row's key is the device's name."""

    memory: bytes


class DriverState(Service):
    """Stores each device's newest driver state; it emits no facts."""

    name = "memory"
    row = DriverStateRow
    durable = True

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, ConfigurationAdopted):
            # What was known of one device is wrong of another in its place.
            return {each.device: None for each in message.replacements if each.device in rows}, []
        if not isinstance(message, Sample) or message.driver_state is None:
            return {}, []
        row = DriverStateRow(message.driver_state)
        return ({}, []) if rows.get(message.device) == row else ({message.device: row}, [])


def saved_states(rows: Rows) -> dict[str, bytes]:
    """Device name to the state its driver encoded."""
    return {device: row.memory for device, row in rows.items()}
