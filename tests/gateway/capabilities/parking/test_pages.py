"""The board of the bays: by car park and kind, and in a real browser."""

from __future__ import annotations

import msgspec
import pytest

from gateway.capabilities.parking.pages import LotRow, ParkingSettings, parking_view
from gateway.capabilities.parking.services import Bay
from gateway.capabilities.parking.site import BayKind, Lot
from gateway.web.part import PartInput
from gateway.web.settings import DeviceInfo
from gateway.web.snapshot import Snapshot
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import KEY, House, Served
from tests.gateway.views import DAY, at

ONE = DeviceInfo("one", {"zh": "A-12 号车位"}, "parking-bay", 5, {"occupied": "", "battery": "%"})
TWO = DeviceInfo("two", {"zh": "东区"}, "parking-bay", 5, {"occupied.1": "", "occupied.2": ""})
DOOR = DeviceInfo("door", {}, "door-counter", 5, {"occupied": ""})
ROWS = {
    "one/occupied": Bay(occupied=True, since=at()),
    "two/occupied.1": Bay(occupied=False, since=at()),
    "two/occupied.2": Bay(occupied=False, since=at(), live=False),
}
ANY = ParkingSettings()


@pytest.fixture
def house(house: House) -> House:
    house.bays(False, True, None)
    return house


def lots(settings: ParkingSettings, rows: dict[str, Bay], *infos: DeviceInfo) -> tuple[LotRow, ...]:
    devices = {info.name: info for info in (infos or (ONE, TWO, DOOR))}
    return parking_view(settings, PartInput(Snapshot(rows={"parking": rows}), at(), DAY, devices)).lots


def test_every_bay_is_on_the_board_and_what_is_not_known_is_unknown() -> None:
    devices = {info.name: info for info in (ONE, TWO, DOOR)}
    given = PartInput(Snapshot(rows={"parking": ROWS}), at(), DAY, devices)
    assert [(cell.device, cell.number, cell.state) for cell in parking_view(ANY, given).board] == [
        ("one", "", "occupied"),
        ("two", "1", "free"),
        ("two", "2", "unknown"),
    ]
    nothing_yet = PartInput(Snapshot(), at(), DAY, devices)
    assert {cell.state for cell in parking_view(ANY, nothing_yet).board} == {"unknown"}


def test_car_parks_have_kinds_of_bays_and_the_rest_is_by_room() -> None:
    north = Lot(title={"zh": "北"}, bays={BayKind.ACCESSIBLE: ("one", "gone"), BayKind.LOADING: ("gone",)})
    below = msgspec.structs.replace(TWO, room={"zh": "地下"})
    found = lots(ParkingSettings({"north": north, "empty": Lot(title={}, bays={})}), ROWS, ONE, below)
    assert [(lot.name, lot.title, [group.kind for group in lot.groups]) for lot in found] == [
        ("north", {"zh": "北"}, ["accessible"]),
        ("room/地下", {"zh": "地下"}, [""]),
    ]
    assert [(lot.free, lot.count("unknown"), lot.total) for lot in found] == [(0, 0, 1), (1, 1, 2)]


@pytest.mark.parametrize(
    ("others", "accessible", "wanted"),
    [(0, 1, 1), (5, 0, 1), (199, 1, 1), (200, 1, 2), (398, 2, 2), (399, 2, 3)],
)
def test_one_bay_in_two_hundred_is_to_be_accessible_and_at_least_one(
    others: int, accessible: int, wanted: int
) -> None:
    names = {
        BayKind.VISITOR: tuple(f"v{n}" for n in range(others)),
        BayKind.ACCESSIBLE: tuple(f"a{n}" for n in range(accessible)),
    }
    infos = {
        name: DeviceInfo(name, {}, "parking-bay", 5, {"occupied": ""})
        for each in names.values()
        for name in each
    }
    given = PartInput(Snapshot(), at(), DAY, infos)
    view = parking_view(ParkingSettings({"north": Lot(title={}, bays=names)}), given)
    assert (view.accessible, view.accessible_wanted) == (accessible, wanted)


def test_nothing_is_said_of_accessible_bays_where_no_kinds_are_given() -> None:
    given = PartInput(Snapshot(), at(), DAY, {"one": ONE})
    assert parking_view(ANY, given).accessible_wanted == 0


def test_a_car_park_of_which_nothing_is_known_has_no_free_bays_but_an_unknown_number() -> None:
    old = {key: msgspec.structs.replace(row, live=False) for key, row in ROWS.items()}
    (all_bays,) = lots(ANY, old)
    assert (all_bays.free, all_bays.count("unknown")) == (None, 3)
    (bays,) = (group.bays for group in all_bays.groups)
    assert [(bay.state, bay.last_known, bay.since) for bay in bays] == [
        ("unknown", "occupied", None), ("unknown", "free", None), ("unknown", "free", None),
    ]  # fmt: skip


def test_the_page_says_what_is_free_and_since_when(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/parking")
    page.shows("至少 1 共 3 个 1 个未知", "#parking .number")
    page.shows("1 空闲 10 分钟前", "#parking [data-key='bay-1/']")
    page.shows("3 未知", "#parking [data-key='bay-3/'].unknown")
    house.rows("parking", bay_1__occupied=Bay(occupied=True, since=house.now(5)))
    page.driver.get(f"{page.url}/parking?lang=en")
    page.shows("3 Unknown", "#parking [data-key='bay-3/'].unknown")


def test_the_page_says_that_accessible_bays_are_missing(house: House, page: Page) -> None:
    lots = {"north": Lot(title={"zh": "北侧"}, bays={BayKind.VISITOR: ("bay-1", "bay-2", "bay-3")})}
    house.configure("parking", lots=lots)
    served = Served(house.settings)
    try:
        page.driver.get(f"{served.url}/parking?key={KEY}")
        page.shows("无障碍车位 0 个，应至少 1 个")
    finally:
        served.end()
