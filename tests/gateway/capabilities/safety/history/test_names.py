"""What people call the things of the history."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.capabilities.safety.history.names import HistoryNames
from gateway.capabilities.safety.pages.settings import SafetySettings
from gateway.capabilities.safety.testlog import LogNames
from gateway.model import ClockQuality, Stamp
from gateway.web.settings import DeviceInfo, Settings

SETTINGS = Settings(
    journal=Path("j"),
    control=Path("c"),
    access=Path("a"),
    title={},
    timezone="Asia/Shanghai",
    devices=(
        DeviceInfo("smoke", {"zh": "大厅烟感", "en": "Hall smoke"}, "smoke", 5, {"smoke": ""}),
        DeviceInfo("panel", {"zh": "火灾主机"}, "fire-panel", 5, {"fire": ""}),
    ),
    parts={
        "safety": SafetySettings(
            log=LogNames(
                rules={"hot": {"zh": "升温过快"}}, outputs={"siren": {"zh": "警笛", "en": "Siren"}}
            )
        )
    },
)


@pytest.mark.parametrize(
    ("lang", "where", "expected"),
    [
        ("zh", ("smoke", "smoke"), "大厅烟感"),
        ("en", ("smoke", "link"), "Hall smoke"),
        ("zh", ("smoke", "door.3"), "大厅烟感 柜门 3"),
        ("zh", ("panel", "fire", "1/2", "二楼走廊"), "火灾主机 二楼走廊 1/2"),
        ("zh", ("panel", "fire", "*", ""), "火灾主机 及其他部位"),
        ("zh", ("rule", "hot"), "升温过快"),
        ("en", ("rule", "hot"), "升温过快"),
        ("zh", ("outputs", "siren.failed"), "警笛"),
        ("en", ("outputs", "siren.failed"), "Siren"),
        ("zh", ("escalation", "sms.failed"), "通知通道 sms"),
        ("zh", ("gateway", "journal_failing"), "网关 日志库写入"),
        ("en", ("gateway", "drill"), "Drill"),
        ("zh", ("gone", "smoke"), "gone 烟雾"),
    ],
)
def test_a_place_has_the_name_that_people_know(lang: str, where: tuple[str, ...], expected: str) -> None:
    device, point, *more = where
    assert HistoryNames(SETTINGS, lang).place(device, point, *more) == expected


def test_who_gave_no_name_is_told_by_where_it_was_done() -> None:
    names = HistoryNames(SETTINGS, "zh")
    done_by = ("王芳", "dashboard", "console", "upstream", "start", "")
    assert [names.person(name) for name in done_by] == ["王芳", "看板", "终端", "平台", "网关", ""]


def test_a_time_that_nobody_knows_is_not_1970() -> None:
    names = HistoryNames(SETTINGS, "zh")
    unset = Stamp(5000, 0, "b", ClockQuality.UNSET)
    assert (names.time(unset), names.local(unset), names.duration(None)) == ("时间不明", None, "时间不明")
    known = Stamp(1_796_097_600_999, 0, "b", ClockQuality.SYNCED)
    assert names.time(known) == "2026-12-01 12:00:00"
