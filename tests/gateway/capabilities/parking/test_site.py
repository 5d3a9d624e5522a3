"""Car parks in the site file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.capabilities.parking.site import BayKind, ParkingSite
from gateway.config import Mistakes, load_site
from tests.gateway.sites import HEAD, bus, device

BAYS = bus("line", 15020) + "".join(
    device(f"bay-{n}", "line", n, "parking-bay/generic-ultrasonic") for n in (1, 2)
)


def read(folder: Path, text: str) -> ParkingSite:
    file = folder / "site.toml"
    file.write_text(HEAD.format(folder=folder, web=8080, metrics=9109) + BAYS + text, "utf-8")
    part: ParkingSite = load_site(file).part(ParkingSite)
    return part


def test_a_car_park_has_bays_of_kinds(tmp_path: Path) -> None:
    lot = '\n[lot.north]\ntitle = "北"\nbays = { visitor = ["bay-1"], accessible = ["bay-2"] }\n'
    found = read(tmp_path, lot).lots["north"]
    assert found.title == {"zh": "北", "en": "北"}
    assert found.bays == {BayKind.VISITOR: ("bay-1",), BayKind.ACCESSIBLE: ("bay-2",)}


@pytest.mark.parametrize(
    ("bays", "key"),
    [
        ('visitor = ["bay-1", "bay-1"]', "lot-bay-twice"),
        ('visitor = ["bay-1"], loading = ["bay-1"]', "lot-bay-twice"),
        ('visitor = ["bay-9"]', "lot-bay"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, bays: str, key: str) -> None:
    with pytest.raises(Mistakes) as caught:
        read(tmp_path, f'\n[lot.north]\ntitle = "北"\nbays = {{ {bays} }}\n')
    assert [mistake.key for mistake in caught.value.mistakes] == [key]


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Mistakes):
        read(tmp_path, '\n[lot.north]\ntitle = "北"\nbays = { rocket = ["bay-1"] }\n')
