"""The tile of parking bays: how many are free, and which."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.capabilities.parking.services import PARKING_BAY_KIND, Bay, Parking, is_bay
from gateway.web.gallery import GalleryMoment
from gateway.web.part import PagePart, PartInput, Tile
from gateway.web.settings import DeviceInfo
from gateway.web.view import BoardCell, PlaceCount, place_count


class ParkingView(msgspec.Struct, frozen=True):
    """The bays: `free`, `occupied` or `unknown`."""

    bays: PlaceCount
    board: tuple[BoardCell, ...] = ()


def parking_view(_settings: None, part_input: PartInput) -> ParkingView:
    """The view of the service's rows and summary."""
    rows: Mapping[str, Bay] = part_input.rows(Parking)
    return ParkingView(
        place_count(part_input.snapshot.samples.get(Parking.name), part_input.now),
        tuple(
            BoardCell(
                info.name, point.partition(".")[2], info.title, _state(rows.get(f"{info.name}/{point}"))
            )
            for info in part_input.device_infos.values()
            for point in _bay_points(info)
        ),
    )


def sample(moment: GalleryMoment) -> ParkingView:
    """The view at a moment of the gallery."""
    if moment.state == "empty":
        return ParkingView(PlaceCount())
    states = ("free", "occupied", "occupied", "unknown") if moment.is_known else ("unknown",) * 4
    board = tuple(
        BoardCell(f"bay-{n}", "", moment.named(f"{n} 号车位", f"Bay {n}"), states[n % 4])
        for n in range(1, 33)
    )
    free, unknown = (8, 8) if moment.is_known else (None, 32)
    return ParkingView(PlaceCount(free, 32, unknown, stale=moment.is_old), board)


def _bay_points(info: DeviceInfo) -> tuple[str, ...]:
    """The points of a detector that are bays."""
    return tuple(filter(is_bay, info.units)) if info.kind == PARKING_BAY_KIND else ()


def _state(bay: Bay | None) -> str:
    if bay is None or not bay.live:
        return "unknown"
    return "occupied" if bay.occupied else "free"


PAGES: PagePart[None, ParkingView] = PagePart(
    name="parking",
    services=(Parking,),
    summaries=(Parking.name,),
    view=parking_view,
    sample=sample,
    tiles=(Tile("bays-tile", order=30, on_wall=True),),
)
