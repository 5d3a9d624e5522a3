"""Walk tests, from the records that the alarm service itself makes."""

from __future__ import annotations

from datetime import datetime

from gateway.base.clock import local_time
from gateway.capabilities.safety.history.drills import DrillLog
from gateway.capabilities.safety.history.walk_tests import WalkTest, WalkTestLog
from tests.gateway.capabilities.safety.services.alarms.test_episodes import Alarms

LOCAL = local_time("Asia/Shanghai")


def walk_tests(alarms: Alarms, period: str = "2026-12") -> list[WalkTest]:
    log = WalkTestLog(period, LOCAL)
    for record in alarms.records:
        log.add_record(record)
    return log.tests()


def test_a_detector_that_answered_is_told_from_one_that_did_not() -> None:
    alarms = Alarms()
    for step in ((0, "test"), (1, "test", "water"), (60, "on"), (70, "off"), (300, "end-test")):
        alarms.do(*step)
    (test,) = walk_tests(alarms)
    assert (test.by, test.began, test.answered) == (
        "王芳",
        datetime.fromisoformat("2026-12-01T12:00:00+08:00"),
        1,
    )
    assert [(each.device, each.answered is not None) for each in test.points] == [
        ("smoke", True), ("water", False),
    ]  # fmt: skip
    assert test.last == datetime.fromisoformat("2026-12-01T12:01:00+08:00")


def test_a_second_try_on_the_same_day_completes_the_first() -> None:
    alarms = Alarms()
    for step in (
        (0, "test"),
        (60, "end-test"),
        (600, "test"),
        (610, "on"),
        (620, "off"),
        (700, "end-test"),
    ):
        alarms.do(*step)
    (test,) = walk_tests(alarms)
    assert (test.answered, len(test.points)) == (1, 1)


def test_an_alarm_answers_no_test() -> None:
    alarms = Alarms()
    for step in ((0, "test", "water"), (10, "end-test", "water"), (20, "on", "water")):
        alarms.do(*step)
    (test,) = walk_tests(alarms)
    assert test.answered == 0


def test_other_months_are_left_out() -> None:
    alarms = Alarms()
    alarms.do(0, "test")
    assert walk_tests(alarms, "2026-11") == []
    assert len(walk_tests(alarms, "2026")) == 1


def test_a_drill_without_a_report_is_a_drill_too() -> None:
    alarms = Alarms()
    alarms.do(0, "drill", "gateway")
    alarms.do(90, "reset", "gateway")
    log = DrillLog("2026", LOCAL)
    for record in alarms.records:
        log.add_record(record)
    (drill,) = log.drills()
    assert (drill.by, drill.ended_by, drill.report) == ("王芳", "王芳", None)
    assert drill.ended
    assert (drill.ended - drill.began).total_seconds() == 90
