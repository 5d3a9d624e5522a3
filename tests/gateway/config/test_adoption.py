from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.config import Mistakes, Site, load_site
from gateway.config.adoption import (
    AdoptedConfiguration,
    changes_between,
    choose_configuration,
    load_adopted,
    save_adopted,
)
from gateway.model import Revision
from tests.clock import FakeClock
from tests.gateway.conftest import ROOT

SITE = """\
schema = "linli/site/1"

[site]
id = "demo"
title = "Demo"

[journal]  # beside it lies the copy
window = 1.0
path = "{folder}/journal.db"

[bus.hall]
driver = "modbus"
url = "tcp://127.0.0.1:502"

[bus.yard]
driver = "modbus"
url = "tcp://127.0.0.1:503"

[device.smoke]
profile = "smoke/own"
bus = "hall"
unit = 1

[device.door]
profile = "door-counter/generic-ir2"
bus = "yard"
unit = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A site with a device model of its own."""
    model = tmp_path / "profiles" / "smoke" / "own.toml"
    model.parent.mkdir(parents=True)
    model.write_bytes((ROOT / "config/profiles/smoke/generic-rs485.toml").read_bytes())
    site = tmp_path / "site.toml"
    site.write_text(SITE.format(folder=tmp_path), "utf-8")
    return site


def adopted(file: Path, number: int = 1, rejected: str = "") -> Site:
    """The site as it is now, kept."""
    site = load_site(file)
    revision = Revision(number, site.digest, FakeClock().now(), "start", silent=("door",))
    save_adopted(
        site.journal.path,
        AdoptedConfiguration(str(file.resolve()), revision, site.sources, rejected=rejected),
    )
    return site


def change(file: Path, before: str, after: str) -> Site:
    text = file.read_text("utf-8")
    assert before in text
    file.write_text(text.replace(before, after), "utf-8")
    return load_site(file)


def test_what_differs(file: Path) -> None:
    site = load_site(file)
    assert changes_between(site, site) == {}
    title = change(file, 'bus = "hall"', 'bus = "hall"\ntitle = "Smoke"')
    assert changes_between(site, title) == {"device": {"changed": ["smoke"]}}
    slower = change(file, 'title = "Smoke"', "every = 2.0")
    assert changes_between(title, slower) == {
        "bus": {"changed": ["hall"]},
        "device": {"changed": ["smoke"]},
    }
    moved = change(file, 'bus = "yard"\nunit = 1', 'bus = "hall"\nunit = 2')
    assert changes_between(slower, moved) == {
        "bus": {"changed": ["hall", "yard"]}, "device": {"changed": ["door"]},
    }  # fmt: skip
    other = change(file, "[device.door]", "[device.gate]")
    assert changes_between(moved, other) == {
        "bus": {"changed": ["hall"]}, "device": {"added": ["gate"], "removed": ["door"]},
    }  # fmt: skip
    port = change(file, ":502", ":504")
    assert changes_between(other, port) == {"bus": {"changed": ["hall"]}}
    linked = change(file, "[bus.yard]", '[uplink]\nurl = "mqtt://127.0.0.1"\n\n[bus.court]')
    assert changes_between(port, linked) == {
        "bus": {"added": ["court"], "removed": ["yard"]}, "uplink": {"added": ["uplink"]},
    }  # fmt: skip


def test_a_device_model_is_part_of_the_configuration(file: Path) -> None:
    site = load_site(file)
    model = file.parent / "profiles/smoke/own.toml"
    model.write_text(model.read_text("utf-8").replace("max = 125", "max = 100"), "utf-8")
    assert changes_between(site, load_site(file)) == {
        "bus": {"changed": ["hall"]}, "device": {"changed": ["smoke"]},
    }  # fmt: skip
    assert load_site(file).digest != site.digest


def test_the_copy_needs_neither_the_file_nor_the_models(file: Path) -> None:
    site = adopted(file)
    path = file.parent / "journal.adopted"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (file.parent / "profiles/smoke/own.toml").unlink()
    choice = choose_configuration(file)
    assert choice.site == site
    assert [mistake.key for mistake in choice.refused] == ["profile-unknown"]
    file.write_text(file.read_text("utf-8").replace("unit = 1", "unit = 999"), "utf-8")
    assert [mistake.line for mistake in choose_configuration(file).refused] == [20, 22, 27]


