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


class AlarmEvent(StrEnum):
    """What can happen to an alarm."""

    RAISE = "raise"
    CLEAR = "clear"
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"


class Transition(NamedTuple):
    """What an event does in a state. `latching` is None where it makes no difference."""

    state: State
    event: AlarmEvent
    latching: bool | None
    next: State
    change: str
    """The word for it in the record."""


TRANSITIONS = (
    Transition(State.NORMAL, AlarmEvent.RAISE, None, State.ACTIVE, "raised"),
    Transition(State.ACTIVE, AlarmEvent.ACKNOWLEDGE, None, State.ACKNOWLEDGED, "acknowledged"),
    Transition(State.ACTIVE, AlarmEvent.CLEAR, None, State.CLEARED, "cleared"),
    Transition(State.ACKNOWLEDGED, AlarmEvent.CLEAR, True, State.LATCHED, "cleared"),
    Transition(State.ACKNOWLEDGED, AlarmEvent.CLEAR, False, State.NORMAL, "closed"),
    Transition(State.CLEARED, AlarmEvent.RAISE, None, State.ACTIVE, "raised"),
    Transition(State.CLEARED, AlarmEvent.ACKNOWLEDGE, True, State.LATCHED, "acknowledged"),
    Transition(State.CLEARED, AlarmEvent.ACKNOWLEDGE, False, State.NORMAL, "closed"),
    Transition(State.LATCHED, AlarmEvent.RAISE, None, State.ACTIVE, "raised"),
    Transition(State.LATCHED, AlarmEvent.RESET, None, State.NORMAL, "closed"),
)
"""Whatever is not in this table changes nothing: an alarm is reset only after it was acknowledged, and
never while its condition holds."""

_TRANSITIONS_BY_EVENT = {
    (arrow.state, arrow.event, latching): arrow
    for arrow in TRANSITIONS
    for latching in ((True, False) if arrow.latching is None else (arrow.latching,))
}


def find_transition(state: State, event: AlarmEvent, latching: bool) -> Transition | None:
    """The arrow to follow; None when the event changes nothing."""
    return _TRANSITIONS_BY_EVENT.get((state, event, latching))


def state_diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> normal"]
    for arrow in TRANSITIONS:
        only = {True: " (latching)", False: " (not latching)", None: ""}[arrow.latching]
        lines.append(f"    {arrow.state} --> {arrow.next}: {arrow.event}{only}")
    return "\n".join(lines)
