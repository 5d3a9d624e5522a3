"""The wall shows where a danger is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.capabilities.floors.site import Floor
from gateway.capabilities.safety.services.alarms import AlarmState
from tests.gateway.browser import Page, browsing
from tests.gateway.dashboard_fixtures import KEY, House, Served

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 400"><path d="M9 9h782v382H9z"/></svg>'
FLOORS = (
    Floor(name="cellar", title={"zh": "地下室"}, picture="0123456789abcdef.svg", width=800, height=400),
    Floor(
        name="ground",
        title={"zh": "一层"},
        picture="0123456789abcdef.svg",
        width=800,
        height=400,
        places={"smoke": (0.25, 0.5), "gas": (0.7, 0.5)},
    ),
)


@pytest.mark.parametrize("size", [(1920, 1080), (3440, 1440), (1080, 1920)])
def test_a_danger_pulses_in_its_place(house: House, tmp_path: Path, size: tuple[int, int]) -> None:
    folder = house.settings.journal.with_name("floors")
    folder.mkdir()
    (folder / "0123456789abcdef.svg").write_text(SVG)
    parts = {**house.settings.parts, "floors": FLOORS}
    served = Served(msgspec.structs.replace(house.settings, parts=parts))
    try:
        with browsing(tmp_path / "chromium", size) as driver:
            page = Page(driver, served.url)
            driver.get(f"{served.url}/?key={KEY}")
            driver.get(f"{served.url}/?kiosk")
            assert not page.has("#wall-plan svg")
            house.alarm(AlarmState.ACTIVE)
            page.until(lambda: page.has("#wall-plan .marker.danger[data-key=smoke] .halo"))
            assert not page.has("#wall-plan .marker.danger[data-key=gas]")
            page.shows("一层", "#wall-plan")
            boxes = driver.execute_script(
                "return ['.takeover', '#wall-plan .floor', 'footer'].map((each) => {"
                "const { top, left, bottom, right } = document.querySelector(each).getBoundingClientRect();"
                "return [top, left, bottom, right, innerHeight, innerWidth]; })"
            )
            for top, left, bottom, right, height, width in boxes:
                assert 0 <= top < bottom <= height
                assert 0 <= left < right <= width
            (_, _, bottom, right, *_), (top, left, floor_bottom, *_), footer = boxes
            assert left >= right or top >= bottom  # Side by side, or one above the other.
            assert floor_bottom <= footer[0]
    finally:
        served.end()
