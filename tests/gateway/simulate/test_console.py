from __future__ import annotations

import re
import urllib.parse

from gateway.simulate.actions import ACTIONS, perform
from gateway.simulate.centre import HOUR_S, Centre
from gateway.simulate.console import PAGE
from gateway.simulate.faults import Faults
from gateway.simulate.world import World
from tests.gateway.simulate.conftest import Simulator


def test_state_and_actions(sim: Simulator) -> None:
    assert sim.state()["time"].startswith("10:")
    assert sim.do("smoke?unit=2&on=1") == (200, {"action": "smoke", "unit": 2, "on": True})
    assert sim.do("detector", b'{"unit": 3, "status": "fault"}')[0] == 200
    assert [detector["status"] for detector in sim.state()["smoke"].values()] == [0, 1, 2]
    sim.do("clear")
    assert [detector["status"] for detector in sim.state()["smoke"].values()] == [0, 0, 0]


def test_mistakes_are_explained_in_both_languages(sim: Simulator) -> None:
    for path, body, expected in (
        ("smoke?unit=9&on=1", b"", 400),
        ("explode", b"", 404),
        ("smoke", b"not json", 400),
        ("smoke", b"[1]", 400),
        ("smoke", b"\xff", 400),
    ):
        status, answer = sim.do(path, body)
        assert status == expected
        assert set(answer["error"]) == {"zh", "en"}


def test_every_button_of_the_page_does_something() -> None:
    centre = Centre()
    centre.advance(10 * HOUR_S)
    world = World(centre, Faults(), clock=lambda: 0.0)
    buttons = re.findall(r', "([a-z]+)(?:\?([^"]*))?"(?:, "(?:bad|good)")?\]', PAGE.read_text())
    assert len(buttons) > 15
    for name, query in buttons:
        assert name in ACTIONS
        perform(world, name, dict(urllib.parse.parse_qsl(query)))


def test_the_page_speaks_both_languages(sim: Simulator) -> None:
    assert "模拟中心 · Simulated centre" in sim.get("")