@pytest.mark.parametrize("length", range(0, 560, 40))
def test_a_torn_file_is_replaced_by_the_copy(
    file: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(file.parent))
    site = adopted(file)
    with file.open("r+b") as torn:
        torn.truncate(length)
    assert choose_configuration(file).site.devices == site.devices


def test_a_cut_between_two_tables_is_told_from_a_new_configuration(file: Path) -> None:
    site = adopted(file)
    text = file.read_text("utf-8")
    file.write_text(text[: text.index("[device.door]")], "utf-8")
    choice = choose_configuration(file)
    assert (choice.site, [m.key for m in choice.refused]) == (site, ["config-cut"])
    file.write_text(text[: text.index("[device.door]")] + "# The door is gone.\n", "utf-8")
    assert list(choose_configuration(file).site.devices) == ["smoke"]
    file.write_text(text[: text.index("[device.smoke]")] + "# So is the smoke.\n", "utf-8")
    assert choose_configuration(file).site == site


def test_a_lost_file_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(file.parent))
    site = adopted(file)
    file.unlink()
    choice = choose_configuration(file)
    assert (choice.site, [m.key for m in choice.refused]) == (site, ["file-missing"])


def test_without_a_copy_the_mistakes_stand(file: Path) -> None:
    file.write_text(file.read_text("utf-8").replace("unit = 1", "unit = 999"), "utf-8")
    with pytest.raises(Mistakes):
        choose_configuration(file)


@pytest.mark.parametrize("damage", ["torn", "flipped", "garbage", "another site's"])
def test_a_copy_that_is_not_sound_is_no_copy(file: Path, damage: str) -> None:
    site = adopted(file)
    path = file.parent / "journal.adopted"
    text = path.read_bytes()
    if damage == "torn":
        path.write_bytes(text[:-20])
    elif damage == "flipped":
        path.write_bytes(text.replace(b"tcp://127.0.0.1:502", b"tcp://127.0.0.1:602"))
    elif damage == "garbage":
        path.write_bytes(b"\xff\xfe garbage")
    else:
        path.write_bytes(text.replace(b"site.toml", b"yard.toml"))
    assert load_adopted(file, site.journal.path) is None


def test_a_configuration_that_was_taken_back_stays_so(file: Path) -> None:
    bad = change(file, ":502", ":504")
    good = change(file, ":504", ":502")
    adopted(file, 3, rejected=bad.digest)
    change(file, ":502", ":504")
    choice = choose_configuration(file)
    assert choice.site == good
    assert choice.refused[0].facts == {"silent": "door"}
    # Any other one is a new beginning.
    other = change(file, ":504", ":505")
    assert (choose_configuration(file).site, choose_configuration(file).refused) == (other, ())


@pytest.mark.parametrize(("stage", "number"), [("file-drafted", 1), ("", 2)])
def test_a_kill_leaves_the_old_or_the_new(file: Path, stage: str, number: int) -> None:
    site = adopted(file)
    code = (
        "import sys, pathlib, msgspec; from gateway.config import adoption;"
        "kept = msgspec.json.decode(sys.stdin.buffer.read(), type=adoption.AdoptedConfiguration);"
        "adoption.save_adopted(pathlib.Path(sys.argv[1]), kept)"
    )
    revision = Revision(2, site.digest, FakeClock().now(), "console")
    done = subprocess.run(
        [sys.executable, "-c", code, site.journal.path], cwd=ROOT, check=False,
        env={**os.environ, "LINLI_KILL_AT": stage},
        input=msgspec.json.encode(AdoptedConfiguration(str(file.resolve()), revision, site.sources)),
    )  # fmt: skip
    assert done.returncode == (-9 if stage else 0)
    kept = load_adopted(file, site.journal.path)
    assert kept
    assert kept.revision.number == number
