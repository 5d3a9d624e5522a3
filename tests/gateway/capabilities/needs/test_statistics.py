from __future__ import annotations

import csv
import io
from typing import Any
from zoneinfo import ZoneInfo

from gateway.capabilities.needs.services import Category, Need, NeedState, Reception
from gateway.capabilities.needs.statistics import (
    figures_by_group,
    month_registered,
    needs_figures,
    needs_table,
    newest_first,
)
from gateway.web.spreadsheet import as_csv
from tests.gateway.services.kit import at

DAY = 86_400.0
ZONE = ZoneInfo("Asia/Shanghai")


def need(state: NeedState, created: float = 0, ended: float | None = None, **more: Any) -> Need:
    given = {"category": "repair", "channel": "desk", "due": at(created + 3 * DAY).wall_ms, **more}
    over = None if ended is None else at(ended)
    return Need(state=state, created=at(created), ended=over, **given)


NEEDS = (
    need(NeedState.REGISTERED),
    need(NeedState.REFERRED, referred=True, overdue=True),
    need(NeedState.CLOSED, 0, 1 * DAY, satisfaction=5, referred=True),
    need(NeedState.CLOSED, 0, 2 * DAY, satisfaction=2),
    need(NeedState.DONE, 0, 9 * DAY, overdue=True, category="advice"),
    need(NeedState.WITHDRAWN, 0, 500 * DAY),
)


def test_the_figures_of_some_needs() -> None:
    found = needs_figures(NEEDS)
    assert (found.registered, found.open, found.overdue, found.late, found.referred) == (6, 2, 1, 1, 2)
    assert found.days == 2.0, "the median; what was withdrawn says nothing of it"
    assert found.satisfaction == 3.5
    assert round(found.referred_share or 0, 1) == 33.3


def test_of_none_there_is_nothing_to_say() -> None:
    found = needs_figures([])
    assert (found.registered, found.days, found.satisfaction, found.referred_share) == (0, None, None, None)


def test_groups_add_up_and_months_are_local() -> None:
    groups = figures_by_group(NEEDS, lambda each: each.category)
    assert {name: each.registered for name, each in groups.items()} == {"advice": 1, "repair": 5}
    # 2027-01-15 08:00 UTC is the second 0; the month ends 16 h before midnight UTC at the site.
    assert month_registered(need(NeedState.REGISTERED, 16.3 * DAY), ZONE) == "2027-01"
    assert month_registered(need(NeedState.REGISTERED, 16.4 * DAY), ZONE) == "2027-02"


def test_the_list_is_a_table_that_no_spreadsheet_takes_for_formulas() -> None:
    reception = Reception(categories={"repair": Category(title={"en": "=HYPERLINK(1)"}, days=1)})
    rows = {
        "10000001": need(NeedState.REGISTERED, 5),
        "10000002": need(NeedState.CLOSED, 6, DAY, outcome="met"),
    }
    text = "".join(as_csv(needs_table(newest_first(rows), reception, "en", ZONE)))
    heads, newest, oldest = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    assert len(heads) == len(newest) == len(oldest) == 13
    assert (newest[0], newest[1], newest[9], newest[11]) == ("10000002", "'=HYPERLINK(1)", "1.0", "Met")
    assert oldest[3] == "Registered"
