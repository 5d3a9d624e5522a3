"""Emergency plans, and what else a site asks of its people."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.capabilities.safety.services.patrols import WEEKLY_INTERVAL
from gateway.capabilities.safety.site import SafetySite, load_plan
from gateway.config import Mistakes, Site, load_site
from gateway.model import Hazard
from gateway.words import LANGUAGES, words

PLANS = Path(__file__).parents[5] / "config" / "plans"
WITH_PLANS = set(Hazard) - {Hazard.TAMPER, Hazard.FAULT}
SITE = """\
schema = "linli/site/1"

[site]
id = "demo"
title = "Demo"

[tests]
smoke = 14
fridge = 0

[hazards]
major = 1.5

[patrol.night]
title = { zh = "夜间巡查", en = "Night patrol" }
checkpoints = { kitchen = "厨房", exit-east = { zh = "东出口", en = "East exit" } }
every = 2
hours = "21:00-06:00"
days = "mon-sat"

[patrol.week]
checkpoints = { roof = "屋顶" }
every = "weekly"

[rule.untested]
hazard = "fault"
when = [{ point = "supervision.tests_due", above = 0 }]
delay = 86400
"""
PLAN = """\
schema = "linli/plan/1"
hazard = "water"
title = "Water"
source = "house rules"
approved = "王主任 2026-10-01"

