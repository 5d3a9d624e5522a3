from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from signal import SIGKILL
from typing import Any

import msgspec

from gateway.capabilities.safety.services.alarms import Alarm
from gateway.journal import JournalReader
from tests.gateway.conftest import Centre
from tests.gateway.ledger import account, pending, read_journal
from tests.gateway.simulate.conftest import eventually


def alarms(path: Path) -> dict[str, Alarm]:
    """The alarms that stand, as the journal keeps them."""

    async def read() -> dict[str, Alarm]:
        async with JournalReader.open(path) as reader:
            rows = await reader.service_rows("safety")
            return {key: msgspec.msgpack.decode(body, type=Alarm) for key, body in rows.items()}

    return asyncio.run(read())


def lives(centre: Centre, seed: int, count: int) -> None:
    """Start the gateway and kill it, at moments that differ each time: while it opens the journal, while
    it reads its first values, and while it is in full swing."""
    chance = random.Random(seed)
    for _ in range(count):
        centre.daemon.start()
        assert centre.daemon.process
        moment = chance.choice((0.35, 0.6, 1.0, 2.0, 2.5)) * chance.uniform(0.8, 1.2)
        threading.Event().wait(moment)
        assert centre.daemon.process.poll() is None
        centre.daemon.end(SIGKILL)


def full_life(centre: Centre) -> None:
    """One more life until all has been told, ended in order."""
    centre.daemon.start()
    eventually(lambda: centre.daemon.health() and pending(centre.daemon.journal) < 40, 30)
    eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
    assert centre.daemon.end() == 0


def test_killed_again_and_again(centre: Centre) -> None:
    """An alarm raised before survives, acknowledged, and is not raised again."""
    centre.broker.start()
    centre.witness.start()
    centre.do("smoke", unit=1, on=True)
    centre.do("smoke", unit=2, on=True)
    centre.daemon.start()

    def raised(device: str) -> list[dict[str, Any]]:
        return centre.witness.find(device, "alarm", change="raised", hazard="fire")

    eventually(lambda: raised("smoke-hall") and raised("smoke-kitchen"))
    centre.daemon.end(SIGKILL)
    # The witness has seen it, so it was on the disk before.
    kept = {
        (key.device, entry["data"].get("change"))
        for key, entry in read_journal(centre.daemon.journal).items()
    }
    assert {("smoke-hall", "raised"), ("smoke-kitchen", "raised")} <= kept
    centre.daemon.start()
    centre.command("ack", "smoke-hall", "acknowledge", alarm=raised("smoke-hall")[0]["data"]["id"])
    eventually(lambda: (centre.daemon.health() or {}).get("uplinks", {}).get("uplink"))
    centre.command("ack", "smoke-hall", "acknowledge", alarm=raised("smoke-hall")[0]["data"]["id"])
    assert centre.reply("ack")["status"] == "done"
    centre.daemon.end(SIGKILL)

    lives(centre, seed=1, count=10)
    full_life(centre)
    counted = account(centre.daemon.journal, centre.witness)
    assert counted["kept"] > 10
    standing = alarms(centre.daemon.journal)
    assert {key: alarm.state for key, alarm in standing.items()} == {
        "smoke-hall/smoke": "acknowledged", "smoke-kitchen/smoke": "active",
    }  # fmt: skip
    assert len(set(map(str, raised("smoke-hall")))) == len(set(map(str, raised("smoke-kitchen")))) == 1


def test_killed_while_the_broker_is_away(centre: Centre) -> None:
    centre.do("smoke", unit=3, on=True)
    lives(centre, seed=2, count=5)
    centre.broker.start()
    centre.witness.start()
    full_life(centre)
    counted = account(centre.daemon.journal, centre.witness)
    assert counted["kept"] > 10
    assert centre.witness.find("smoke-activity", "alarm", change="raised")
