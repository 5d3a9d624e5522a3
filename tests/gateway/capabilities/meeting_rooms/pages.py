"""The page of meeting rooms, and their tile on the overview."""

from __future__ import annotations

import msgspec

from gateway.config import Site
from gateway.web.part import Page, PagePart, PartInput, Tile

from .services import MeetingRooms
from .site import MeetingRoomsSite


class MeetingRoomRow(msgspec.Struct, frozen=True):
    """One room as it is shown."""

    name: str
    seats: int
    in_use: bool | None
    """None: unknown."""


def room_rows(settings: MeetingRoomsSite, given: PartInput) -> tuple[MeetingRoomRow, ...]:
    """Every configured room; what is unknown is shown as unknown."""
    states = given.rows(MeetingRooms)
    return tuple(
        MeetingRoomRow(name, room.seats, states[name].in_use if name in states else None)
        for name, room in settings.rooms.items()
    )


def read_settings(site: Site) -> MeetingRoomsSite:
    """What the page must know of the site."""
    return site.part(MeetingRoomsSite)


PAGES: PagePart[MeetingRoomsSite, tuple[MeetingRoomRow, ...]] = PagePart(
    name="meeting_rooms",
    settings=read_settings,
    services=(MeetingRooms,),
    view=room_rows,
    pages=(Page(name="meeting-rooms", title="meeting.page", regions=("meeting-rooms",), menu_order=60),),
    tiles=(Tile("meeting-rooms-tile", order=60),),
)
