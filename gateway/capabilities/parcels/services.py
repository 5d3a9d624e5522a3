"""The locker service: which compartments are free, which doors are open, when parcels came and went."""

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

PARCEL_LOCKER_KIND = "parcel-locker"


class Compartment(msgspec.Struct, frozen=True):
    """One compartment; its key is `device/number`. Not `live`: last reported before an outage."""

    door_open: bool
    occupied: bool | None
    """None if the compartment has no item sensor, or its door has not been closed yet."""
    since: Stamp
    """When it became occupied or free."""
    live: bool = True
    opened: Stamp | None = None
    """Since when its door is open."""


class Lockers(Service):
    """Tracks the points `door.N` and `item.N`.

    The item sensor is evaluated only while the door is closed, as it also detects a hand.
    """

    name = "lockers"
    row = Compartment

    def __init__(self, devices: Mapping[str, Device]) -> None:
        cabinets = {
            device.name: device.points for device in devices.values() if device.kind == PARCEL_LOCKER_KIND
        }
        self._compartments = {
            name: {
                p.removeprefix("door."): p.replace("door", "item") in points for p in points if is_door(p)
            }
            for name, points in cabinets.items()
        }
        """By device the numbers of its compartments, and whether each has an item sensor."""

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        changes: RowChanges = {}
        facts: list[Fact] = []
        if isinstance(message, ConfigurationAdopted):
            known = {
                f"{device}/{n}" for device, compartments in self._compartments.items() for n in compartments
            }
            return {key: None for key in rows if key not in known}, facts
        if isinstance(message, Sample):
            for number, has_item_sensor in self._compartments.get(message.device, {}).items():
                key = f"{message.device}/{number}"
                old: Compartment | None = rows.get(key)
                new = _updated_compartment(old, message, number, has_item_sensor)
                if new is not None and new != old:
                    changes[key] = new
                    facts += _facts_of_change(old, new, message, number)
        return changes, facts

    def restore(self, rows: Rows) -> Rows:
        return {key: msgspec.structs.replace(row, live=False) for key, row in rows.items()}

    def summary(self, rows: Rows) -> dict[str, Value]:
        """How many compartments are free, occupied and open, as far as any is known."""
        total = sum(map(len, self._compartments.values()))
        occupied = sum(row.live and row.occupied is True for row in rows.values())
        free = sum(row.live and row.occupied is False for row in rows.values())
        unknown = total - free - occupied
        values: dict[str, Value] = {} if unknown == total else {"free": free, "occupied": occupied}
        if any(row.live for row in rows.values()):
            values["open"] = sum(row.live and row.door_open for row in rows.values())
        return {**values, "unknown": unknown, "total": total}


def door_number(point: str) -> int:
    """The number of the compartment whose door the point is."""
    return int(point.removeprefix("door."))


def is_door(point: str) -> bool:
    """Whether a point is the door of a numbered compartment."""
    return point.startswith("door.") and point.removeprefix("door.").isdecimal()


def _updated_compartment(
    old: Compartment | None, sample: Sample, number: str, has_item_sensor: bool
) -> Compartment | None:
    door, item = sample.values.get(f"door.{number}"), sample.values.get(f"item.{number}")
    if not isinstance(door, bool):
        return old and msgspec.structs.replace(old, live=False)
    occupied = old.occupied if old and has_item_sensor else None
    if isinstance(item, bool) and not door:
        occupied = item
    opened = (old.opened if old and old.opened else sample.at) if door else None
    if old and occupied == old.occupied:
        return msgspec.structs.replace(old, door_open=door, live=True, opened=opened)
    return Compartment(door, occupied, sample.at, opened=opened)


def _facts_of_change(old: Compartment | None, new: Compartment, sample: Sample, number: str) -> list[Fact]:
    facts: list[Fact] = []
    if old is None:
        return facts
    if old.door_open != new.door_open:
        body: dict[str, Value] = {"lock": int(number), "open": new.door_open}
        facts.append(Fact(Lane.EVENT, sample.device, "door", sample.at, body))
    if None not in (old.occupied, new.occupied) and old.occupied != new.occupied:
        body = {
            "lock": int(number),
            "change": "stored" if new.occupied else "fetched",
        }
        if (seconds := new.since.seconds_since(old.since)) is not None:
            body["lasted"] = int(seconds)
        facts.append(Fact(Lane.EVENT, sample.device, "parcel", sample.at, body))
    return facts
