"""Presence: which devices are online, and since when."""

from __future__ import annotations

import msgspec

from gateway.model import (
    ConfigurationAdopted,
    Fact,
    Lane,
    Message,
    RowChanges,
    Rows,
    Sample,
    Service,
    Stamp,
    Value,
)


class PresenceRow(msgspec.Struct, frozen=True):
    """Whether a device is online; the key of its row is the device's name."""

    online: bool
    since: Stamp
    error: str = ""


class Presence(Service):
    """Emits one fact each time a device goes offline or comes back."""

    name = "presence"
    row = PresenceRow

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, ConfigurationAdopted):
            return {name: None for name in rows if name not in message.device_names}, []
        if not isinstance(message, Sample):
            return {}, []
        online = not message.error
        old: PresenceRow | None = rows.get(message.device)
        if old is not None and old.online == online:
            return {}, []
        fact = Fact(
            Lane.EVENT,
            message.device,
            "link",
            message.at,
            {"online": online, "error": message.error},
        )
        return {message.device: PresenceRow(online, message.at, message.error)}, [fact]

    def summary(self, rows: Rows) -> dict[str, Value]:
        online = sum(link.online for link in rows.values())
        return {"online": online, "offline": len(rows) - online}
