"""Requests that concern visitors."""

from pathlib import Path

import pytest

from gateway.capabilities.visitors.pages.requests import Book
from gateway.capabilities.visitors.pages.view import VisitorsView
from gateway.capabilities.visitors.pages.visits import Visits
from gateway.web.commands import RequestContext
from gateway.web.settings import Settings
from tests.gateway.views import view

SETTINGS = Settings(journal=Path(), control=Path(), access=Path(), title={}, timezone="Asia/Shanghai")
CONTEXT = RequestContext(
    SETTINGS, view(), VisitorsView(None, None, None, 0, 0, Visits(rooms={"hall": {}})), "en"
)


def book(day: str = "2026-11-21", since: str = "10:00", until: str = "11:30", **fields: str) -> Book:
    return Book(title="合唱", kind=fields.pop("kind", "tour"), day=day, since=since, until=until, **fields)


def test_times_are_those_of_the_site() -> None:
    args = book().arguments(CONTEXT)
    assert args == {
        "title": "合唱", "class": "tour", "room": "", "from": 1795226400000, "until": 1795231800000,
        "expected": 0,
    }  # fmt: skip


def test_an_end_before_the_beginning_is_on_the_next_day() -> None:
    args = book(since="22:00", until="01:00").arguments(CONTEXT)
    assert args["until"] - args["from"] == 3 * 3_600_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"day": "tomorrow"}, {"day": "9999-12-31", "since": "10:00", "until": "09:00"}, {"since": "25:00"},
        {"until": ""}, {"kind": "party"}, {"room": "attic"},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_asked_for(wrong: dict[str, str]) -> None:
    assert not book(**wrong).target(CONTEXT).devices
    assert book(room="hall", since="10:00+08:00").target(CONTEXT).devices
