from __future__ import annotations

import itertools
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest

from tests.gateway.conftest import Centre
from tests.gateway.ledger import account, pending, read_journal
from tests.gateway.simulate.conftest import eventually


@pytest.mark.timeout(150)
def test_nothing_is_lost_while_the_broker_is_away(centre: Centre) -> None:
    """Absent at boot, and killed in the middle; it keeps nothing, and the witness sees all."""
    centre.daemon.start()
    eventually(lambda: (centre.daemon.health() or {}).get("buses", {}).get("rs485"))
    centre.do("smoke", unit=1, on=True)
    eventually(lambda: ("smoke-hall", "alarm") in {key[1:3] for key in read_journal(centre.daemon.journal)})
    # Held while the witness subscribes: this broker knows no session, so what came before would be unseen.
    centre.daemon.send(SIGSTOP)
    centre.broker.start()
    centre.witness.start()
    centre.daemon.send(SIGCONT)
    # However long the broker was away by now, the next attempt is at most 45 s off.
    eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="raised"), 50)
    eventually(lambda: (centre.daemon.health() or {}).get("uplinks", {}).get("uplink"))

    centre.broker.end(SIGKILL)
    centre.witness.end()
    eventually(lambda: not (centre.daemon.health() or {}).get("uplinks", {}).get("uplink"))
    before = len(read_journal(centre.daemon.journal))
    centre.do("smoke", unit=1, on=False)
    eventually(lambda: len(read_journal(centre.daemon.journal)) > before + 60)
    centre.daemon.send(SIGSTOP)
    centre.broker.start()
    centre.witness.start()
    centre.daemon.send(SIGCONT)
    eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="cleared"))
    eventually(lambda: len(centre.witness.find("uplink", "event", online=True)) == 2)
    _end_delivered(centre)
    counted = account(centre.daemon.journal, centre.witness)
    assert counted["missing"] == 0
    assert counted["kept"] > 60
    status = [body for topic, body in centre.witness.messages() if topic == "linli/v1/demo/status"]
    assert status[-1] == {"online": False}


def _end_delivered(centre: Centre) -> None:
    """End the gateway in order, once what was kept has been acknowledged, up to the last second."""
    eventually(lambda: pending(centre.daemon.journal) < 40)
    assert centre.daemon.end() == 0


def test_a_broker_that_falls_silent_is_found_out(centre: Centre) -> None:
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: centre.witness.latest("smoke-hall"))
    centre.broker.send(SIGSTOP)
    try:
        eventually(lambda: "MQTT 服务器已 10 秒未确认任何消息" in log(centre), 20)
        centre.do("smoke", unit=1, on=True)
    finally:
        centre.broker.send(SIGCONT)
    eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="raised"), 25)
    _end_delivered(centre)
    assert account(centre.daemon.journal, centre.witness)["missing"] == 0


def _back(centre: Centre, ups: int) -> None:
    eventually(lambda: log(centre).count("uplink-up") > ups)


def log(centre: Centre) -> str:
    return centre.daemon.log.read_text("utf-8")


def test_what_only_the_platform_lacks_stops_nothing(centre: Centre) -> None:
    """A password file that is not there is read again at each attempt."""
    secret = centre.daemon.folder / "password"
    text = centre.daemon.site.read_text("utf-8")
    more = f'client_id = "linli-demo"\nusername = "u"\npassword_file = "{secret}"'
    centre.daemon.site.write_text(text.replace('client_id = "linli-demo"', more), "utf-8")
    centre.broker.start()
    centre.daemon.start()
    eventually(lambda: "uplink-down" in log(centre))
    assert "password" in log(centre)
    eventually(lambda: (centre.daemon.health() or {}).get("buses", {}).get("hall"))
    secret.touch(0o600)
    secret.write_text("secret")
    eventually(lambda: (centre.daemon.health() or {}).get("uplinks", {}).get("uplink"), 20)
    assert centre.daemon.end() == 0


def test_two_with_one_name_do_not_chase_each_other_for_ever(centre: Centre) -> None:
    """A broker drops the older of two clients with one id; the gateway is slower to return each time."""
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: (centre.daemon.health() or {}).get("uplinks", {}).get("uplink"))
    for _ in range(6):
        ups = log(centre).count("uplink-up")
        # Whoever connects with its name takes the gateway's place.
        centre.broker.publish("probe", "{}", "-i", "linli-demo")
        _back(centre, ups)
    said = eventually(lambda: _seven(centre))
    # Half a second at first; after three brief connections doubled each time, less up to half of it.
    assert max((b["mono"] - a["mono"]) / 1e9 for a, b in itertools.pairwise(said)) > 0.9


def _seven(centre: Centre) -> list[dict[str, Any]]:
    """The reports of seven connections, repetitions left out."""
    found = centre.witness.find("uplink", "telemetry", quality="good")
    said = {entry["seq"]: entry for entry in found}
    return [said[seq] for seq in sorted(said)] if len(said) >= 7 else []
