"""The holidays of the installed calendar, against what the State Council announced."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.base.public_holidays import china_holidays
from gateway.scheduling import DayKind


# 国务院办公厅关于 2026 年部分节假日安排的通知: National Day is from 1 to 7 October, and 20 September and
# 10 October are worked; Spring Festival is from 15 to 23 February, and 14 and 28 February are worked.
@pytest.mark.parametrize(
    ("day", "kind"),
    [
        (date(2026, 10, 1), DayKind.HOLIDAY),
        (date(2026, 10, 7), DayKind.HOLIDAY),
        (date(2026, 10, 8), DayKind.ORDINARY),
        (date(2026, 9, 20), DayKind.MAKEUP),
        (date(2026, 10, 10), DayKind.MAKEUP),
        (date(2026, 2, 14), DayKind.MAKEUP),
        (date(2026, 2, 15), DayKind.HOLIDAY),
        (date(2026, 2, 23), DayKind.HOLIDAY),
        (date(2018, 12, 29), DayKind.MAKEUP),
    ],
)
def test_announced_days(day: date, kind: DayKind) -> None:
    assert china_holidays().kind_of(day) is kind


def test_it_says_which_years_it_knows() -> None:
    calendar = china_holidays()
    last = max(calendar.years)
    assert calendar.knows(date(2018, 12, 29))
    assert calendar.knows(date(last, 12, 1))
    assert not calendar.knows(date(last, 12, 31)), "the next announcement may move it"
    assert not calendar.knows(date(last + 1, 1, 1))
    assert not calendar.knows(date(min(calendar.years) - 1, 6, 1))
