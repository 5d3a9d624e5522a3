"""`[lot.…]`: car parks and the kinds of their bays. The service itself follows from the devices."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from gateway.config.capability import Figure, SiteDraft, SiteSection
from gateway.config.reading import localized

from .services import PARKING_BAY_KIND, Parking

FIGURES = ("free", "occupied", "unknown", "total")


class BayKind(StrEnum):
    """For whom or what a bay is."""

    VISITOR = "visitor"
    RESIDENT = "resident"
    ACCESSIBLE = "accessible"
    CHARGING = "charging"
    LOADING = "loading"


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """A car park: its detectors by the kind of their bays."""

    title: dict[str, str]
    bays: Mapping[BayKind, tuple[str, ...]]


class _LotKeys(msgspec.Struct, frozen=True, kw_only=True):
    title: str | dict[str, str]
    bays: dict[BayKind, tuple[str, ...]]


class ParkingSite(msgspec.Struct, frozen=True):
    """The car parks by name. Bays that are in none are grouped by their rooms."""

    lots: Mapping[str, Lot] = {}


def read(draft: SiteDraft) -> ParkingSite:
    """Read the valid car parks; each bay is in one of them at most."""
    reader = draft.reader
    lots: dict[str, Lot] = {}
    taken: dict[str, str] = {}
    known = [name for name, device in draft.devices.items() if device.kind == PARKING_BAY_KIND]
    for name, table in reader.named_tables(draft.data, "lot"):
        path = ("lot", name)
        keys = reader.build_struct(_LotKeys, table, path)
        if keys is None:
            continue
        for kind, bays in keys.bays.items():
            for bay in bays:
                if bay in taken:
                    reader.add_mistake((*path, "bays", kind), "lot-bay-twice", bay=bay, other=taken[bay])
                elif bay not in known and not draft.is_reported(bay):
                    reader.add_mistake(
                        (*path, "bays", kind), "lot-bay", bay=bay, known=", ".join(known) or "–"
                    )
                taken[bay] = name
        lots[name] = Lot(title=localized(keys.title), bays=keys.bays)
    return ParkingSite(lots)


SITE = SiteSection(
    tables=("lot",),
    read=read,
    service_types=(Parking,),
    services=lambda site: [Parking(site.devices)],
    figures=lambda part: {Parking.name: dict.fromkeys(FIGURES, Figure())},
)
