"""Every dialect that comes along keeps its own promises, and one more is one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config.dialect import rules
from gateway.config.dialect.file import load_dialect
from gateway.config.dialect.template import TIME_FORMATS, VALUE_FORMATS
from gateway.uplink.declarative.examples import Example, ExampleSite
from gateway.uplink.declarative.inspection import inspect_dialect

FOLDER = Path(__file__).parents[2] / "config" / "dialects"
FILES = sorted(FOLDER.glob("*.toml"))
MANUAL = (FOLDER.parents[1] / "DIALECTS.md").read_text("utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dialect_keeps_what_its_examples_promise(file: Path) -> None:
    dialect = load_dialect(file, [FOLDER])
    assert [mistake.text("en") for mistake in inspect_dialect(dialect)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_examples_show_every_part_of_a_dialect(file: Path) -> None:
    dialect = load_dialect(file, [FOLDER])
    lanes = {each.get("lane", "telemetry") for each in dialect.examples if "records" in each}
    assert {lane for lane in ("alarm", "event", "telemetry") if getattr(dialect, lane)} <= lanes
    assert bool(dialect.history) <= any(each.get("backfill") for each in dialect.examples)
    assert bool(dialect.opening) <= any(each.get("opening") for each in dialect.examples)
    assert bool(dialect.login) <= any("login" in each for each in dialect.examples)
    assert bool(dialect.replies) <= any("reply" in each for each in dialect.examples)
    commands = [rule for rule in dialect.commands if rule.keys.action]
    assert bool(commands) <= any("command" in each for each in dialect.examples)
    assert dialect.verified


def test_the_example_of_the_manual_works(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(schema = .*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)
    file = tmp_path / "acme.toml"
    file.write_text(example, "utf-8")
    dialect = load_dialect(file)
    assert [mistake.text("en") for mistake in inspect_dialect(dialect)] == []
    assert len(dialect.examples) == 7


STRUCTS = (
    rules.PointNames, rules.PointName, rules.SignKeys, rules.LoginKeys, rules.MessageKeys, rules.ReplyKeys,
    rules.CommandKeys, rules.HeartbeatKeys, ExampleSite, Example,
)  # fmt: skip


@pytest.mark.parametrize("language", ["中文", "English"])
def test_the_manual_has_every_key_placeholder_and_format(language: str) -> None:
    page = MANUAL[MANUAL.index(f"\n## {language}\n") + 1 :]
    page = page[: page.index("\n## ")]
    keys = {field for struct in STRUCTS for field in struct.__struct_fields__}
    said = set(re.findall(r"[a-z_0-9]+", page))
    assert keys - said == set()
    formats = {*TIME_FORMATS, *VALUE_FORMATS}
    assert {form for form in formats if f"`{form}`" not in page} == set()
    for name in ("message.number", "backfill", "record.id", "value.unit", "received", "data", "epoch"):
        assert f"`{name}`" in page
