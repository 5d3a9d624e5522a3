"""Filters of the history: what is wrong is named, and nothing else is changed."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from gateway.capabilities.safety.history.query import HistoryQuery, parse_query
from gateway.words import LANGUAGES, translate

TODAY = date(2026, 11, 30)


def parse(**fields: str) -> HistoryQuery:
    return parse_query(fields, TODAY, ("fire", "gas"), ("smoke", "gateway"))


def test_without_filters_it_is_the_last_thirty_days() -> None:
    query = parse()
    assert (query.since, query.until, query.problems) == (date(2026, 11, 1), TODAY, ())
    assert query.admits_person()


def test_an_earlier_end_moves_the_beginning() -> None:
    query = parse(until="2026-03-30")
    assert (query.since, query.problems) == (date(2026, 3, 1), ())


def test_a_day_is_as_long_as_the_clock_says() -> None:
    zone = ZoneInfo("Europe/Berlin")
    since, until = parse(since="2026-10-25", until="2026-10-25").bounds_ms(zone)
    assert until - since == 25 * 3_600_000


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"since": "2026-13-01"}, "wrong-day"),
        ({"since": "2026-02-30"}, "wrong-day"),
        ({"until": "2026-1-1"}, "wrong-day"),
        ({"until": "20261130"}, "wrong-day"),
        ({"until": "2026-W48-1"}, "wrong-day"),
        ({"since": "0001-01-01"}, "wrong-day"),
        ({"until": "9999-12-31"}, "wrong-day"),
        ({"since": "２０２６-11-01"}, "wrong-day"),
        ({"since": "x" * 10_000_000}, "wrong-day"),
        ({"since": "2026-11-20", "until": "2026-11-10"}, "wrong-order"),
        ({"what": "<script>"}, "wrong-what"),
        ({"device": "no-such"}, "wrong-device"),
        ({"device": "y" * 10_000_000}, "wrong-device"),
        ({"who": "王" * 41}, "wrong-who"),
        ({"who": "z" * 10_000_000}, "wrong-who"),
        ({"before": "1"}, "wrong-before"),
        ({"before": "-1-2"}, "wrong-before"),
        ({"before": "1-2-3"}, "wrong-before"),
        ({"before": "9" * 30 + "-1"}, "wrong-before"),
        ({"before": "1-2\n"}, "wrong-before"),
    ],
)
def test_what_is_wrong_is_told_in_a_short_sentence(fields: dict[str, str], problem: str, lang: str) -> None:
    query = parse(**fields)
    (told,) = query.problems
    assert told["sentence"] == f"history.{problem}"
    text = translate(lang, told["sentence"], **told["facts"])
    assert "?" not in text
    assert len(text) < 150
    assert len(query.link()) < 200


def test_a_person_is_found_by_part_of_a_name_in_any_case() -> None:
    assert parse(who="  zHang ").admits_person("", "Zhang Wei")
    assert not parse(who="li").admits_person("", "Zhang Wei")


def test_the_address_of_a_query_says_it_again() -> None:
    fields = {
        "since": "2026-11-02",
        "until": "2026-11-03",
        "what": "fire",
        "device": "smoke",
        "who": "a&b=c",
    }
    query = parse(**fields, before="12-3")
    assert query.before == (12, 3)
    assert query.link() == "since=2026-11-02&until=2026-11-03&what=fire&device=smoke&who=a%26b%3Dc"
    assert query.link(before="9-0").endswith("&before=9-0")
