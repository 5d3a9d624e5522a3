"""The page of alarm quality."""

from __future__ import annotations

import pytest

from gateway.capabilities.safety.history.quality import annunciated_alarms
from gateway.model import Fact, Lane
from tests.gateway.browser import Page
from tests.gateway.capabilities.safety.services.alarms.test_episodes import START, Alarms
from tests.gateway.dashboard_fixtures import House, Served


def test_each_sound_counts_but_only_one_needs_an_answer() -> None:
    alarms = Alarms()
    steps = ((0, "on"), (9, "off"), (20, "on"), (50, "off"), (60, "acknowledge"), (70, "reset"))
    for step in steps:
        alarms.do(*step)
    (episode,) = alarms.episodes()
    first, again = annunciated_alarms(episode)
    assert (first.raised, first.acknowledged_s, first.cleared) == (START, 60, START + 50_000)
    assert (again.raised, again.is_repeat) == (START + 20_000, True)


def test_drills_and_what_is_shelved_do_not_count() -> None:
    drill, alarms = Alarms(), Alarms()
    drill.do(0, "drill", "gateway")
    for step in ((1, "on"), (2, "acknowledge"), (3, "shelve"), (4, "off"), (9, "on")):
        alarms.do(*step)
    episodes = [*drill.episodes(), *alarms.episodes()]
    assert len(episodes) == 3
    counted = [alarm for episode in episodes for alarm in annunciated_alarms(episode)]
    assert [(alarm.device, alarm.raised) for alarm in counted] == [("smoke", START + 1000)]


def raised(house: House, ago: float, number: int, device: str = "smoke") -> Fact:
    at = house.now(ago)
    body = {
        "id": f"{device}/smoke/{number}", "change": "raised", "state": "", "point": "smoke",
        "hazard": "fire", "latch": True, "value": True, "raised": at.wall_ms, "by": "", "mode": "",
        "why": "",
    }  # fmt: skip
    return Fact(Lane.ALARM, device, "alarm", at, body)


def test_the_page_says_what_is_wrong_and_what_to_do(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/alarm-quality")
    page.shows("共 0 条报警", "#alarm-quality")
    assert page.text("[data-measure=peak]").startswith("十分钟内最多 达标 没有报警")
    page.click("[data-measure=stale] summary")
    page.shows("当天修好", "[data-measure=stale]")
    house.happened(*(raised(house, 3 - n / 10, n) for n in range(20)))
    page.driver.refresh()
    page.shows("共 20 条报警", "#alarm-quality")
    assert "超标 20 条" in page.text("[data-measure=peak]")
    assert "怎么办：" in page.text("[data-measure=chattering]")
    assert "火警 一层活动室烟感：一分钟内 20 次" in page.text("[data-measure=chattering]")
    assert "火警 一层活动室烟感：20 次，100.0%" in page.text("[data-measure=top]")
    assert "20 条无人确认" in page.text("[data-measure=answer]")
    page.driver.get(f"{page.url}/alarm-quality?lang=en")
    page.shows("Too few to judge", "[data-measure=top]")
    page.driver.get(f"{page.url}/alarm-quality?lang=zh")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("month=2026-13", "没有“2026-13”这个月"),
        ("month=2199-01", "还没有到"),
        ("operators=0", "值班人数应为 1 到 20"),
        ("operators=1e9", "值班人数应为 1 到 20"),
        ("operators=-1", "值班人数应为 1 到 20"),
        ("operators=" + "9" * 5000, "值班人数应为 1 到 20"),
    ],
)
def test_a_wrong_question_is_refused_in_a_sentence(served: Served, query: str, sentence: str) -> None:
    status, _, text = served.ask("GET", f"/alarm-quality?{query}", cookie=served.cookie())
    assert (status, sentence in text) == (422, True)


def test_an_earlier_month_than_the_journal_is_told_from_a_good_one(house: House, served: Served) -> None:
    _, _, text = served.ask("GET", "/alarm-quality?month=2020-01", cookie=served.cookie())
    assert "记录自 " in text
    assert "达标" not in text
