"""Every dialect that comes along keeps its own promises, and one more is one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.dialect.file import load_dialect
from gateway.uplink.declarative.inspection import inspect_dialect

FOLDER = Path(__file__).parents[2] / "config" / "dialects"
FILES = sorted(FOLDER.glob("*.toml"))


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
