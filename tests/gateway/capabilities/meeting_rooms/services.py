"""Meeting rooms in use, by their presence sensors. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.model import (
    GATEWAY_DEVICE,
    Command,
    Fact,
    Lane,
    Message,
    RowChanges,
    Rows,
    Sample,
    Service,
    Value,
)


class RoomState(msgspec.Struct, frozen=True):
    """One room; its key is the room's name."""

    in_use: bool


class MeetingRooms(Service):
    """Follows the sensor of each room. `sensors`: room to device."""

    name = "meeting-rooms"
    row = RoomState
    actions = frozenset({"vacate-room"})

    def __init__(self, sensors: Mapping[str, str]) -> None:
        self._sensors = sensors

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        changes: RowChanges = {}
        if isinstance(message, Sample) and isinstance(in_use := message.values.get("occupied"), bool):
            changes = {
                room: RoomState(in_use)
                for room, device in self._sensors.items()
                if device == message.device and rows.get(room) != RoomState(in_use)
            }
        if isinstance(message, Command) and message.action == "vacate-room":
            room = str(message.args.get("room"))
            changes = {room: RoomState(False)} if room in self._sensors else {}
        facts = [
            Fact(
                Lane.EVENT, GATEWAY_DEVICE, "meeting-room", message.at, {"room": room, "in_use": row.in_use}
            )
            for room, row in changes.items()
            if isinstance(row, RoomState)
        ]
        return changes, facts

    def summary(self, rows: Rows) -> dict[str, Value]:
        free = sum(room in rows and not rows[room].in_use for room in self._sensors)
        return {"free": free, "total": len(self._sensors)} if self._sensors else {}
