"""The tile of parking bays."""

from __future__ import annotations

from gateway.capabilities.parking.services import Parking
from gateway.web.part import PagePart, PartInput, Tile
from gateway.web.view import PlaceCount, place_count


def _bays(_settings: None, part_input: PartInput) -> PlaceCount:
    return place_count(part_input.snapshot.samples.get(Parking.name), part_input.now)


PAGES: PagePart[None, PlaceCount] = PagePart(
    name="parking",
    summaries=(Parking.name,),
    view=_bays,
    tiles=(Tile("bays-tile", order=30),),
    styles=("parking.css",),
)
