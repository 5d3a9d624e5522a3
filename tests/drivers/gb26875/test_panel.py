from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gb26875.packets import ANSWER, MAX_DATA_BYTES, SEND
from drivers.gb26875.panel import MAX_PARTS, STATUS_BITS, Panel, PanelReading
from gateway.model import MORE_PLACES
from tests.drivers.gb26875.frames import (
    DISABLED,
    FIRE,
    TIME,
    component,
    components,
    operation,
    packet,
)


def told(*data: bytes) -> PanelReading:
    """What a panel holds after these data units."""
    panel = Panel()
    readings = [panel.apply_packet(packet(each, sequence=number)) for number, each in enumerate(data)]
    return readings[-1]


def test_two_detectors_in_fire_do_not_cancel_each_other() -> None:
    fire_1, fire_2 = components(component(FIRE, 1, "一楼")), components(component(FIRE, 2, "二楼"))
    quiet_1, quiet_2 = components(component(1, 1)), components(component(1, 2))
    assert told(fire_1, fire_2).fire_location == "1/1/40/2.0.0.0 二楼"
    still = told(fire_1, fire_2, quiet_2)
    assert (still.active_states, still.fire_location) == ({"fire"}, "1/1/40/1.0.0.0 一楼")
    over = told(fire_1, fire_2, quiet_2, quiet_1)
    assert (over.active_states, over.fire_location) == (frozenset(), "")
    repeated = told(fire_1, fire_2, fire_1)
    assert repeated.fire_location == "1/1/40/2.0.0.0 二楼", "a fire that is told again is not the newest"


@pytest.mark.parametrize("test_bit", [0, 1])
def test_every_bit_is_told_and_bit_0_decides_nothing(test_bit: int) -> None:
    for bit, name in enumerate(STATUS_BITS, 1):
        assert told(components(component(1 << bit | test_bit))).active_states == {name}
    assert told(components(component(test_bit | 0xFE00))).active_states == frozenset()


def test_22_components_come_in_one_packet_and_one_cut_short_still_counts() -> None:
    many = [component(1, number) for number in range(21)] + [component(FIRE, 99, "锅炉房")]
    assert told(components(*many)).fire_location == "1/1/40/99.0.0.0 锅炉房"
    for length in range(9, 46):
        assert told(components(*many)[: 2 + 21 * 46 + length]).active_states == {"fire"}
    assert told(components(component(FIRE)[:8])).active_states == frozenset()


def test_what_trails_behind_the_last_component_is_none_but_a_whole_one_counts() -> None:
    quiet = components(component(1))
    assert told(quiet + b"\xff" * 45).active_states == frozenset()
    assert told(quiet + component(FIRE, 2)).active_states == {"fire"}
    assert told(bytes((2, 0)) + component(FIRE)).active_states == {"fire"}
    assert told(operation(1 << 6) + b"\1\1\4").active_states == frozenset()


def test_components_and_systems_without_their_times() -> None:
    parts = component(1, 1)[:40] + component(FIRE, 2, "二楼")[:40] + component(1, 3)[:40]
    assert told(bytes((2, 3)) + parts).fire_location == "1/1/40/2.0.0.0 二楼"
    systems = bytes((1, 2, 1, 1, 1, 0, 10, 1)) + FIRE.to_bytes(2, "little")
    assert told(systems).fire_location == "10/1"


@pytest.mark.parametrize(
    ("description", "text"),
    [(b"\xff" * 31, "�" * 31), (b"a\nb\x1b[2J\x00rest", "ab[2J"), (b" \xc8\xfd ", "三")],
)
def test_any_description_becomes_plain_text(description: bytes, text: str) -> None:
    one = component(FIRE)
    where = told(components(one[:9] + description.ljust(31, b"\0") + TIME)).fire_location
    assert where == f"1/1/40/1.0.0.0 {text}"


def test_a_reset_clears_its_own_system_but_no_disablement() -> None:
    start = components(component(FIRE | DISABLED, 1), component(FIRE, 2, system=10), component(1 << 2, 3))
    assert told(start).active_states == {"fire", "fault", "disabled"}
    assert told(start, operation(1)).active_states == {"fire", "disabled"}
    assert told(start, operation(1), operation(1, system=10)).active_states == {"disabled"}


