"""The life of an alarm, as one table: states in the terms of ISA-18.2, latching as in EN 54-2 and
GB 26875.1-2011. The diagram in the documentation is drawn from the same table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where an alarm stands. A point without a row is `normal`."""

    NORMAL = "normal"
    ACTIVE = "active"
    """The condition holds and nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    """The condition holds and somebody has seen it."""
    CLEARED = "cleared"
    """The condition is gone, but nobody has acknowledged that it was there."""
    LATCHED = "latched"
    """The condition is gone and somebody has seen it; a named person must still reset it."""


class Event(StrEnum):
    """What can happen to an alarm."""

    RAISE = "raise"
    CLEAR = "clear"
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"


class Arrow(NamedTuple):
    """What an event does in a state. `latching` is None where it makes no difference."""

    state: State
    event: Event
    latching: bool | None
    next: State
    change: str
    """The word for it in the record."""


ARROWS = (
    Arrow(State.NORMAL, Event.RAISE, None, State.ACTIVE, "raised"),
    Arrow(State.ACTIVE, Event.ACKNOWLEDGE, None, State.ACKNOWLEDGED, "acknowledged"),
    Arrow(State.ACTIVE, Event.CLEAR, None, State.CLEARED, "cleared"),
    Arrow(State.ACKNOWLEDGED, Event.CLEAR, True, State.LATCHED, "cleared"),
    Arrow(State.ACKNOWLEDGED, Event.CLEAR, False, State.NORMAL, "closed"),
    Arrow(State.CLEARED, Event.RAISE, None, State.ACTIVE, "raised"),
    Arrow(State.CLEARED, Event.ACKNOWLEDGE, True, State.LATCHED, "acknowledged"),
    Arrow(State.CLEARED, Event.ACKNOWLEDGE, False, State.NORMAL, "closed"),
    Arrow(State.LATCHED, Event.RAISE, None, State.ACTIVE, "raised"),
    Arrow(State.LATCHED, Event.RESET, None, State.NORMAL, "closed"),
)
"""Whatever is not in this table changes nothing: an alarm is reset only after it was acknowledged, and
never while its condition holds."""

_TABLE = {
    (arrow.state, arrow.event, latching): arrow
    for arrow in ARROWS
    for latching in ((True, False) if arrow.latching is None else (arrow.latching,))
}


def follow(state: State, event: Event, latching: bool) -> Arrow | None:
    """The arrow to follow; None when the event changes nothing."""
    return _TABLE.get((state, event, latching))


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> normal"]
    for arrow in ARROWS:
        only = {True: " (latching)", False: " (not latching)", None: ""}[arrow.latching]
        lines.append(f"    {arrow.state} --> {arrow.next}: {arrow.event}{only}")
    return "\n".join(lines)
