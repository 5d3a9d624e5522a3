"""The pages of parcel lockers: a tile, and every compartment with a button that opens it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.capabilities.parcels.services import PARCEL_LOCKER_KIND, Compartment, Lockers, is_door
from gateway.model import Role
from gateway.web.commands import NO_TARGET, DeviceRequest, RequestContext, Target
from gateway.web.gallery import GalleryMoment
from gateway.web.part import OwnKind, Page, PagePart, PartInput, Tile
from gateway.web.settings import DeviceInfo, title_in
from gateway.web.view import BoardCell, PlaceCount, place_count

OPEN_ACTION = "open"


class CompartmentRow(msgspec.Struct, frozen=True):
    """One compartment: `free`, `occupied`, `open`, `shut` (without an item sensor) or `unknown`."""

    number: int
    state: str


class Cabinet(msgspec.Struct, frozen=True):
    """One parcel locker."""

    name: str
    title: dict[str, str]
    compartments: tuple[CompartmentRow, ...]


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


def parcels_view(_settings: None, part_input: PartInput) -> ParcelsView:
    """The view of the service's rows and summary."""
    rows: Mapping[str, Compartment] = part_input.rows(Lockers)
    return ParcelsView(
        compartments=place_count(part_input.snapshot.samples.get(Lockers.name), part_input.now),
        cabinets=tuple(
            _cabinet(info, rows)
            for info in part_input.device_infos.values()
            if info.kind == PARCEL_LOCKER_KIND
        ),
    )


def sample(moment: GalleryMoment) -> ParcelsView:
    """The view at a moment of the gallery."""
    if moment.state == "empty":
        return ParcelsView(PlaceCount(), ())
    states = ("free", "occupied", "open", "shut", "unknown") if moment.is_known else ("unknown",)
    compartments = tuple(CompartmentRow(n, states[n % len(states)]) for n in range(1, 16))
    free, unknown = (6, 3) if moment.is_known else (None, 15)
    return ParcelsView(
        PlaceCount(
            free, 15, unknown, open=3 if moment.is_known else 0, stale=moment.state in ("stale", "away")
        ),
        (Cabinet("locker", moment.named("东侧快递柜", "East lockers"), compartments),),
    )


def _cabinet(info: DeviceInfo, rows: Mapping[str, Compartment]) -> Cabinet:
    """The compartments that the device declares, and those it has reported."""
    states = {int(point.removeprefix("door.")): "unknown" for point in info.units if is_door(point)}
    for key, compartment in rows.items():
        device, _, number = key.rpartition("/")
        if device == info.name:
            states[int(number)] = _state(compartment)
    rows_by_number = tuple(CompartmentRow(number, states[number]) for number in sorted(states))
    return Cabinet(info.name, info.title, rows_by_number)


def _state(compartment: Compartment) -> str:
    if not compartment.live:
        return "unknown"
    if compartment.door_open:
        return "open"
    return {True: "occupied", False: "free", None: "shut"}[compartment.occupied]


PAGES: PagePart[None, ParcelsView] = PagePart(
    name="parcels",
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
