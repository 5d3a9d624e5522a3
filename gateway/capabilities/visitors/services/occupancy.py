"""Who is inside: the centre, and each of its rooms."""

from __future__ import annotations

import msgspec

from gateway.model import Fact, Stamp

from . import facts

WARN, CALM = 0.9, 0.8
"""Of its limit: from where on a place is nearly full, and below which it no longer is."""


class Flow(msgspec.Struct, frozen=True, array_like=True):
    """Who came, who left, and who left without having been seen to come."""

    came: int = 0
    left: int = 0
    unseen: int = 0

    def plus(self, came: int, left: int, unseen: int) -> Flow:
        return Flow(self.came + came, self.left + left, self.unseen + unseen)


class Drift(msgspec.Struct, frozen=True, array_like=True):
    """What a place was found to be at its closing: how many were left over, and who came and left."""

    at: Stamp
    inside: int
    flow: Flow


class Place(msgspec.Struct, frozen=True, kw_only=True, tag="place", omit_defaults=True):
    """The centre or a room; its key is `place/` and the room's name, which the centre has not."""

    inside: int = 0
    today: Flow = Flow()
    since: Flow = Flow()
    """Since the place was last taken to be empty."""
    tours: int = 0
    """How many of today's were visiting groups."""
    gone: int = 0
    """Who was taken to have gone at the last closing: who leaves later may be one of them."""
    near: bool = False
    """It is nearly full."""
    drift: Drift | None = None
    """What was amiss at the last closing."""


def moved(place: Place, came: int, left: int) -> Place:
    """Some came, and some left."""
    inside = place.inside + came - left
    missing = max(0, -inside)
    late = min(missing, place.gone)
    return msgspec.structs.replace(
        place,
        inside=max(0, inside),
        gone=place.gone - late,
        today=place.today.plus(came, left, missing - late),
        since=place.since.plus(came, left, missing - late),
    )


def closed(place: Place, room: str, at: Stamp) -> tuple[Place, list[Fact]]:
    """Nobody is inside any more; what was amiss is written down."""
    flow, inside = place.since, place.inside
    if not inside and flow == Flow():
        return place, []
    told = facts.drift(at, room, inside=inside, came=flow.came, left=flow.left, unseen=flow.unseen)
    drift = Drift(at, inside, flow)
    return msgspec.structs.replace(place, inside=0, gone=inside, since=Flow(), drift=drift), [told]


def crowded(place: Place, room: str, limit: int | None, at: Stamp) -> tuple[Place, list[Fact]]:
    """Whether it is nearly full, or no longer, is told once."""
    near = limit is not None and place.inside >= limit * (CALM if place.near else WARN)
    if near == place.near:
        return place, []
    told = [facts.crowding(at, room, place.inside, limit, near)] if limit is not None else []
    return msgspec.structs.replace(place, near=near), told
