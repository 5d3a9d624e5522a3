"""The whole way once: a counter on a wire, through the daemon and its journal, to the platform."""

import asyncio
import signal
import time
from typing import Any

from gateway.base import control
from tests.gateway.conftest import Centre
from tests.gateway.simulate.conftest import eventually

LAYOUT = """
[visitors]
limit = 4000

[room.hall]
title = { zh = "大厅", en = "Hall" }
limit = 5

[door.east]
counters = ["door-east"]
to = "hall"
"""


def ask(centre: Centre, action: str, **args: Any) -> str:
    asked = {"id": f"{action}-1", "device": "gateway", "action": action, "args": args, "by": "Wang"}
    expires = round(time.time() * 1000) + 20_000
    answer = asyncio.run(
        control.call_daemon(centre.daemon.socket, "command", expires=expires, origin="console", **asked)
    )
    return str(answer["status"])


def test_everybody_at_the_door_arrives_upstream_once_though_the_gateway_is_killed(centre: Centre) -> None:
    site = centre.daemon.site
    site.write_text(f"{site.read_text('utf-8')}{LAYOUT}", "utf-8")

    def entered() -> int:
        return int(centre.sim.state()["doors"]["1"]["entered"])

    def told(kind: str, device: str = "gateway") -> list[dict[str, Any]]:
        entries = {entry["seq"]: entry for entry in centre.witness.find(device, "event")}
        return [entry["data"] for entry in entries.values() if entry["kind"] == kind]

    def came() -> int:
        return sum(each["in"] for each in told("crossing", "door-east"))

    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: told("coverage", "door-east"))
    first = int(centre.witness.find("door-east", "telemetry")[0]["data"]["values"]["in"])
    centre.do("visitor", door=1, direction="in", n=9)
    eventually(lambda: came() == entered() - first >= 9)
    assert {(each["door"], each["from"], each["to"]) for each in told("crossing", "door-east")} == {
        ("east", "outside", "hall")
    }
    (raised, *_) = eventually(
        lambda: centre.witness.find("visitors", "alarm", change="raised", point="crowd-hall")
    )
    assert raised["data"]["hazard"] == "crowd"
    assert eventually(lambda: told("crowding"))[0]["near"]
    now = round(time.time() * 1000)
    assert (
        ask(centre, "book", title="合唱", room="hall", **{"from": now, "until": now + 3_600_000}) == "done"
    )
    assert ask(centre, "correct-inside", room="hall", inside=2) == "done"
    eventually(lambda: told("visitor-corrected"))
    centre.daemon.send(signal.SIGKILL)
    centre.daemon.end(signal.SIGKILL)
    centre.do("visitor", door=1, direction="in", n=4)
    centre.daemon.start()
    eventually(lambda: came() == entered() - first >= 13)
    eventually(lambda: centre.witness.latest("visitors")["values"].get("door.east.in", 0) >= 13)
    assert ask(centre, "cancel-booking", booking=told("booking-made")[0]["booking"]) == "done"
    eventually(lambda: told("booking-cancelled"))
