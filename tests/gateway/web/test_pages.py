"""Rows that are kept are never older than the view."""

from __future__ import annotations

import msgspec

from gateway.capabilities.safety.pages.view import SafetyAnnotation
from gateway.dashboard.assembly import build_view
from gateway.dashboard.device_list import DeviceSelection
from gateway.dashboard.parts import page_parts, template_folders
from gateway.model import Hazard, Stamp
from gateway.web.pages import Pages
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
