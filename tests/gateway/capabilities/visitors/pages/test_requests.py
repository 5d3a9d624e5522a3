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


def test_an_end_at_midnight_is_the_end_of_the_day() -> None:
    args = book(since="22:00", until="00:00").arguments(CONTEXT)
    assert args["until"] - args["from"] == 2 * 3_600_000


@pytest.mark.parametrize(("since", "until"), [("22:00", "01:00"), ("10:00", "10:00"), ("10:00", "09:59")])
def test_an_end_before_the_beginning_is_refused(since: str, until: str) -> None:
    target = book(since=since, until=until).target(CONTEXT)
    assert (target.devices, target.refusal) == ((), "visits.end-first")


def test_who_wants_to_wait_and_for_whom_it_is() -> None:
    args = book(room="hall", person="舞蹈队", when_taken="wait").arguments(CONTEXT)
    assert (args["person"], args["wait"]) == ("舞蹈队", True)


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
