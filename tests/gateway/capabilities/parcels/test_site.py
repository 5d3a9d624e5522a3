"""The front of a parcel locker in the site file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.capabilities.parcels.pages import ParcelsSettings, parcels_view
from gateway.capabilities.parcels.services import Compartment
from gateway.capabilities.parcels.site import Front, Size
from gateway.config import Mistakes, load_site
from gateway.web.part import PartInput
from gateway.web.settings import DeviceInfo
from gateway.web.snapshot import Snapshot
from tests.gateway.sites import HEAD, bus
from tests.gateway.views import DAY, at

LOCKER = DeviceInfo("box", {}, "parcel-locker", 10, {f"door.{n}": "" for n in (1, 2, 3, 4)})


def test_the_front_has_columns_and_sizes_and_forgets_no_compartment() -> None:
    front = Front(columns=((3, 1), (9, 2)), sizes={Size.LARGE: (1,)})
    given = PartInput(Snapshot(), at(), DAY, {"box": LOCKER})
    (cabinet,) = parcels_view(ParcelsSettings({"box": front}), given).cabinets
    assert [[cell.number for cell in column] for column in cabinet.columns] == [[3, 1], [2], [4]]
    assert {cell.number: cell.size for cell in cabinet.compartments} == {1: "large", 2: "", 3: "", 4: ""}
    (bare,) = parcels_view(ParcelsSettings(), given).cabinets
    assert bare.columns == ()


@pytest.mark.parametrize(("seconds", "left_open"), [(299, False), (300, True)])
def test_a_door_that_stays_open_has_been_left_open(seconds: int, left_open: bool) -> None:
    row = Compartment(door_open=True, occupied=None, since=at(900), opened=at(seconds))
    given = PartInput(Snapshot(rows={"lockers": {"box/2": row}}), at(), DAY, {"box": LOCKER})
    (cabinet,) = parcels_view(ParcelsSettings(), given).cabinets
    assert cabinet.left_open == ((2,) if left_open else ())
    assert cabinet.compartments[1].since == at(seconds).wall_ms


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("[cabinet.box]\ncolumns = [[1, 2], [2]]", "cabinet-twice"),
        ("[cabinet.box]\nsizes = { small = [1], large = [1] }", "cabinet-twice"),
        ("[cabinet.box]\ncolumns = [[1, 2], [3, 99]]", "cabinet-missing"),
        ("[cabinet.box]\nsizes = { small = [0] }", "cabinet-missing"),
        ("[cabinet.none]\ncolumns = [[1]]", "cabinet-device"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, table: str, key: str) -> None:
    file = tmp_path / "site.toml"
    head = HEAD.format(folder=tmp_path, web=8080, metrics=9109)
    locker = """
[bus.lockers]
driver = "lockboard"
dialect = "cu16"
port = "/dev/ttyUSB9"

[device.box]
profile = "parcel-locker/kerong-cu16"
bus = "lockers"
board = 0
"""
    file.write_text(head + bus("line", 15020) + locker + table + "\n", "utf-8")
    with pytest.raises(Mistakes) as caught:
        load_site(file)
    assert [mistake.key for mistake in caught.value.mistakes] == [key]
