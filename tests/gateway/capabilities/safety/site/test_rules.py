"""Rules, opening hours and outputs of a site's file."""

from pathlib import Path

import pytest

from gateway.capabilities.safety.site import SafetySite
from gateway.config import Mistake, Mistakes, Site, inspect_site, load_site
from gateway.model import Hazard
from gateway.words import LANGUAGES, words

SITE = """\
schema = "linli/site/1"

[site]
id = "demo"
title = "Demo"

[hours]
mon-fri = "08:00-21:30"
closed = ["2027-01-01"]

[bus.hall]
driver = "modbus"
url = "tcp://127.0.0.1:502"

[device.smoke]
profile = "smoke/generic-rs485"
bus = "hall"
unit = 1

[device.io]
profile = "io-module/generic-di2-do1"
bus = "hall"
unit = 2

[rule.kitchen]
hazard = "fire"
when = [{ point = "smoke.temperature", rises = 8.0, within = 60 }, { point = "io.call_point", is = true }]
need = 1
during = "closed"

[rule.crowded]
title = { zh = "人太多", en = "Too many people" }
hazard = "crowd"
when = [{ point = "visitors.inside", above = 200, hysteresis = 10 }]
delay = 30

[output.siren]
device = "io"
on = "siren-on"
off = "siren-off"
hazards = ["fire"]
sound = true
"""


def load(path: Path, text: str) -> Site:
    file = path / "site.toml"
    file.write_text(text, "utf-8")
    return load_site(file)


def test_a_site_says_its_own_rules(tmp_path: Path) -> None:
    site = load(tmp_path, SITE)
    kitchen, crowded = site.part(SafetySite).rules["kitchen"], site.part(SafetySite).rules["crowded"]
    assert (kitchen.id, kitchen.device, kitchen.point, kitchen.required_count) == (
        "rule/kitchen",
        "smoke",
        "kitchen",
        1,
    )
    assert kitchen.latching
    assert kitchen.applies_at is not None
    assert not crowded.latching
    assert crowded.title["zh"] == "人太多"
    assert site.part(SafetySite).outputs["siren"].hazards == (Hazard.FIRE,)


CALL_POINT = '{ point = "io.call_point", is = true }'


@pytest.mark.parametrize(
    ("before", "after", "line", "key"),
    [
        ('mon-fri = "08:00-21:30"', 'mon-fri = "8-21"', 8, "hours-form"),
        ('mon-fri = "08:00-21:30"', "mon-fri = 8", 8, "hours-form"),
        ('closed = ["2027-01-01"]', 'closed = ["next year"]', 9, "hours-form"),
        (CALL_POINT, '{ point = "nobody.x", is = true }', 27, "rule-device"),
        (CALL_POINT, '{ point = "io.nothing", is = true }', 27, "rule-point"),
        (CALL_POINT, '{ point = "io.call_point" }', 27, "rule-tests"),
        (CALL_POINT, '{ point = "io.call_point", is = true, above = 3 }', 27, "rule-tests"),
        (CALL_POINT, '{ point = "io.call_point", above = 1 }', 27, "rule-boolean"),
        (CALL_POINT, '{ point = "io.call_point", is = "on" }', 27, "rule-kind"),
        (CALL_POINT, '{ point = "smoke.temperature", above = 1e9 }', 27, "rule-never"),
        (CALL_POINT, '{ point = "smoke.temperature", missing = 0 }', 27, "rule-positive"),
        (CALL_POINT, '{ point = "io.call_point", stuck = 0 }', 27, "rule-positive"),
        ("rises = 8.0", "rises = 0", 27, "rule-positive"),
        ("rises = 8.0", "falls = 0.0", 27, "rule-positive"),
        ("within = 60", "within = 0", 27, "rule-positive"),
        ("within = 60", "within = -60", 27, "rule-positive"),
        (CALL_POINT, '{ point = "smoke.temperature", abov = 3 }', 27, "key-unknown-within"),
        ("need = 1", "need = 3", 28, "rule-need"),
        ("need = 1", "need = -1", 28, "rule-need"),
        ('during = "closed"', 'during = "at night"', 29, "rule-during"),
        ('[hours]\nmon-fri = "08:00-21:30"\nclosed = ["2027-01-01"]\n', "", 26, "rule-no-hours"),
        ("delay = 30", "delay = -1", 35, "delay-range"),
        ("delay = 30", "off_delay = -1", 35, "delay-range"),
        ("delay = 30", "delay = 86401", 35, "delay-range"),
        ("delay = 30", "delay = 30\nlasts = 2", 36, "key-unknown"),
        ('hazard = "crowd"', 'hazard = "crowds"', 33, "value-choice"),
        (
            'when = [{ point = "visitors.inside", above = 200, hysteresis = 10 }]',
            "when = []",
            34,
            "rule-empty",
        ),
        ('device = "io"\non', 'device = "ion"\non', 38, "device-unknown"),
        ('on = "siren-on"', 'on = "siren-loud"', 39, "output-action"),
        ('hazards = ["fire"]', "hazards = []", 41, "output-hazards"),
    ],
)
def test_each_mistake_is_named_with_its_line(
    tmp_path: Path, before: str, after: str, line: int, key: str
) -> None:
    assert SITE.count(before) == 1
    with pytest.raises(Mistakes) as refused:
        load(tmp_path, SITE.replace(before, after))
    assert [(mistake.key, mistake.line) for mistake in refused.value.mistakes] == [(key, line)]
    for language in LANGUAGES:
        assert f"error.{key}" in words(language)
        assert "?" not in refused.value.mistakes[0].text(language)