def test_a_cleared_alarm_leaves_the_faults_and_other_operations_change_nothing() -> None:
    start = components(component(FIRE, 1), component(1 << 2, 2))
    assert told(start, operation(1 << 2)).active_states == {"fire", "fault", "manual_alarm"}
    assert told(start, operation(1 << 2), operation(1 << 3)).active_states == {"fault"}
    for bit in (1, 4, 5, 6, 7):
        assert told(start, operation(1 << bit)).active_states == {"fire", "fault"}


def test_a_reset_that_is_sent_again_does_not_clear_what_came_after_it() -> None:
    panel = Panel()
    reset = packet(operation(1), sequence=7)
    panel.apply_packet(reset)
    panel.apply_packet(packet(components(component(FIRE))))
    assert panel.apply_packet(reset).active_states == {"fire"}
    assert panel.apply_packet(packet(operation(1), sequence=8)).active_states == frozenset()


def test_a_device_whose_numbers_never_change_is_reset_again() -> None:
    now = 0.0
    panel = Panel(now=lambda: now)
    for _ in range(3):
        panel.apply_packet(packet(components(component(FIRE)), sequence=0))
        assert panel.apply_packet(packet(operation(1), sequence=0)).active_states == frozenset()
        panel.apply_packet(packet(components(component(FIRE)), sequence=0))
        for _ in range(3):
            now += 10
            assert panel.apply_packet(packet(operation(1), sequence=0)).active_states == {"fire"}
        now += 60


def test_a_manual_alarm_that_is_raised_again_counts_whatever_its_number() -> None:
    panel = Panel(now=lambda: 0.0)
    pressed = packet(operation(1 << 2), sequence=0)
    assert panel.apply_packet(pressed).active_states == {"manual_alarm"}
    assert panel.apply_packet(packet(system(0), sequence=0)).active_states == {"manual_alarm"}
    assert panel.apply_packet(packet(system(1 << 13), sequence=0)).active_states == frozenset({"reset"})
    assert "manual_alarm" in panel.apply_packet(pressed).active_states


def system(status: int, number: int = 1) -> bytes:
    return bytes((1, 1, number, 1)) + status.to_bytes(2, "little") + TIME


def test_a_system_that_turns_to_reset_clears_what_it_held_and_staying_so_clears_nothing() -> None:
    fire, reset = components(component(FIRE), component(DISABLED, 2)), system(1 << 13)
    assert told(fire, reset).active_states == {"disabled", "reset"}
    assert told(fire, reset, fire, reset).active_states == {"fire", "disabled", "reset"}
    assert told(fire, reset, fire, operation(1), fire, reset).active_states == {"fire", "disabled", "reset"}
    assert told(fire, reset, system(1), fire, reset).active_states == {"disabled", "reset"}
    assert told(fire, system(1 << 13, number=10)).active_states == {"fire", "disabled", "reset"}


def test_an_answer_with_operations_tells_of_the_past() -> None:
    panel = Panel()
    panel.apply_packet(packet(components(component(FIRE))))
    assert panel.apply_packet(packet(operation(1), command=ANSWER)).active_states == {"fire"}


def test_a_panel_is_remembered_to_the_last_part() -> None:
    panel = Panel()
    for data in (components(component(FIRE, 1, "一楼"), component(FIRE, 2, "二楼")), system(1 << 13, 10)):
        before = panel.apply_packet(packet(data))
    again = Panel(before.saved_state)
    assert again.state_queries() == panel.state_queries()
    heartbeat = again.apply_packet(packet(b""))
    assert (heartbeat.active_states, heartbeat.fire_location) == (
        before.active_states,
        "1/1/40/2.0.0.0 二楼",
    )
    assert heartbeat.saved_state == before.saved_state, "what has not changed is not written again"
    assert again.apply_packet(packet(components(component(1, 2)))).fire_location == "1/1/40/1.0.0.0 一楼"
    assert again.apply_packet(packet(operation(1))).active_states == {"reset"}


@pytest.mark.parametrize(
    "saved_state", [b"", b"garbage", b"\x91\x91\xa3abc", msgspec.msgpack.encode({"parts": 1})]
)
def test_a_state_that_cannot_be_read_is_none(saved_state: bytes) -> None:
    assert Panel(saved_state).apply_packet(packet(b"")).active_states == frozenset()


