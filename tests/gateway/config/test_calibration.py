"""Calibrations: what may be corrected, how far, and what becomes of a value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Mistakes, load_site
from gateway.config.site import replacements_between
from gateway.config.site_settings import calibration_section, replacement_section
from gateway.model import AlarmSpec, Calibration, Hazard, Point, Replacement, Role
from gateway.wire.codec import convert_values
from tests.gateway.config.test_site import SMALL

FRIDGE = (
    SMALL
    + """
[device.fridge]
profile = "fridge/generic-xy-md02"
bus = "hall"
unit = 2
serial = "A-1"
"""
)
PLAIN = Point(unit="°C", min=-40, max=60, scale=0.1)


def mistake_keys(file: Path, text: str) -> list[str]:
    file.write_text(text, "utf-8")
    with pytest.raises(Mistakes) as refused:
        load_site(file)
    return [mistake.key for mistake in refused.value.mistakes]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("calibrate.temperature.offset = 2.6", "calibration-far"),
        ("calibrate.temperature.offset = -2.6", "calibration-far"),
        ("calibrate.temperature.scale = 1.05", "calibration-far"),
        ("calibrate.temperature.scale = -1", "calibration-far"),
        ("calibrate.temperature.scale = 0", "calibration-far"),
        ("calibrate.temperature.offset = nan", "value-not-finite"),
        ("calibrate.temperature.offset = inf", "value-not-finite"),
        ("calibrate.temperature = { scale = 1.04, offset = 1.0 }", "calibration-far"),
        ("calibrate.nothing.offset = 1", "point-unknown"),
        ("calibrate.humidity.offset = 1", "calibration-none"),
        ("calibrate.temperature.gain = 1", "key-unknown-within"),
        ("calibrate.temperature = 1", "value-table"),
        ("calibrate = 1", "value-table"),
        ('calibrate.temperature.offset = "1"', "value-number"),
    ],
)
def test_a_calibration_that_goes_too_far_is_refused(tmp_path: Path, text: str, key: str) -> None:
    assert mistake_keys(tmp_path / "site.toml", FRIDGE + text) == [key]


def test_what_is_true_or_false_is_never_calibrated(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    assert mistake_keys(file, SMALL + "calibrate.smoke.offset = 0.1") == ["calibration-none"]
    for point in (
        Point(bit=3, min=0, max=1),
        Point(equals=1, min=0, max=1),
        Point(true_above=5, min=0, max=10, alarm=AlarmSpec(hazard=Hazard.FIRE)),
        Point(words={"open": 1}, min=0, max=1),
        Point(min=0),
        Point(min=0, max=9, calibration=0),
    ):
        assert not point.calibration_limit


def test_a_fridge_shows_corrected_values(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(FRIDGE + "calibrate.temperature = { offset = -0.6, scale = 1.01 }", "utf-8")
    device = load_site(file).devices["fridge"]
    assert device.calibrations == {"temperature": Calibration(1.01, -0.6)}
    values, bad = convert_values(device.points, {"temperature": 50, "humidity": 500})
    assert (values, bad) == ({"temperature": pytest.approx(5.05 - 0.6), "humidity": 50.0}, {})
    assert device.calibrations["temperature"].measured(5.05 - 0.6) == pytest.approx(5.0)
    file.write_text(FRIDGE, "utf-8")
    assert load_site(file).devices["fridge"].points["temperature"].scale == 0.1


@given(st.floats(0.98, 1.02), st.floats(-2, 2), st.floats(-40, 60))
def test_values_within_the_range_stay_usable_and_change_no_further_than_the_limit(
    scale: float, offset: float, measured: float
) -> None:
    """A gas detector at the end of its scale must not be left out because it was corrected."""
    calibration = Calibration(scale, offset)
    if not PLAIN.admits(calibration):
        return
    values, bad = convert_values({"x": PLAIN.calibrated(calibration)}, {"x": measured * 10})
    before, _ = convert_values({"x": PLAIN}, {"x": measured * 10})
    if "x" in before:
        assert bad == {}
        assert abs(float(values["x"]) - float(before["x"])) <= PLAIN.calibration_limit + 1e-3


@pytest.mark.parametrize(
    ("point", "sent", "calibration", "value"),
    [
        (Point(unit="°C", min=-40, max=80), 4.2, Calibration(offset=-0.6), 3.6),
        (Point(unit="°C", min=-40, max=80), 8.3, Calibration(offset=0.05), 8.35),
        (Point(unit="°C", min=-40, max=80), 8.3, Calibration(scale=1.01), 8.383),
        (PLAIN, 83, Calibration(offset=0.05), 8.35),
        (Point(unit="°C", min=-40, max=80, decimals=1), 4.21, Calibration(offset=-0.6), 3.6),
        (Point(unit="V", min=0, max=36, scale=0.0001), 30120, Calibration(offset=0.5), 3.512),
        (PLAIN, -400.0, Calibration(offset=0.9375), -39.062),
        (PLAIN, 600, Calibration(offset=0.0625), 60.062),
    ],
)
def test_a_corrected_value_keeps_its_decimals(
    point: Point, sent: float, calibration: Calibration, value: float
) -> None:
    values, bad = convert_values({"x": point.calibrated(calibration)}, {"x": sent})
    assert bad == {}
    assert values["x"] == pytest.approx(value, abs=1e-9)


def test_a_profile_may_set_the_limit() -> None:
    assert PLAIN.calibration_limit == 2.5
    narrow = Point(min=0, max=100, calibration=0.5)
    assert narrow.admits(Calibration(offset=0.5))
    assert not narrow.admits(Calibration(offset=0.6))


def test_what_lives_depend_on_is_calibrated_by_installers(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(FRIDGE, "utf-8")
    site = load_site(file)
    smoke, group = calibration_section(site).groups
    assert (smoke.path, smoke.role) == (("device", "smoke"), Role.INSTALLER)
    assert (group.path, group.role) == (("device", "fridge"), Role.MANAGER)
    assert [(each.key[1:], each.least, each.most) for each in group.settings] == [
        (("temperature", "offset"), -2.5, 2.5),
        (("temperature", "scale"), pytest.approx(1 - 2.5 / 60), pytest.approx(1 + 2.5 / 60)),
    ]
    section = replacement_section(site)
    assert section.role is Role.INSTALLER
    keys = {group.path[1]: [each.key for each in group.settings] for group in section.groups}
    assert keys == {"smoke": [("serial",), ("unit",)], "fridge": [("serial",), ("unit",)]}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("unit = 2", "unit = 3", Replacement("fridge", "unit = 2", "unit = 3", "A-1", "A-1")),
        ("A-1", "B-2", Replacement("fridge", "unit = 2", "unit = 2", "A-1", "B-2")),
        ('serial = "A-1"', "", Replacement("fridge", "unit = 2", "unit = 2", "A-1", "")),
        ("[device.fridge]", '[device.fridge]\ntitle = "冰箱"', None),
        ("fridge/generic-xy-md02", "smoke/generic-rs485", None),
        ("device.fridge", "device.other", None),
    ],
)
def test_another_device_in_the_place_of_one_is_recognised(
    tmp_path: Path, before: str, after: str, found: Replacement | None
) -> None:
    file = tmp_path / "site.toml"
    sites = []
    for text in (FRIDGE, FRIDGE.replace(before, after)):
        file.write_text(text, "utf-8")
        sites.append(load_site(file))
    assert replacements_between(*sites) == ((found,) if found else ())
    file.write_text(FRIDGE.replace('serial = "A-1"', ""), "utf-8")
    # That it is written down is no other device.
    assert replacements_between(load_site(file), sites[0]) == ()
