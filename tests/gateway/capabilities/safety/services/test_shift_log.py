"""Shifts: who took over when, what they wrote, and that none of it changes afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.capabilities.safety.services.shift_log import MAX_REMARKS, MAX_SHIFTS, DutyShift, ShiftLog
from tests.gateway.services.kit import Fold, command


class Duty:
    """The service, as people use it."""

    def __init__(self) -> None:
        self.fold = Fold(ShiftLog())
        self.facts: list[Any] = []

    def do(self, second: float, step: str, by: str, **args: Any) -> list[str]:
        """The kinds of the facts."""
        facts = self.fold.step(
            command(f"shift-{step}", "gateway", second, by=by, origin="console", args=args)
        )
        self.facts += facts
        return [fact.kind for fact in facts]

    def shifts(self) -> list[DutyShift]:
        return sorted(self.fold.rows.values(), key=lambda shift: shift.began.wall_ms)


def test_a_shift_is_taken_over_remarked_on_and_handed_over() -> None:
    duty = Duty()
    assert duty.do(0, "begin", "王芳") == ["shift-begun"]
    assert duty.do(60, "remark", "王芳", text=" 三楼水管\n 报修 ") == ["shift-remark"]
    assert duty.do(90, "remark", "李主任", text="已联系物业") == ["shift-remark"]
    assert duty.do(
        3600, "end", "王芳", text="钥匙已交", alarms=2, faults=0, tests=-1, drills=True, standing=1
    ) == ["shift-ended"]
    assert duty.do(3660, "begin", "李雷") == ["shift-begun"]
    first, second = duty.shifts()
    assert (first.by, first.signed, first.ended_by, first.counts) == (
        "王芳", True, "王芳", {"alarms": 2, "faults": 0, "standing": 1},
    )  # fmt: skip
    assert [(each.by, each.text) for each in first.remarks] == [
        ("王芳", "三楼水管 报修"), ("李主任", "已联系物业"), ("王芳", "钥匙已交"),
    ]  # fmt: skip
    assert (second.by, second.taken_from, second.ended) == ("李雷", "王芳", None)
    ended = duty.facts[3].body
    assert (ended["on_duty"], ended["by"], ended["seconds"], ended["signed"]) == (
        "王芳",
        "王芳",
        3600,
        True,
    )
    assert ended["alarms"] == 2


def test_whoever_takes_over_without_a_handover_is_on_record_and_so_is_that() -> None:
    duty = Duty()
    duty.do(0, "begin", "王芳")
    assert duty.do(100, "begin", "李雷") == ["shift-ended", "shift-begun"]
    first, second = duty.shifts()
    assert (first.signed, first.ended_by, first.counts) == (False, "李雷", {})
    assert second.taken_from == "王芳"
    assert duty.facts[1].body["signed"] is False


def test_only_who_is_on_duty_signs_the_handover() -> None:
    duty = Duty()
    duty.do(0, "begin", "王芳")
    assert duty.do(1, "end", "李雷") == []
    assert duty.do(2, "begin", "王芳") == []
    assert duty.do(3, "end", "王芳") == ["shift-ended"]
    assert duty.do(4, "end", "王芳") == []
    assert duty.do(5, "remark", "王芳", text="太晚了") == []


def test_an_ended_shift_is_amended_and_never_changed() -> None:
    duty = Duty()
    duty.do(0, "begin", "王芳")
    (key,) = duty.fold.rows
    assert duty.do(1, "amend", "王芳", shift=key, text="还没有结束") == []
    duty.do(2, "remark", "王芳", text="原文")
    duty.do(3, "end", "王芳")
    before = duty.shifts()[0]
    assert duty.do(4, "amend", "李主任", shift=key, text="应为四楼") == ["shift-amended"]
    (after,) = duty.shifts()
    assert [(each.by, each.text) for each in after.amendments] == [("李主任", "应为四楼")]
    assert (after.remarks, after.ended, after.by) == (before.remarks, before.ended, before.by)


@pytest.mark.parametrize("by", ["", "console"])
def test_nobody_signs_without_a_name(by: str) -> None:
    duty = Duty()
    assert duty.do(0, "begin", by) == []
    assert duty.fold.rows == {}


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 201, 7, None, True])
def test_what_is_no_text_or_too_long_is_not_written(text: object) -> None:
    duty = Duty()
    duty.do(0, "begin", "王芳")
    assert duty.do(1, "remark", "王芳", text=text) == []


def test_an_unknown_shift_is_not_amended() -> None:
    duty = Duty()
    assert duty.do(0, "amend", "王芳", shift="shift/0", text="x") == []
    assert duty.do(0, "amend", "王芳", text="x") == []


def test_what_is_kept_is_bounded() -> None:
    duty = Duty()
    for n in range(MAX_SHIFTS + 20):
        duty.do(n, "begin", f"person {n % 2}")
    assert len(duty.fold.rows) == MAX_SHIFTS
    assert duty.shifts()[-1].by == "person 1"
    for n in range(MAX_REMARKS + 5):
        duty.do(9000 + n, "remark", "x", text=str(n))
    assert len(duty.shifts()[-1].remarks) == MAX_REMARKS


def test_a_restart_forgets_nothing() -> None:
    duty = Duty()
    duty.do(0, "begin", "王芳")
    duty.fold.restart()
    assert duty.do(60, "end", "王芳") == ["shift-ended"]
