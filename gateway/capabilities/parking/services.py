"""The parking service: which bays are free, and the stays in them."""

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
    Tick,
    Value,
)

PARKING_BAY_KIND = "parking-bay"
SETTLE_S = 30.0
"""A stay has ended when the bay has been free for so long. Until then the detector may have lost the car
for a moment, or the driver corrects the parking."""
MIN_STAY_S = 60.0
"""Whoever is there for less passed by or turned round."""
HEARD_INTERVAL_S = 600.0
"""How often it is stored that a detector was heard while its bay does not change: so much later at most
seems an outage to begin that a restart hides."""


class ParkingStay(msgspec.Struct, frozen=True):
    """A car in a bay."""

    arrived: Stamp
    """When it was first seen."""
    was_seen_to_arrive: bool = True
    """False: it was there when the detector was heard for the first time."""
    unheard_s: float | None = 0.0
    """Seconds, of the stay and just before it, in which the detector was not heard; None: no clock can
    tell."""
    left: Stamp | None = None
    """Since when the bay is free again; None: it is not."""


class Bay(msgspec.Struct, frozen=True):
    """One bay; its key is `device/point`. Not `live`: last reported before a restart or an outage."""

    occupied: bool
    since: Stamp
    live: bool = True
    heard: Stamp | None = None
    """When it was last known to be heard, to `HEARD_INTERVAL_S`, and exactly where an outage begins."""
    stay: ParkingStay | None = None
    """That of the present car, or of the last one until it is certain that it has left."""


def is_bay(point: str) -> bool:
    """Whether a point is a bay: `occupied`, or `occupied.` and its number."""
    return point.partition(".")[0] == "occupied"


class Parking(Service):
    """Tracks every `occupied` point of a bay detector; a detector may cover several bays.

    Each change is an event `bay` at once. A stay is an event `parking-stay` when it is over: when the car
    arrived and left, how many seconds it stayed (`lasted`), and the share of them in which the detector was
    heard (`confidence`, 0 to 1; 0 where that or the arrival is not known). An outage ends no stay and
    begins none: the car that is there afterwards is taken for the one before, with less confidence.
    """

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
        if isinstance(message, Tick):
            return _ended_stays(rows, message.at)
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
                    changes[key] = msgspec.structs.replace(old, live=False, heard=message.at)
                continue
            new = _heard(old, occupied, message.at)
            if new is not old:
                changes[key] = new
            if old is None or old.occupied != occupied:
                body: dict[str, Value] = {"point": point, "occupied": occupied}
                seconds = message.at.seconds_since(old.since) if old is not None else None
                if seconds is not None:
                    body["lasted"] = int(seconds)
                facts.append(Fact(Lane.EVENT, message.device, "bay", message.at, body))
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


def _heard(old: Bay | None, occupied: bool, at: Stamp) -> Bay:
    """The bay after a reading; the same if there is nothing to store."""
    if old is None:
        return Bay(
            occupied, at, heard=at, stay=ParkingStay(at, was_seen_to_arrive=False) if occupied else None
        )
    if old.live and old.occupied == occupied and not _is_due(old, at):
        return old
    unheard_s = 0.0 if old.live else _seconds(old.heard or old.since, at)
    since = old.since if old.occupied == occupied else at
    return Bay(occupied, since, heard=at, stay=_stay(old, occupied, unheard_s, at))


def _is_due(bay: Bay, at: Stamp) -> bool:
    heard_s = _seconds(bay.heard, at) if bay.heard else None
    return heard_s is None or heard_s >= HEARD_INTERVAL_S


def _seconds(earlier: Stamp, later: Stamp) -> float | None:
    """None where no clock can tell, or the one that could has been set back."""
    seconds = later.seconds_since(earlier, if_stepped_back=-1.0)
    return None if seconds is None or seconds < 0 else seconds


def _stay(old: Bay, occupied: bool, unheard_s: float | None, at: Stamp) -> ParkingStay | None:
    # Rows of earlier versions have no stays.
    stay = old.stay or (ParkingStay(old.since) if old.occupied else None)
    if stay is None:
        return ParkingStay(at, unheard_s=unheard_s) if occupied else None
    if stay.left is None:
        known = None if stay.unheard_s is None or unheard_s is None else stay.unheard_s + unheard_s
        stay = msgspec.structs.replace(stay, unheard_s=known)
    left = None if occupied else stay.left or at
    return msgspec.structs.replace(stay, left=left)


def _ended_stays(rows: Rows, at: Stamp) -> tuple[RowChanges, list[Fact]]:
    changes: RowChanges = {}
    facts: list[Fact] = []
    for key, bay in rows.items():
        stay = bay.stay
        if stay is None or stay.left is None:
            continue
        free_s = _seconds(stay.left, at)
        if free_s is not None and free_s < SETTLE_S:
            continue
        changes[key] = msgspec.structs.replace(bay, stay=None)
        device, _, point = key.partition("/")
        lasted_s = _seconds(stay.arrived, stay.left)
        if lasted_s is not None and lasted_s < MIN_STAY_S:
            continue
        body: dict[str, Value] = {"point": point, "confidence": _confidence(stay, lasted_s)}
        known: dict[str, int | float | None] = {"left": stay.left.wall_by(at)}
        if stay.was_seen_to_arrive:
            known |= {"arrived": stay.arrived.wall_by(at), "lasted": lasted_s and int(lasted_s)}
        body |= {name: value for name, value in known.items() if value is not None}
        facts.append(Fact(Lane.EVENT, device, "parking-stay", at, body))
    return changes, facts


def _confidence(stay: ParkingStay, lasted_s: float | None) -> float:
    """The share of the stay, and of the outage before it, in which the detector was heard."""
    if not stay.was_seen_to_arrive or stay.unheard_s is None or lasted_s is None:
        return 0.0
    return round(max(0.0, 1 - stay.unheard_s / max(lasted_s, stay.unheard_s, MIN_STAY_S)), 2)
