"""Rows that are kept are never older than the view."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Iterator

import msgspec
import pytest

from gateway.capabilities.safety.pages.view import SafetyAnnotation
from gateway.dashboard.assembly import build_view
from gateway.dashboard.device_list import DeviceSelection
from gateway.dashboard.parts import page_parts, template_folders
from gateway.model import Hazard, Stamp
from gateway.web.pages import Pages, first_columns
from gateway.web.snapshot import Snapshot
from gateway.web.view import DeviceCondition, DeviceRow, PointRow, Severity, View
from tests.gateway.dashboard_fixtures import House


def seen(house: House, now: Stamp, day: str, *rows: DeviceRow) -> View:
    view = build_view(page_parts(), house.settings, Snapshot(), now)
    return msgspec.structs.replace(view, day=day, devices=rows)


def meter(name: str, **fields: object) -> DeviceRow:
    title, annotations = {"zh": f"电表 {name}", "en": name}, {"safety": SafetyAnnotation()}
    row = DeviceRow(name, title, "energy-meter", False, DeviceCondition.GOOD, at=0, annotations=annotations)
    return msgspec.structs.replace(row, **fields)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """A collection of all that the tests have loaded would be the longest step."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def longest_step_s(pages: Pages, view: View, selection: DeviceSelection) -> float:
    """Of processor time, to prepare the list of devices."""
    preparing, longest_s, is_prepared = pages.prepare("devices", view, "zh", selection), 0.0, False
    while not is_prepared:
        started = time.thread_time()
        try:
            preparing.send(None)
        except StopIteration:
            is_prepared = True
        longest_s = max(longest_s, time.thread_time() - started)
    return longest_s


def longest_of_a_thousand_s(house: House, views: tuple[View, ...]) -> float:
    """To show these one after the other: all devices, and those searched for. Templates are compiled
    before, with a single device."""
    pages, longest_s = Pages(house.settings, page_parts(), template_folders()), 0.0
    longest_step_s(pages, seen(house, house.now(), "1970-01-01", meter("a")), DeviceSelection())
    everything = DeviceSelection(rows=1000, sort="name")
    for view in views:
        for selection in (everything, DeviceSelection(rows=1000, text="d99")):
            prepared_s = longest_step_s(pages, view, selection)
            started = time.thread_time()
            text = pages.render_regions("devices", view, "zh", selection)["devices"]
            longest_s = max(longest_s, prepared_s, time.thread_time() - started)
            names = re.findall(r'<li class="line[^>]* data-key="(d\d+)"', text)
            listed = [
                row.name
                for group in selection.list_devices(view.devices, "zh").groups
                for row in group.rows
            ]
            assert names == listed
            assert len(names) == (1000 if selection is everything else 11)
    return longest_s


def test_a_thousand_devices_hold_nothing_up(house: House, no_collection: None) -> None:
    """The first time, and when all of them have changed: no step takes long, and what comes of it is the
    whole list, in its order, whatever is searched for. Other processes on the same core lengthen a step,
    but never shorten it."""
    first, changed = (
        seen(house, house.now(), "1970-01-01", *(meter(f"d{n}", at=at) for n in range(1000)))
        for at in (0, 5000)
    )
    assert any(longest_of_a_thousand_s(house, (first, changed)) < 0.05 for _ in range(6))


def test_a_page_that_was_rendered_before_is_as_one_that_is_rendered_now(house: House) -> None:
    now = house.now()
    alarm = {"safety": SafetyAnnotation(severity=Severity.DANGER, hazards=(Hazard.FIRE,))}
    views = (
        seen(house, now, "1970-01-01", meter("a"), meter("b")),
        seen(house, now, "1970-01-01", meter("a", values=(PointRow("energy", 7.5),)), meter("b")),
        seen(house, now, "1970-01-01", meter("a", annotations=alarm), meter("b")),
        seen(house, now, "1970-01-01", meter("b", condition=DeviceCondition.OFFLINE), meter("a")),
        seen(house, now, "1970-01-02", meter("a"), meter("b")),
        seen(house, now, "1970-01-02", *(meter(f"d{n}") for n in range(40))),
        seen(house, now, "1970-01-02", meter("a", title={"zh": "新名"})),
        seen(house, now, "1970-01-01", meter("a"), meter("b")),
    )
    pages = Pages(house.settings, page_parts(), template_folders())
    found = set()
    for view in views:
        for lang in ("zh", "en"):
            for name, region, choice in (
                ("devices", "devices", DeviceSelection()),
                ("overview", "attention", None),
            ):
                fresh = Pages(house.settings, page_parts(), template_folders())
                text = pages.render_regions(name, view, lang, choice)[region]
                assert text == fresh.render_regions(name, view, lang, choice)[region]
                found.add(text)
    assert len(found) > len(views) * 2


def test_a_name_is_cut_by_its_width() -> None:
    assert first_columns("一层活动室烟感", 14) == "一层活动室烟感"
    assert first_columns("一层活动室烟感", 13) == "一层活动室烟…"
    assert first_columns("Hall smoke", 4) == "Hall…"
