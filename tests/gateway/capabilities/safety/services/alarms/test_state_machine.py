from pathlib import Path

from gateway.capabilities.safety.services.alarms import TRANSITIONS, AlarmEvent, AlarmState
from gateway.capabilities.safety.services.alarms.state_machine import find_transition

ROOT = Path(__file__).parents[6]


def test_every_state_is_reached_and_left() -> None:
    assert (
        {arrow.next for arrow in TRANSITIONS} == {arrow.state for arrow in TRANSITIONS} == set(AlarmState)
    )


def test_no_two_arrows_contradict_each_other() -> None:
    pairs = [
        (arrow.state, arrow.event, latching)
        for arrow in TRANSITIONS
        for latching in (True, False)
        if arrow.latching in (None, latching)
    ]
    assert len(pairs) == len(set(pairs))


def test_nothing_but_people_ends_a_latching_alarm() -> None:
    for state in set(AlarmState) - {AlarmState.NORMAL}:
        for event in (AlarmEvent.RAISE, AlarmEvent.CLEAR):
            arrow = find_transition(state, event, latching=True)
            assert arrow is None or arrow.next is not AlarmState.NORMAL


def test_nothing_ends_an_alarm_while_its_condition_holds() -> None:
    for state in (AlarmState.ACTIVE, AlarmState.ACKNOWLEDGED):
        for event in (AlarmEvent.ACKNOWLEDGE, AlarmEvent.RESET):
            for latching in (True, False):
                arrow = find_transition(state, event, latching)
                assert arrow is None or arrow.next is AlarmState.ACKNOWLEDGED


def test_the_documents_show_the_diagram_of_the_table() -> None:
    lines = ["stateDiagram-v2", "    [*] --> normal"]
    for arrow in TRANSITIONS:
        condition = {True: " (latching)", False: " (not latching)", None: ""}[arrow.latching]
        lines.append(f"    {arrow.state} --> {arrow.next}: {arrow.event}{condition}")
    drawn = "\n".join(["```mermaid", *lines, "```"])
    assert drawn in (ROOT / "SAFETY.md").read_text(encoding="utf-8")
