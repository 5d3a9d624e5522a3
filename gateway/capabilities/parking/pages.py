"""The pages of parking bays: a tile, and every bay by car park and kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from gateway.capabilities.parking.services import PARKING_BAY_KIND, Bay, Parking, is_bay
from gateway.capabilities.parking.site import BayKind, Lot, ParkingSite
from gateway.config import Site
from gateway.model import Role
from gateway.web.gallery import GalleryMoment
from gateway.web.part import Page, PagePart, PartInput, Tile
from gateway.web.settings import DeviceInfo
from gateway.web.view import BoardCell, PlaceCount, place_count


class ParkingSettings(msgspec.Struct, frozen=True):
    """The car parks by name."""

    lots: Mapping[str, Lot] = {}


class BayRow(msgspec.Struct, frozen=True):
    """One bay: `free`, `occupied` or `unknown`."""

    cell: BoardCell
    since: int | None = None
    """Unix milliseconds: since when it is free or occupied; None: not known."""
    last_known: str = ""
    """The state before it became unknown."""

    @property
    def state(self) -> str:
        return self.cell.state


class BayGroup(msgspec.Struct, frozen=True):
    """The bays of a kind; an empty one is not given."""

    kind: str
    bays: tuple[BayRow, ...]

    def count(self, state: str) -> int:
        """How many are in a state."""
        return sum(bay.state == state for bay in self.bays)


class LotRow(msgspec.Struct, frozen=True):
    """A car park, or the bays of a room; without a title, all other bays."""

    name: str
    title: dict[str, str]
    groups: tuple[BayGroup, ...]

    @property
    def total(self) -> int:
        return sum(len(group.bays) for group in self.groups)

    def count(self, state: str) -> int:
        """How many bays are in a state."""
        return sum(group.count(state) for group in self.groups)

    @property
    def free(self) -> int | None:
        """How many are known to be free; None while not one bay is known."""
        return None if self.count("unknown") == self.total else self.count("free")


class ParkingView(msgspec.Struct, frozen=True):
    """The bays: `free`, `occupied` or `unknown`."""

    bays: PlaceCount
    lots: tuple[LotRow, ...] = ()

    @property
    def accessible(self) -> int:
        """How many bays are accessible."""
        groups = (group for lot in self.lots for group in lot.groups)
        return sum(len(group.bays) for group in groups if group.kind == BayKind.ACCESSIBLE)

    @property
    def accessible_wanted(self) -> int:
        """How many are to be, of all bays that have a detector: 0.5 %, and at least one (Standard for
        Building Complete Residential Communities, 完整居住社区建设指南, row 10). 0 where the site does not
        say of what kind its bays are."""
        if not any(group.kind for lot in self.lots for group in lot.groups):
            return 0
        return max(1, -(-sum(lot.total for lot in self.lots) // 200))

    @property
    def board(self) -> tuple[BoardCell, ...]:
        """All bays."""
        return tuple(bay.cell for lot in self.lots for group in lot.groups for bay in group.bays)


def settings(site: Site) -> ParkingSettings:
    """The settings of a site."""
    return ParkingSettings(site.part(ParkingSite).lots)


def parking_view(settings: ParkingSettings, part_input: PartInput) -> ParkingView:
    """The view of the service's rows and summary."""
    rows: Mapping[str, Bay] = part_input.rows(Parking)
    detectors = {
        name: info for name, info in part_input.device_infos.items() if info.kind == PARKING_BAY_KIND
    }
    lots = [
        _lot(name, lot.title, {kind: [detectors[bay] for bay in bays if bay in detectors]
                               for kind, bays in lot.bays.items()}, rows)
        for name, lot in settings.lots.items()
    ]  # fmt: skip
    placed = {bay for lot in settings.lots.values() for bays in lot.bays.values() for bay in bays}
    by_room: dict[str, list[DeviceInfo]] = {}
    for name, info in detectors.items():
        if name not in placed:
            by_room.setdefault(next(iter(info.room.values()), ""), []).append(info)
    lots += [_lot(f"room/{room}", infos[0].room, {"": infos}, rows) for room, infos in by_room.items()]
    summary = part_input.snapshot.samples.get(Parking.name)
    return ParkingView(place_count(summary, part_input.now), tuple(lot for lot in lots if lot.total))


def sample(moment: GalleryMoment) -> ParkingView:
    """The view at a moment of the gallery."""
    if moment.state == "empty":
        return ParkingView(PlaceCount())
    states = ("free", "occupied", "occupied", "unknown") if moment.is_known else ("unknown",) * 4
    bays = [
        BayRow(
            BoardCell(f"bay-{n}", "", moment.named(f"{n} 号车位", f"Bay {n}"), states[n % 4]),
            moment.now - n * 600_000 if states[n % 4] != "unknown" else None,
            "occupied" if states[n % 4] == "unknown" else "",
        )
        for n in range(1, 33)
    ]
    groups = (
        BayGroup(BayKind.VISITOR, tuple(bays[:24])),
        BayGroup(BayKind.CHARGING, tuple(bays[24:30])),
        BayGroup(BayKind.ACCESSIBLE, tuple(bays[30:])),
    )
    free, unknown = (8, 8) if moment.is_known else (None, 32)
    lot = LotRow("north", moment.named("北侧停车场", "North car park"), groups)
    return ParkingView(PlaceCount(free, 32, unknown, stale=moment.is_old), (lot,))


def _lot(
    name: str, title: dict[str, str], infos: Mapping[str, Iterable[DeviceInfo]], rows: Mapping[str, Bay]
) -> LotRow:
    groups = (
        BayGroup(
            kind, tuple(_bay(info, point, rows) for info in each for point in filter(is_bay, info.units))
        )
        for kind, each in infos.items()
    )
    return LotRow(name, title, tuple(group for group in groups if group.bays))


def _bay(info: DeviceInfo, point: str, rows: Mapping[str, Bay]) -> BayRow:
    row = rows.get(f"{info.name}/{point}")
    known = "" if row is None else "occupied" if row.occupied else "free"
    is_live = row is not None and row.live
    cell = BoardCell(info.name, point.partition(".")[2], info.title, known if is_live else "unknown")
    return BayRow(cell, row.since.wall_if_set if row and is_live else None, "" if is_live else known)


PAGES: PagePart[ParkingSettings, ParkingView] = PagePart(
    name="parking",
    settings=settings,
    services=(Parking,),
    summaries=(Parking.name,),
    view=parking_view,
    sample=sample,
    tiles=(Tile("bays-tile", order=30, on_wall=True),),
    pages=(
        Page(
            name="parking",
            title="dashboard.page-parking",
            regions=("parking",),
            menu_order=33,
            in_menu=lambda part: bool(part.lots),
            role=Role.DISPLAY,
        ),
    ),
    styles=("parking.css",),
)
