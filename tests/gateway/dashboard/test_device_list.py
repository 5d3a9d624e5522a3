"""Which devices the page lists, and in which order."""

from __future__ import annotations

import pytest

from gateway.dashboard.device_list import DeviceSelection, device_selection
from gateway.web.view import DeviceAnnotation, DeviceCondition, DeviceRow, Severity

HALL, CELLAR = {"zh": "大厅", "en": "Hall"}, {"zh": "地下室", "en": "Cellar"}
FIRE = {"safety": DeviceAnnotation(severity=Severity.DANGER)}
GOOD = DeviceCondition.GOOD

ROWS = (
    DeviceRow("smoke-1", {"zh": "烟感", "en": "Detector"}, "smoke", True, GOOD, at=9, annotations=FIRE),
    DeviceRow("m-2", {"zh": "水表"}, "water-meter", False, DeviceCondition.OFFLINE, at=1, room=CELLAR),
    DeviceRow("m-1", {"zh": "电表"}, "energy-meter", False, GOOD, at=3, room=HALL, bus="rs485"),
    DeviceRow("m-3", {"zh": "气表"}, "meter", False, DeviceCondition.NOT_HEARD, room=CELLAR),
)


def chosen(**query: str) -> list[str]:
    found = device_selection(query).list_devices(ROWS, "zh")
    return [row.name for group in found.groups for row in group.rows]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("烟", ["smoke-1"]),
        ("DETECTOR", ["smoke-1"]),
        ("ＨＡＬＬ", ["m-1"]),
        ("大厅 电", ["m-1"]),
        ("RS485", ["m-1"]),
        ("m-", ["m-2", "m-1", "m-3"]),
        ("smoke-1 电", []),
        ("\n", ["smoke-1", "m-2", "m-1", "m-3"]),
        (".*", []),
    ],
)
def test_every_word_is_searched_in_all_that_names_a_device(text: str, names: list[str]) -> None:
    assert chosen(text=text) == names


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ("alarm", ["smoke-1"]),
        ("good", ["m-1"]),
        ("offline", ["m-2"]),
        ("not-heard", ["m-3"]),
        ("stale", []),
        ("no-such-state", ["smoke-1", "m-2", "m-1", "m-3"]),
    ],
)
def test_a_device_in_alarm_is_not_good(state: str, names: list[str]) -> None:
    assert chosen(state=state) == names
    counts = DeviceSelection().list_devices(ROWS, "zh").states
    if state in counts:
        assert counts[state] == len(names)


def test_a_kind_that_is_gone_is_no_choice() -> None:
    assert chosen(kind="smoke") == ["smoke-1"]
    assert len(chosen(kind="no-such-kind")) == len(ROWS)


def test_the_worst_are_together_wherever_they_are_and_the_rest_by_room() -> None:
    groups = DeviceSelection().list_devices(ROWS, "en").groups
    assert [(group.key, [row.name for row in group.rows]) for group in groups] == [
        ("attention/", ["smoke-1", "m-2"]),
        ("room/Hall", ["m-1"]),
        ("room/Cellar", ["m-3"]),
    ]


def test_what_needs_attention_comes_before_safety_devices_that_are_well() -> None:
    safe = [DeviceRow(f"smoke-{n}", {}, "smoke", True, GOOD) for n in range(80)]
    stale = DeviceRow("fridge", {}, "thermometer", False, DeviceCondition.STALE)
    first, *_ = DeviceSelection().list_devices([*safe, stale], "zh").groups
    assert first.key == "attention/"
    assert [row.name for row in first.rows] == ["fridge"]


def test_a_room_says_how_its_devices_are() -> None:
    rooms = DeviceSelection().list_devices(ROWS, "en").rooms
    assert [(each.title, each.total, each.needy, each.in_order) for each in rooms] == [
        ("Cellar", 2, 1, 0),
        ("Hall", 1, 0, 1),
    ]
    assert chosen(room="地下室") == ["m-2", "m-3"]
    assert chosen(room="地下") == [row.name for row in ROWS]
    assert DeviceSelection(room="地下室").list_devices(ROWS, "zh").rooms[0].total == 2


def test_without_rooms_devices_are_grouped_by_kind() -> None:
    groups = DeviceSelection(sort="name").list_devices(ROWS[:1], "zh").groups
    assert [group.key for group in groups] == ["kind/smoke"]


def test_the_latest_reading_comes_first_and_none_last() -> None:
    found = DeviceSelection(sort="reading").list_devices((ROWS[3], ROWS[1], ROWS[2]), "zh")
    assert [row.name for group in found.groups for row in group.rows] == ["m-1", "m-2", "m-3"]


def test_a_part_of_the_list_counts_all_that_match() -> None:
    rows = tuple(DeviceRow(f"d{n}", {}, "smoke" if n % 2 else "gas", False, GOOD) for n in range(130))
    found = DeviceSelection().list_devices(rows, "zh")
    assert (found.listed, found.found) == (50, 130)
    assert [(len(group.rows), group.total) for group in found.groups] == [(50, 65)]
    assert DeviceSelection(rows=100).list_devices(rows, "zh").listed == 100
    assert DeviceSelection(rows=150).list_devices(rows, "zh").listed == 130


def test_an_address_says_what_was_chosen() -> None:
    assert device_selection({}).query == ""
    query = {"text": "大厅", "state": "good", "kind": "smoke", "room": "1 & 2", "sort": "name"}
    expected = "text=%E5%A4%A7%E5%8E%85&state=good&kind=smoke&room=1+%26+2&sort=name&rows=100"
    assert device_selection({**query, "rows": "100"}).query == expected
    for rows in ("-1", "²", "1e9", "x", "9" * 5000, "0"):
        assert device_selection({"rows": rows}).rows == 50
    assert len(device_selection({"text": "x" * 100_000}).text) == 100
