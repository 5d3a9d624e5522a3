"""What the site's file says of its doors and rooms."""

from __future__ import annotations

from gateway.config import Site

from .analysis import Centre
from .fold import CENTRE, DOOR

KIND = "door-counter"


def centre_of(site: Site) -> Centre:
    """Its doors, and which of them each place is counted by."""
    counters = [device for device in site.devices.values() if device.kind == KIND]
    doors = {DOOR + device.name: (device.name,) for device in counters}
    return Centre(
        timezone=site.centre.timezone,
        doors=doors,
        places={CENTRE: tuple(doors), **{door: (door,) for door in doors}},
        titles={DOOR + device.name: device.title for device in counters},
        hours=site.hours,
    )
