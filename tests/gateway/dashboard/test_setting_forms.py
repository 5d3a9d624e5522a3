from __future__ import annotations

from typing import Any

import pytest

from gateway.config.settable import (
    WEEKLY_HOURS,
    Setting,
    SettingGroup,
    SettingKind,
    number_setting,
    title_setting,
)
from gateway.dashboard.setting_forms import MAX_TEXT, edits_of, field_values

ROOM = SettingGroup(
    path=("room", "dance"), settings=(title_setting(), number_setting("limit", "people-limit", 1, 500))
)
HOURS = SettingGroup(path=("hours",), settings=(WEEKLY_HOURS,))
NIGHT = SettingGroup(
    path=("roster", "night"),
    settings=(
        Setting(
            key=("contacts",),
            label="roster-contacts",
            kind=SettingKind.NAMES,
            choices={"wang": {"zh": "王"}, "li": {"zh": "李"}},
        ),
        WEEKLY_HOURS,
    ),
)
FILE: dict[str, Any] = {
    "room": {"dance": {"title": "舞蹈室", "limit": 30}},
    "hours": {"mon-fri": "08:00-21:30", "sun": ["09:00-12:00", "13:30-17:00"], "closed": ["2027-01-01"]},
    "roster": {"night": {"contacts": ["wang"], "mon-sun": "20:00-08:00"}},
}


def edited(group: SettingGroup, **changes: str) -> dict[str, Any]:
    """The edits after changing fields of the form, by path."""
    form = field_values(group, FILE) | {name.replace("_", "."): text for name, text in changes.items()}
    edits, wrong = edits_of(group, FILE, form)
    assert not wrong
    return {".".join(edit.path): edit.value for edit in edits}


def refused(group: SettingGroup, **changes: str) -> list[tuple[str, str]]:
    form = field_values(group, FILE) | {name.replace("_", "."): text for name, text in changes.items()}
    edits, wrong = edits_of(group, FILE, form)
    assert not edits
    return [(error.field, error.key) for error in wrong]


@pytest.mark.parametrize("group", [ROOM, HOURS, NIGHT])
def test_what_is_saved_as_it_was_shown_changes_nothing(group: SettingGroup) -> None:
    assert edited(group) == {}


def test_a_title_keeps_its_languages() -> None:
    assert field_values(ROOM, FILE)["v0.zh"] == "舞蹈室"
    assert edited(ROOM, v0_en="Dance room") == {"room.dance.title": {"zh": "舞蹈室", "en": "Dance room"}}
    assert edited(ROOM, v0_zh="") == {"room.dance.title": None}


def test_numbers() -> None:
    assert edited(ROOM, v1="1,0") == {"room.dance.limit": 10}
    assert edited(ROOM, v1="12.5") == {"room.dance.limit": 12.5}
    assert edited(ROOM, v1="") == {"room.dance.limit": None}
    for text in ("0", "501", "many", "nan", "inf", "１０ 人", "1e999"):
        assert refused(ROOM, v1=text) == [("v1", "number-wrong")], text


def test_days_with_the_same_hours_are_one_key() -> None:
    assert field_values(HOURS, FILE)["v0.sun"] == "09:00-12:00, 13:30-17:00"
    assert edited(HOURS, v0_sat="9:00-12:00".rjust(11, "0"), v0_sun="09:00–12:00") == {
        "hours.sat-sun": "09:00-12:00",
        "hours.sun": None,
    }
    assert edited(HOURS, v0_closed="2027-01-01，2027-02-06") == {
        "hours.closed": ["2027-01-01", "2027-02-06"]
    }
    assert edited(HOURS, v0_closed="") == {"hours.closed": None}
    for text in ("25:00-26:00", "morning", "08:00", "8-9"):
        assert refused(HOURS, v0_mon=text) == [("v0.mon", "span-wrong")], text
    assert refused(HOURS, v0_closed="1 January") == [("v0.closed", "date-wrong")]


def test_names_are_those_that_may_be_chosen() -> None:
    assert edited(NIGHT, v0_li="1") == {"roster.night.contacts": ["wang", "li"]}
    assert edited(NIGHT, v0_li="1", v0_wang="", v0_root="1") == {"roster.night.contacts": ["li"]}


def test_long_or_broken_text_is_refused() -> None:
    for text in ("x" * (MAX_TEXT + 1), "two\nlines", "\0"):
        assert refused(ROOM, v0_zh=text) == [("v0.zh", "text-long")]
