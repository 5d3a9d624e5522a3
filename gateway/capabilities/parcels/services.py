"""Lockers: which compartments are free, whose door stands open, when parcels came and went."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.model import Adopted, Changes, Device, Fact, Lane, Message, Rows, Sample, Service, Stamp, Value

KIND = "parcel-locker"


class Compartment(msgspec.Struct, frozen=True):
    """One compartment; its key is `device/number`. Not `live`: last heard before an outage."""

    door_open: bool
    occupied: bool | None
    """None where no sensor looks inside."""
    since: Stamp
    """When it became occupied or free."""
    live: bool = True


class Lockers(Service):
    """Follows the points `door.N` and `item.N`.

    What lies inside is judged only once the door is shut: a hand is not a parcel.
    """

    name = "lockers"
    row = Compartment

    def __init__(self, devices: Mapping[str, Device]) -> None:
        cabinets = {device.name: device.points for device in devices.values() if device.kind == KIND}
        self._numbers = {
            name: {
                p.removeprefix("door."): p.replace("door", "item") in points
                for p in points
                if p.startswith("door.")
            }
            for name, points in cabinets.items()
        }
        """Of each cabinet its compartments, and whether a sensor looks inside."""

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        changes: Changes = {}
        facts: list[Fact] = []
        if isinstance(message, Adopted):
            known = {f"{device}/{n}" for device, numbers in self._numbers.items() for n in numbers}
            return {key: None for key in rows if key not in known}, facts
        if isinstance(message, Sample):
            for number, sensor in self._numbers.get(message.device, {}).items():
                key = f"{message.device}/{number}"
                old: Compartment | None = rows.get(key)
                new = _look(old, message, number, sensor)
                if new is not None and new != old:
                    changes[key] = new
                    facts += _changed(old, new, message, number)
        return changes, facts

    def restore(self, rows: Rows) -> Rows:
        return {key: msgspec.structs.replace(row, live=False) for key, row in rows.items()}

    def summary(self, rows: Rows) -> dict[str, Value]:
        total = sum(map(len, self._numbers.values()))
        occupied = sum(row.live and row.occupied is True for row in rows.values())
        free = sum(row.live and row.occupied is False for row in rows.values())
        return {
            "free": free,
            "occupied": occupied,
            "open": sum(row.live and row.door_open for row in rows.values()),
            "unknown": total - free - occupied,
            "total": total,
        }


def _look(old: Compartment | None, sample: Sample, number: str, sensor: bool) -> Compartment | None:
    door, item = sample.values.get(f"door.{number}"), sample.values.get(f"item.{number}")
    if not isinstance(door, bool):
        return old and msgspec.structs.replace(old, live=False)
    if old and sensor and not isinstance(item, bool):
        item = old.occupied  # Its sensor says nothing this time.
    occupied = item if sensor and isinstance(item, bool) else None
    if old is None:
        return Compartment(door, occupied, sample.at)
    if (door and sensor) or occupied == old.occupied:
        return msgspec.structs.replace(old, door_open=door, live=True)
    return Compartment(door, occupied, sample.at)


def _changed(old: Compartment | None, new: Compartment, sample: Sample, number: str) -> list[Fact]:
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
