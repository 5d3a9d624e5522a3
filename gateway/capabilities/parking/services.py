"""The parking service: which bays are free, and how long each was occupied."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.model import (
    ConfigurationAdopted,
    Device,
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

PARKING_BAY_KIND = "parking-bay"


class Bay(msgspec.Struct, frozen=True):
    """One bay; its key is `device/point`. Not `live`: last reported before a restart or an outage."""

    occupied: bool
    since: Stamp
    live: bool = True


def is_bay(point: str) -> bool:
    """Whether a point is a bay: `occupied`, or `occupied.` and its number."""
    return point.partition(".")[0] == "occupied"


class Parking(Service):
    """Tracks every `occupied` point of a bay detector; a detector may cover several bays."""

    name = "parking"
    row = Bay

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._bays = {
            device.name: tuple(filter(is_bay, device.points))
            for device in devices.values()
            if device.kind == PARKING_BAY_KIND
        }

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        changes: RowChanges = {}
        facts: list[Fact] = []
        if isinstance(message, ConfigurationAdopted):
            known = {f"{device}/{point}" for device, points in self._bays.items() for point in points}
            return {key: None for key in rows if key not in known}, facts
        if not isinstance(message, Sample):
            return changes, facts
        for point in self._bays.get(message.device, ()):
            key = f"{message.device}/{point}"
            old: Bay | None = rows.get(key)
            occupied = message.values.get(point)
            if occupied is None and not message.bad.get(point, message.error):
                continue  # The sample says nothing of this bay.
            if not isinstance(occupied, bool):
                if old is not None and old.live:
                    changes[key] = msgspec.structs.replace(old, live=False)
            elif old is None or old.occupied != occupied:
                changes[key] = Bay(occupied, message.at)
                body: dict[str, Value] = {"point": point, "occupied": occupied}
                seconds = message.at.seconds_since(old.since) if old is not None else None
                if seconds is not None:
                    body["lasted"] = int(seconds)
                facts.append(Fact(Lane.EVENT, message.device, "bay", message.at, body))
            elif not old.live:
                changes[key] = msgspec.structs.replace(old, live=True)
        return changes, facts

    def restore(self, rows: Rows) -> Rows:
        return {key: msgspec.structs.replace(bay, live=False) for key, bay in rows.items()}

    def summary(self, rows: Rows) -> dict[str, Value]:
        """How many bays are free and occupied: none of these while no bay is known."""
        total = sum(map(len, self._bays.values()))
        occupied = sum(bay.live and bay.occupied for bay in rows.values())
        free = sum(bay.live and not bay.occupied for bay in rows.values())
        unknown = total - free - occupied
        known = {} if unknown == total else {"free": free, "occupied": occupied}
        return {**known, "unknown": unknown, "total": total}