def test_a_panel_is_asked_for_what_may_have_changed() -> None:
    panel = Panel()
    assert panel.state_queries() == [bytes((81, 1, 0))]
    panel.apply_packet(packet(components(*(component(DISABLED, number) for number in range(22)))))
    panel.apply_packet(packet(components(component(FIRE, 0x0A0B0C0D, system=10))))
    panel.apply_packet(packet(components(component(1, 5, system=11))))
    of_device, of_systems, *pages = panel.state_queries()
    assert of_device == bytes((81, 1, 0))
    assert of_systems == bytes((61, 3, 1, 1, 10, 1, 11, 1))
    assert [page[:2] for page in pages] == [bytes((62, 22)), bytes((62, 1))]
    assert pages[0][2:8] == bytes((10, 1, 0x0D, 0x0C, 0x0B, 0x0A)), "a fire is asked for first"


@given(st.lists(st.binary(min_size=46, max_size=46), min_size=1, max_size=300))
def test_no_question_is_too_long(parts: list[bytes]) -> None:
    panel = Panel()
    for part in parts:
        panel.apply_packet(packet(components(part)))
    for question in panel.state_queries():
        assert len(question) <= MAX_DATA_BYTES
        assert question[1] == (len(question) - 2) // {61: 2, 62: 6, 81: 1}[question[0]]


def test_systems_and_the_device_itself_have_states_too() -> None:
    status = (FIRE | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 13).to_bytes(2, "little")
    whole = told(bytes((1, 1, 1, 3)) + status + TIME)
    assert whole.active_states == {"fire", "power_fault", "line_fault", "manual_mode", "reset"}
    assert whole.fire_location == "1/3"
    own = bytes((21, 1, 0b0100_1001)) + TIME
    assert told(own).active_states == {"power_fault", "line_fault"}
    assert told(own, bytes((21, 1, 1)) + TIME).active_states == frozenset()
    pressed, reset = bytes((24, 1, 4, 7)) + TIME, bytes((24, 1, 1, 7)) + TIME
    assert told(pressed).active_states == {"manual_alarm"}
    fire = components(component(FIRE))
    assert told(fire, pressed, reset).active_states == {"fire"}, "the device's reset is not the panel's"


@pytest.mark.parametrize("data", [b"", b"\2", bytes((8, 1, 1, 1)) + TIME, bytes((28, 1)) + TIME])
def test_what_tells_no_state_is_a_sign_of_life_with_what_is_held(data: bytes) -> None:
    assert told(components(component(FIRE)), data).active_states == {"fire"}


def test_only_what_is_sent_or_answered_is_believed() -> None:
    fire = components(component(FIRE))
    believed = {c for c in range(8) if Panel().apply_packet(packet(fire, command=c)).active_states}
    assert believed == {SEND, ANSWER}


def test_strangers_parts_do_not_fill_the_memory_and_push_out_no_fire() -> None:
    panel = Panel()
    panel.apply_packet(packet(components(component(FIRE, 0xFFFFFFFF, "仓库"))))
    for first in range(0, MAX_PARTS + 200, 20):
        faults = [component(1 << 2, number) for number in range(first, first + 20)]
        reading = panel.apply_packet(packet(components(*faults)))
    assert len(panel._parts) == MAX_PARTS + 1
    assert reading.fire_location.endswith("仓库")
    assert MORE_PLACES in reading.places["fault"]
    for first in range(9000, 9000 + MAX_PARTS + 100, 20):
        fires = [component(FIRE, number) for number in range(first, first + 20)]
        reading = panel.apply_packet(packet(components(*fires)))
    assert len(panel._parts) == MAX_PARTS + 1
    assert len(reading.places["fire"]) == MAX_PARTS + 1
    assert {MORE_PLACES, "1/1/40/255.255.255.255"} <= reading.places["fire"].keys()
    assert reading.places["fault"] == {MORE_PLACES: ""}, "they gave way, and are known without their places"
    assert panel.apply_packet(packet(operation(1))).places["fire"] == {}


def test_each_part_that_holds_a_state_is_a_place_of_it() -> None:
    fires = [component(FIRE, number, f"{number} 号") for number in range(1, 23)]
    places = told(components(*fires), system(1 << 2, 10), bytes((21, 1, 1 << 2)) + TIME).places
    assert places["fire"] == {f"1/1/40/{number}.0.0.0": f"{number} 号" for number in range(1, 23)}
    assert places["fault"] == {"10/1": "", "": ""}
    assert places["manual_alarm"] == {}
    assert told(components(*fires), operation(1)).places["fire"] == {}
    assert told(components(*fires), operation(1 << 3)).places["fire"] == {}
    assert told(components(*fires), components(component(1, 5))).places["fire"].keys() == places[
        "fire"
    ].keys() - {"1/1/40/5.0.0.0"}