[step.shut]
who = "Anyone"
do = { zh = "关阀", en = "Shut the valve" }
"""


def load(path: Path, text: str = SITE) -> Site:
    file = path / "site.toml"
    file.write_text(text, "utf-8")
    return load_site(file)


def test_every_hazard_to_people_has_a_plan_in_both_languages(tmp_path: Path) -> None:
    plans = load(tmp_path).part(SafetySite).duties.plans
    assert plans.keys() == WITH_PLANS
    for plan in plans.values():
        assert not plan.approved, "what came along is a template"
        for words_ in (plan.title, *(each for step in plan.steps.values() for each in (step.who, step.do))):
            assert words_.keys() == set(LANGUAGES)
            assert words_["zh"] != words_["en"]
        for step in plan.steps.values():
            assert step.call in ("", "110", "119", "120")
            assert not step.call or all(step.call in text for text in step.do.values())
    assert "muster" in plans[Hazard.FIRE].steps
    assert plans[Hazard.FIRE].steps["call-119"].call == "119"


@pytest.mark.parametrize("file", sorted(PLANS.glob("*.toml")), ids=lambda file: file.stem)
def test_each_plan_that_comes_along_says_that_it_is_a_template(file: Path) -> None:
    text = file.read_text("utf-8")
    assert "模板" in text
    assert "A template" in text
    assert load_plan(file).hazard == file.stem


def test_a_plan_beside_the_site_takes_the_place_of_the_one_that_came_along(tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "water.toml").write_text(PLAN, "utf-8")
    (tmp_path / "plans" / "tamper.toml").write_text(PLAN.replace('"water"', '"tamper"'), "utf-8")
    plans = load(tmp_path).part(SafetySite).duties.plans
    assert list(plans[Hazard.WATER].steps) == ["shut"]
    assert plans[Hazard.WATER].approved == "王主任 2026-10-01"
    assert plans.keys() == WITH_PLANS | {Hazard.TAMPER}
    (tmp_path / "plans" / "water.toml").write_text(PLAN.replace("Anyone", "Somebody"), "utf-8")
    assert load(tmp_path).part(SafetySite).duties.plans[Hazard.WATER].steps["shut"].who["en"] == "Somebody"


@pytest.mark.parametrize(
    ("before", "after", "line", "key"),
    [
        ('hazard = "water"', 'hazard = "wet"', 2, "value-choice"),
        ('hazard = "water"', 'hazard = "fire"', 2, "plan-file"),
        ('title = "Water"', 'title = ""', 3, "title-empty"),
        ('title = "Water"', "title = {}", 3, "title-empty"),
        ('source = "house rules"\n', "", 1, "key-missing"),
        ("[step.shut]", "[step.Shut]", 7, "name-form"),
        ('who = "Anyone"', 'who = " "', 8, "text-empty"),
        ('en = "Shut the valve"', "en = 3", 9, "value-text"),
        (PLAN[PLAN.index("[step") :], "", 1, "plan-steps"),
        (PLAN[PLAN.index("[step") :], "step = 3\n", 7, "table-unnamed"),
        ('who = "Anyone"', 'who = "Anyone"\ntell = 1', 9, "key-none-of"),
    ],
)
def test_each_mistake_in_a_plan_is_named_with_its_line(
    tmp_path: Path, before: str, after: str, line: int, key: str
) -> None:
    (tmp_path / "plans").mkdir()
    file = tmp_path / "plans" / "water.toml"
    file.write_text(PLAN.replace(before, after), "utf-8")
    with pytest.raises(Mistakes) as refused:
        load(tmp_path)
    found = [(mistake.file, mistake.key, mistake.line) for mistake in refused.value.mistakes]
    assert (file, key, line) in found
    for language in LANGUAGES:
        assert f"error.{key}" in words(language)
        assert all("?" not in mistake.text(language) for mistake in refused.value.mistakes)


def test_check_takes_a_plan_by_itself(tmp_path: Path) -> None:
    good, bad = tmp_path / "water.toml", tmp_path / "fire.toml"
    good.write_text(PLAN, "utf-8")
    bad.write_text(PLAN, "utf-8")
    for file, code in ((good, 0), (bad, 78)):
        command = [sys.executable, "-m", "gateway.cli", "check", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == code
        assert str(file) in done.stdout + done.stderr


def test_plans_are_in_the_wheel() -> None:
    text = (PLANS.parents[1] / "pyproject.toml").read_text("utf-8")
    included = tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["config/plans"] == "gateway/plans"


def test_a_site_says_what_it_asks_of_its_people(tmp_path: Path) -> None:
    duties = load(tmp_path).part(SafetySite).duties
    night, week = duties.patrols["night"], duties.patrols["week"]
    assert (night.interval_minutes, night.span_minutes, night.weekdays) == (
        120,
        (21 * 60, 30 * 60),
        frozenset(range(6)),
    )
    assert night.checkpoints == {
        "kitchen": {"zh": "厨房", "en": "厨房"},
        "exit-east": {"zh": "东出口", "en": "East exit"},
    }
    assert (week.interval_minutes, week.title["zh"]) == (WEEKLY_INTERVAL, "week")
    assert (duties.tests["smoke"], duties.tests["fridge"], duties.tests["gas"]) == (14, 0, 7)
    assert duties.hazards == {"general": 24.0, "major": 1.5}


@pytest.mark.parametrize(
    ("before", "after", "line", "key"),
    [
        ("smoke = 14", "smoke = -1", 8, "number-range"),
        ("smoke = 14", "smoke = true", 8, "number-range"),
        ("smoke = 14", "smoke = nan", 8, "number-range"),
        ("smoke = 14", "smokes = 14", 8, "kind-unknown"),
        ("major = 1.5", "major = 0", 12, "positive"),
        ("major = 1.5", "huge = 2", 12, "key-none-of"),
        ("every = 2", "every = 25", 17, "patrol-every"),
        ("every = 2", 'every = "often"', 17, "patrol-every"),
        ("every = 2", "every = 0", 17, "patrol-every"),
        ("every = 2\n", "", 14, "key-missing"),
        ('hours = "21:00-06:00"', 'hours = "at night"', 18, "patrol-hours"),
        ('days = "mon-sat"', 'days = "daily"', 19, "patrol-days"),
        ('checkpoints = { roof = "屋顶" }', "checkpoints = {}", 22, "patrol-checkpoints"),
        ('checkpoints = { roof = "屋顶" }', 'checkpoints = { roof = "" }', 22, "patrol-checkpoints"),
        ('checkpoints = { roof = "屋顶" }', 'checkpoints = { Roof = "屋顶" }', 22, "name-form"),
        ("[tests]\nsmoke = 14\nfridge = 0\n", "", 0, ""),
    ],
)
def test_each_mistake_is_named_with_its_line(
    tmp_path: Path, before: str, after: str, line: int, key: str
) -> None:
    assert SITE.count(before) == 1
    text = SITE.replace(before, after)
    if not key:
        load(tmp_path, text)
        return
    with pytest.raises(Mistakes) as refused:
        load(tmp_path, text)
    assert [(mistake.key, mistake.line) for mistake in refused.value.mistakes] == [(key, line)]
    for language in LANGUAGES:
        assert f"error.{key}" in words(language)
        assert "?" not in refused.value.mistakes[0].text(language)
