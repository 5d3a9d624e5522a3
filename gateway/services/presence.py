"""Presence: which devices answer, and since when."""

from __future__ import annotations

import msgspec

from gateway.model import Adopted, Changes, Fact, Lane, Message, Rows, Sample, Service, Stamp, Value


class Link(msgspec.Struct, frozen=True):
    """Whether a device answers; its key is the device's name."""

    online: bool
    since: Stamp
    error: str = ""


class Presence(Service):
    """Notes each device's going and coming back, once each."""

    name = "presence"
    row = Link

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if isinstance(message, Adopted):
            return {name: None for name in rows if name not in message.device_names}, []
        if not isinstance(message, Sample):
            return {}, []
        online = not message.error
        old: Link | None = rows.get(message.device)
        if old is not None and old.online == online:
            return {}, []
        fact = Fact(
            Lane.EVENT,
            message.device,
            "link",
            message.at,
            {"online": online, "error": message.error},
        )
        return {message.device: Link(online, message.at, message.error)}, [fact]

    def summary(self, rows: Rows) -> dict[str, Value]:
        online = sum(link.online for link in rows.values())
        return {"online": online, "offline": len(rows) - online}
