"""`[meeting_room.…]`: a room and its presence sensor."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from gateway.config.capability import Figure, SiteDraft, SiteSection
from gateway.model import Checks, Point

from .services import MeetingRooms


class MeetingRoom(msgspec.Struct, frozen=True, kw_only=True):
    """`sensor`: a device with a point `occupied`."""

    sensor: str
    seats: int = 8

    CHECKS: ClassVar[Checks] = {"seats": (lambda seats: seats > 0, "positive")}


class MeetingRoomsSite(msgspec.Struct, frozen=True):
    """This capability's part of the site."""

    rooms: dict[str, MeetingRoom]


def read(draft: SiteDraft) -> MeetingRoomsSite:
    """The rooms whose sensors are there."""
    rooms = {}
    for name, table in draft.reader.named_tables(draft.data, "meeting_room"):
        path = ("meeting_room", name)
        room = draft.reader.build_struct(MeetingRoom, table, path)
        if room is None:
            continue
        if room.sensor not in draft.devices:
            known = ", ".join(draft.devices)
            draft.reader.add_mistake((*path, "sensor"), "device-unknown", device=room.sensor, known=known)
        rooms[name] = room
    return MeetingRoomsSite(rooms)


SITE = SiteSection(
    tables=("meeting_room",),
    read=read,
    figures=lambda part: {
        MeetingRooms.name: {"free": Figure(point=Point(min=0)), "total": Figure(point=Point(min=0))}
    },
    service_types=(MeetingRooms,),
    services=lambda site: [
        MeetingRooms({name: room.sensor for name, room in site.part(MeetingRoomsSite).rooms.items()})
    ],
)