@pytest.mark.parametrize(
    "when",
    [
        f'{CALL_POINT}, {{ point = "io.call_point", is = false }}',
        '{ point = "smoke.temperature", above = 60 }, { point = "smoke.temperature", below = 50 }',
        '{ point = "smoke.temperature", above = 8 }, { point = "smoke.temperature", below = 8 }',
    ],
)
def test_a_rule_that_can_never_hold_is_refused(tmp_path: Path, when: str) -> None:
    rule = f'\n[rule.never]\nhazard = "fire"\nwhen = [{when}]\n'
    with pytest.raises(Mistakes) as refused:
        load(tmp_path, SITE + rule)
    assert [mistake.key for mistake in refused.value.mistakes] == ["rule-contradiction"]
    load(tmp_path, SITE + rule + "need = 1\n")


@pytest.mark.parametrize(
    "when",
    [
        '{ point = "smoke.temperature", above = 8 }, { point = "smoke.temperature", below = 8.5 }',
        '{ point = "smoke.temperature", above = 60, below = 5 }',
    ],
)
def test_a_rule_that_can_hold_is_none_of_them(tmp_path: Path, when: str) -> None:
    load(tmp_path, SITE + f'\n[rule.rare]\nhazard = "fire"\nwhen = [{when}]\n')


ZIGBEE = """
[bus.broker]
driver = "mqtt_json"
url = "mqtt://127.0.0.1"

[device.fridge]
profile = "thermometer/generic-mqtt"
bus = "broker"
topic = "fridge"
every = 3600
"""


def inspected(folder: Path, test: str, every: float, point: str = "smoke.temperature") -> list[Mistake]:
    """What `linli check` finds in a site that starts with such a condition."""
    file = folder / "site.toml"
    rule = f'\n[rule.slow]\nhazard = "fire"\nwhen = [{{ point = "{point}", {test} }}]\n'
    site = load(folder, SITE.replace("unit = 1\n", f"unit = 1\nevery = {every}\n") + ZIGBEE + rule)
    assert "slow" in site.part(SafetySite).rules
    return [found for found in inspect_site(file, site) if found.where == "rule.slow.when"]


@pytest.mark.parametrize(
    ("test", "every", "key", "read", "enough"),
    [
        ("rises = 8, within = 100", 300, "rule-within", "100", "600"),
        ("falls = 8, within = 299.5", 300, "rule-within", "299.5", "600"),
        ("rises = 8, within = 300", 300, "rule-within", "300", "600"),
        ("missing = 20", 30, "rule-missing", "20", "60"),
        ("missing = 30", 30, "rule-missing", "30", "60"),
        ("stuck = 30", 30, "rule-stuck", "30", "60"),
    ],
)
def test_a_duration_that_is_not_longer_than_the_polling_interval_is_found_by_check_only(
    tmp_path: Path, test: str, every: float, key: str, read: str, enough: str
) -> None:
    (mistake,) = inspected(tmp_path, test, every)
    assert mistake.key == key
    assert "when" in (tmp_path / "site.toml").read_text("utf-8").split("\n")[mistake.line - 1]
    for language in LANGUAGES:
        text = mistake.text(language)
        assert [part in text for part in (read, f"{every}", f"= {enough}", "smoke")] == [True] * 4


@pytest.mark.parametrize(
    ("test", "point"),
    [
        ("rises = 8, within = 31", "smoke.temperature"),
        ("falls = 8, within = 31", "smoke.temperature"),
        ("missing = 31", "smoke.temperature"),
        ("stuck = 31", "smoke.temperature"),
        ("above = 60, within = 20", "smoke.temperature"),
        ("rises = 8, within = 60", "fridge.temperature"),
        ("missing = 600", "fridge.temperature"),
        ("rises = 8, within = 1", "visitors.inside"),
    ],
)
def test_a_duration_of_several_polls_is_in_order_and_any_of_what_reports_by_itself(
    tmp_path: Path, test: str, point: str
) -> None:
    assert inspected(tmp_path, test, 30, point) == []


@pytest.mark.parametrize(("test", "bound"), [("above", "max"), ("below", "min")])
def test_a_limit_at_the_end_of_what_is_measured_is_never_passed(
    tmp_path: Path, test: str, bound: str
) -> None:
    end = load(tmp_path, SITE).devices["smoke"].points["temperature"]
    limit = getattr(end, bound)
    rule = (
        f'\n[rule.never]\nhazard = "fire"\nwhen = [{{ point = "smoke.temperature", {test} = {limit} }}]\n'
    )
    with pytest.raises(Mistakes) as refused:
        load(tmp_path, SITE + rule)
    assert [mistake.key for mistake in refused.value.mistakes] == ["rule-never"]
