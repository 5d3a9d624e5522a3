"""`[cabinet.…]`: the front of a parcel locker. The service itself follows from the devices."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from gateway.config.capability import Figure, SiteDraft, SiteSection

from .services import PARCEL_LOCKER_KIND, Lockers, door_number, is_door

FIGURES = ("free", "occupied", "open", "unknown", "total")


class Size(StrEnum):
    """The size of a compartment."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """How compartments are arranged: columns from left to right, each from top to bottom."""

    columns: tuple[tuple[int, ...], ...] = ()
    sizes: Mapping[Size, tuple[int, ...]] = {}

    def size_of(self, number: int) -> str:
        """The size of a compartment; empty if it is not given."""
        return next((size for size, numbers in self.sizes.items() if number in numbers), "")


class ParcelsSite(msgspec.Struct, frozen=True):
    """The fronts of cabinets, by device."""

    fronts: Mapping[str, Front] = {}


def read(draft: SiteDraft) -> ParcelsSite:
    """Read the valid fronts."""
    reader = draft.reader
    fronts: dict[str, Front] = {}
    known = [name for name, device in draft.devices.items() if device.kind == PARCEL_LOCKER_KIND]
    doors = {
        name: {door_number(point) for point in draft.devices[name].points if is_door(point)}
        for name in known
    }
    for name, table in reader.named_tables(draft.data, "cabinet"):
        path = ("cabinet", name)
        if name not in known and not draft.is_reported(name):
            reader.add_mistake(path, "cabinet-device", name=name, known=", ".join(known) or "–")
        front = reader.build_struct(Front, table, path)
        if front is None:
            continue
        for key, groups in (("columns", front.columns), ("sizes", tuple(front.sizes.values()))):
            numbers = [number for group in groups for number in group]
            twice = next((number for number in numbers if numbers.count(number) > 1), None)
            if twice is not None:
                reader.add_mistake((*path, key), "cabinet-twice", number=twice)
            missing = [number for number in numbers if number not in doors.get(name, numbers)]
            if missing:
                most = max(doors[name], default=0)
                reader.add_mistake((*path, key), "cabinet-missing", number=missing[0], most=most)
        fronts[name] = front
    return ParcelsSite(fronts)


SITE = SiteSection(
    tables=("cabinet",),
    read=read,
    service_types=(Lockers,),
    services=lambda site: [Lockers(site.devices)],
    figures=lambda part: {Lockers.name: dict.fromkeys(FIGURES, Figure())},
)
