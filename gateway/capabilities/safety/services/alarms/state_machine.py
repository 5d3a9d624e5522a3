"""The states of an alarm and the transitions between them, as one table. The states use the terms of
ISA-18.2; latching follows EN 54-2 and GB 26875.1-2011. The diagram in SAFETY.md is made from this table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class AlarmState(StrEnum):
    """The state of an alarm. A point without a row is `normal`."""

    NORMAL = "normal"
    ACTIVE = "active"
    """The condition holds and nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    """The condition holds and a person has acknowledged it."""
    CLEARED = "cleared"
    """The condition is gone, but nobody has acknowledged the alarm."""
    LATCHED = "latched"
    """The condition is gone and the alarm acknowledged; a named person must still reset it."""


UNACKNOWLEDGED_STATES = (AlarmState.ACTIVE, AlarmState.CLEARED)
"""The states of an alarm that nobody has acknowledged."""


class AlarmEvent(StrEnum):
    """An event that may change the state of an alarm."""

    RAISE = "raise"
    CLEAR = "clear"
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"


class Transition(NamedTuple):
    """What an event does in a state. `latching` is None where that does not depend on latching."""

    state: AlarmState
    event: AlarmEvent
    latching: bool | None
    next: AlarmState
    change: str
    """The name of the change in the journal record."""


TRANSITIONS = (
    Transition(AlarmState.NORMAL, AlarmEvent.RAISE, None, AlarmState.ACTIVE, "raised"),
    Transition(AlarmState.ACTIVE, AlarmEvent.ACKNOWLEDGE, None, AlarmState.ACKNOWLEDGED, "acknowledged"),
    Transition(AlarmState.ACTIVE, AlarmEvent.CLEAR, None, AlarmState.CLEARED, "cleared"),
    Transition(AlarmState.ACKNOWLEDGED, AlarmEvent.CLEAR, True, AlarmState.LATCHED, "cleared"),
    Transition(AlarmState.ACKNOWLEDGED, AlarmEvent.CLEAR, False, AlarmState.NORMAL, "closed"),
    Transition(AlarmState.CLEARED, AlarmEvent.RAISE, None, AlarmState.ACTIVE, "raised"),
    Transition(AlarmState.CLEARED, AlarmEvent.ACKNOWLEDGE, True, AlarmState.LATCHED, "acknowledged"),
    Transition(AlarmState.CLEARED, AlarmEvent.ACKNOWLEDGE, False, AlarmState.NORMAL, "closed"),
    Transition(AlarmState.LATCHED, AlarmEvent.RAISE, None, AlarmState.ACTIVE, "raised"),
    Transition(AlarmState.LATCHED, AlarmEvent.RESET, None, AlarmState.NORMAL, "closed"),
)
"""An event without a row here changes nothing: an alarm can be reset only after it was acknowledged, and
never while its condition holds."""

_TRANSITIONS_BY_EVENT = {
    (transition.state, transition.event, latching): transition
    for transition in TRANSITIONS
    for latching in ((True, False) if transition.latching is None else (transition.latching,))
}


def find_transition(state: AlarmState, event: AlarmEvent, latching: bool) -> Transition | None:
    """The transition for an event in a state; None when the event changes nothing."""
    return _TRANSITIONS_BY_EVENT.get((state, event, latching))
