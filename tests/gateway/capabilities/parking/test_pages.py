"""The board of the bays."""

from __future__ import annotations

from gateway.capabilities.parking.pages import parking_view
from gateway.capabilities.parking.services import Bay
from gateway.web.part import PartInput
from gateway.web.settings import DeviceInfo
from gateway.web.snapshot import Snapshot
from tests.gateway.views import DAY, at

ONE = DeviceInfo("one", {"zh": "A-12 号车位"}, "parking-bay", 5, {"occupied": "", "battery": "%"})
TWO = DeviceInfo("two", {"zh": "东区"}, "parking-bay", 5, {"occupied.1": "", "occupied.2": ""})
DOOR = DeviceInfo("door", {}, "door-counter", 5, {"occupied": ""})


def test_every_bay_is_on_the_board_and_what_is_not_known_is_unknown() -> None:
    rows = {
        "one/occupied": Bay(occupied=True, since=at()),
        "two/occupied.1": Bay(occupied=False, since=at()),
        "two/occupied.2": Bay(occupied=False, since=at(), live=False),
    }
    devices = {info.name: info for info in (ONE, TWO, DOOR)}
    given = PartInput(Snapshot(rows={"parking": rows}), at(), DAY, devices)
    assert [(cell.device, cell.number, cell.state) for cell in parking_view(None, given).board] == [
        ("one", "", "occupied"),
        ("two", "1", "free"),
        ("two", "2", "unknown"),
    ]
    nothing_yet = PartInput(Snapshot(), at(), DAY, devices)
    assert {cell.state for cell in parking_view(None, nothing_yet).board} == {"unknown"}
