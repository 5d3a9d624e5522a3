"""How many people are inside the centre and each of its rooms."""

from __future__ import annotations

import msgspec

from gateway.model import Fact, Stamp

from . import facts

NEARLY_FULL_FROM_SHARE, NEARLY_FULL_BELOW_SHARE = 0.9, 0.8
"""The shares of the limit from which on a place is nearly full, and below which it no longer is."""


class Flow(msgspec.Struct, frozen=True, array_like=True):
    """How many came, left, and left without having been counted coming."""

    came: int = 0
    left: int = 0
    unseen: int = 0

    def plus(self, came: int, left: int, unseen: int) -> Flow:
        return Flow(self.came + came, self.left + left, self.unseen + unseen)


class Drift(msgspec.Struct, frozen=True, array_like=True):
    """The state of a place at its closing: how many remained, and how many had come and left."""

    at: Stamp
    inside: int
    flow: Flow


class Place(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="place",
    omit_defaults=True,
    rename={"presumed_left": "gone"},
):
    """The centre or a room; its key is `place/` and the room's name, which is empty for the centre."""

    inside: int = 0
    today: Flow = Flow()
    since: Flow = Flow()
    """Since the place was last presumed empty."""
    tours: int = 0
    """How many of today's visitors belonged to visiting groups."""
    presumed_left: int = 0
    """How many were presumed to have left at the last closing; people who leave later may be among them."""
    near: bool = False
    """It is nearly full."""
    drift: Drift | None = None
    """The counting error at the last closing."""


def with_passage(place: Place, came: int, left: int) -> Place:
    """The place after some people came and left."""
    inside = place.inside + came - left
    missing = max(0, -inside)
    late = min(missing, place.presumed_left)
    return msgspec.structs.replace(
        place,
        inside=max(0, inside),
        presumed_left=place.presumed_left - late,
        today=place.today.plus(came, left, missing - late),
        since=place.since.plus(came, left, missing - late),
    )


def close_place(place: Place, room: str, at: Stamp) -> tuple[Place, list[Fact]]:
    """Presume the place empty at its closing, and report the counting error."""
    flow, inside = place.since, place.inside
    if not inside and flow == Flow():
        return place, []
    fact = facts.visitor_drift(at, room, inside=inside, came=flow.came, left=flow.left, unseen=flow.unseen)
    drift = Drift(at, inside, flow)
    return msgspec.structs.replace(place, inside=0, presumed_left=inside, since=Flow(), drift=drift), [fact]


def update_crowding(place: Place, room: str, limit: int | None, at: Stamp) -> tuple[Place, list[Fact]]:
    """Report once when the place becomes nearly full, and when it no longer is."""
    near = limit is not None and place.inside >= limit * (
        NEARLY_FULL_BELOW_SHARE if place.near else NEARLY_FULL_FROM_SHARE
    )
    if near == place.near:
        return place, []
    new_facts = [facts.crowding(at, room, place.inside, limit, near)] if limit is not None else []
    return msgspec.structs.replace(place, near=near), new_facts
