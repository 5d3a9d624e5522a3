"""The doors and rooms of the site file, as the analysis needs them."""

from __future__ import annotations

from gateway.config import Site

from ..services import CENTRE, OUTSIDE, with_counters
from ..site import VisitorsSite
from .aggregation import DOOR_PREFIX, ROOM_PREFIX
from .results import CentreLayout


def centre_layout(site: Site) -> CentreLayout:
    """The doors of the site, and through which of them each place is counted."""
    layout = with_counters(site.part(VisitorsSite).layout, site.devices.values())
    doors = {DOOR_PREFIX + name: door for name, door in layout.doors.items()}
    rooms = {
        ROOM_PREFIX + room: tuple(name for name, door in doors.items() if room in (door.outer, door.inner))
        for room in layout.rooms
    }
    counters = [counter for door in doors.values() for counter in door.counters]
    return CentreLayout(
        timezone=site.centre.timezone,
        doors={name: door.counters for name, door in doors.items()},
        places={
            CENTRE: tuple(name for name, door in doors.items() if OUTSIDE in (door.outer, door.inner)),
            **rooms,
            **{name: (name,) for name in doors},
        },
        titles={
            **{DOOR_PREFIX + counter: site.devices[counter].title for counter in counters},
            **{name: door.title for name, door in doors.items() if door.title},
            **{ROOM_PREFIX + name: room.title for name, room in layout.rooms.items()},
        },
        hours=site.hours,
    )
