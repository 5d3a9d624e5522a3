"""The pages of parcel lockers: a tile, and every compartment with a button that opens it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.capabilities.parcels.services import PARCEL_LOCKER_KIND, Compartment, Lockers, is_door
from gateway.capabilities.parcels.site import Front, ParcelsSite
from gateway.config import Site
from gateway.model import Role, Stamp
from gateway.web.commands import NO_TARGET, DeviceRequest, RequestContext, Target
from gateway.web.gallery import GalleryMoment
from gateway.web.part import OwnKind, Page, PagePart, PartInput, Tile
from gateway.web.settings import DeviceInfo, title_in
from gateway.web.view import BoardCell, PlaceCount, place_count

OPEN_ACTION = "open"
LEFT_OPEN_S = 300.0
"""A door that is open for longer has been left open."""


class ParcelsSettings(msgspec.Struct, frozen=True):
    """The fronts of cabinets, by device."""

    fronts: Mapping[str, Front] = {}


class CompartmentRow(msgspec.Struct, frozen=True):
    """One compartment: `free`, `occupied`, `open`, `shut` (without an item sensor) or `unknown`."""

    number: int
    state: str
    size: str = ""
    """`small`, `medium` or `large`; empty if it is not given."""
    since: int | None = None
    """Unix milliseconds: since when it is free or occupied, or its door open; None: not known."""
    left_open: bool = False


class Cabinet(msgspec.Struct, frozen=True):
    """One parcel locker."""

    name: str
    title: dict[str, str]
    compartments: tuple[CompartmentRow, ...]
    columns: tuple[tuple[CompartmentRow, ...], ...] = ()
    """Its front, from left to right and from top to bottom; empty if it is not given."""

    def free(self, size: str) -> int | None:
        """How many compartments of a size are known to be free; None while not one of them is known."""
        states = [each.state for each in self.compartments if each.size == size]
        return None if set(states) <= {"unknown", "shut"} else states.count("free")

    @property
    def sizes(self) -> tuple[str, ...]:
        """The sizes that it has."""
        return tuple(dict.fromkeys(each.size for each in self.compartments if each.size))

    @property
    def left_open(self) -> tuple[int, ...]:
        """The compartments whose doors have been left open."""
        return tuple(each.number for each in self.compartments if each.left_open)


class ParcelsView(msgspec.Struct, frozen=True):
    """The lockers."""

    compartments: PlaceCount
    cabinets: tuple[Cabinet, ...]

    @property
    def board(self) -> tuple[BoardCell, ...]:
        """All compartments."""
        return tuple(
            BoardCell(cabinet.name, str(compartment.number), cabinet.title, compartment.state)
            for cabinet in self.cabinets
            for compartment in cabinet.compartments
        )


class OpenCompartment(DeviceRequest, frozen=True, tag=OPEN_ACTION):
    """Opens a compartment."""

    role = Role.MANAGER
    lock: int

    def target(self, context: RequestContext) -> Target:
        part: ParcelsView = context.part
        for cabinet in part.cabinets:
            numbers = {compartment.number for compartment in cabinet.compartments}
            if cabinet.name == self.device and self.lock in numbers:
                return Target(
                    (cabinet.name,), {"device": title_in(cabinet.title, context.lang, cabinet.name)}
                )
        return NO_TARGET


def settings(site: Site) -> ParcelsSettings:
    """The settings of a site."""
    return ParcelsSettings(site.part(ParcelsSite).fronts)


def parcels_view(settings: ParcelsSettings, part_input: PartInput) -> ParcelsView:
    """The view of the service's rows and summary."""
    rows: Mapping[str, Compartment] = part_input.rows(Lockers)
    return ParcelsView(
        compartments=place_count(part_input.snapshot.samples.get(Lockers.name), part_input.now),
        cabinets=tuple(
            _cabinet(info, rows, settings.fronts.get(info.name, Front()), part_input.now)
            for info in part_input.device_infos.values()
            if info.kind == PARCEL_LOCKER_KIND
        ),
    )


def sample(moment: GalleryMoment) -> ParcelsView:
    """The view at a moment of the gallery."""
    if moment.state == "empty":
        return ParcelsView(PlaceCount(), ())
    states = ("free", "occupied", "open", "shut", "unknown") if moment.is_known else ("unknown",)
    sizes = ("small", "small", "medium", "small", "large")
    compartments = tuple(
        CompartmentRow(
            n,
            states[n % len(states)],
            sizes[(n - 1) % 5],
            moment.now - n * 600_000 if moment.is_known and states[n % len(states)] != "unknown" else None,
            left_open=moment.is_known and n == 2,
        )
        for n in range(1, 16)
    )
    columns = tuple(compartments[first : first + 5] for first in (0, 5, 10))
    free, unknown = (6, 3) if moment.is_known else (None, 15)
    return ParcelsView(
        PlaceCount(
            free, 15, unknown, open=3 if moment.is_known else 0, stale=moment.state in ("stale", "away")
        ),
        (Cabinet("locker", moment.named("东侧快递柜", "East lockers"), compartments, columns),),
    )


def _cabinet(info: DeviceInfo, rows: Mapping[str, Compartment], front: Front, now: Stamp) -> Cabinet:
    """The compartments that the device declares, and those it has reported."""
    found = {
        number: CompartmentRow(number, "unknown", front.size_of(number))
        for number in (int(point.removeprefix("door.")) for point in info.units if is_door(point))
    }
    for key, compartment in rows.items():
        device, _, number = key.rpartition("/")
        if device == info.name:
            found[int(number)] = _compartment(int(number), compartment, front, now)
    columns = [[found[number] for number in column if number in found] for column in front.columns]
    placed = {number for column in front.columns for number in column}
    if columns:
        columns.append([found[number] for number in sorted(found) if number not in placed])
    return Cabinet(
        info.name,
        info.title,
        tuple(found[number] for number in sorted(found)),
        tuple(tuple(column) for column in columns if column),
    )


def _compartment(number: int, compartment: Compartment, front: Front, now: Stamp) -> CompartmentRow:
    state, opened = _state(compartment), compartment.opened
    since = {"open": opened, "unknown": None}.get(state, compartment.since)
    is_open = state == "open" and opened is not None
    return CompartmentRow(
        number,
        state,
        front.size_of(number),
        since.wall_if_set if since else None,
        left_open=bool(is_open and opened and now.seconds_since(opened, if_unknown=0.0) >= LEFT_OPEN_S),
    )


def _state(compartment: Compartment) -> str:
    if not compartment.live:
        return "unknown"
    if compartment.door_open:
        return "open"
    return {True: "occupied", False: "free", None: "shut"}[compartment.occupied]


PAGES: PagePart[ParcelsSettings, ParcelsView] = PagePart(
    name="parcels",
    settings=settings,
    services=(Lockers,),
    summaries=(Lockers.name,),
    view=parcels_view,
    sample=sample,
    own_kinds={
        # Compartments are shown and opened in their own region.
        PARCEL_LOCKER_KIND: OwnKind(
            actions=frozenset({OPEN_ACTION}), is_own_point=lambda point: "." in point
        )
    },
    tiles=(Tile("lockers-tile", order=40, on_wall=True),),
    pages=(
        Page(
            name="lockers",
            title="dashboard.locker-section",
            regions=("lockers",),
            menu_order=35,
            in_menu=lambda part: bool(part.cabinets),
        ),
    ),
    requests=(OpenCompartment,),
    styles=("parcels.css",),
)
