from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from gateway.simulate.fridge import TOPIC
from tests.gateway.simulate.conftest import Simulator, mosquitto
from tests.ports import free_port


def hear(port: int, *options: str) -> str:
    """What Debian's client hears on the topic."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", *options]
    return subprocess.run(
        [*command, "-t", TOPIC], capture_output=True, text=True, check=False, timeout=30
    ).stdout


def test_the_fridge_speaks_as_soon_as_there_is_a_broker(
    simulate: Callable[..., Simulator], tmp_path: Path
) -> None:
    port = free_port()
    sim = simulate("--broker", f"127.0.0.1:{port}")
    sim.do("fridge?temperature=9")
    with mosquitto(tmp_path, port):
        heard = hear(port, "-C", "1", "-W", "20", "-F", "%q %r %p")
    qos, retained, payload = heard.split(" ", 2)
    assert (qos, retained) == ("1", "0")
    assert json.loads(payload) == {"temperature": 9.0, **known(payload), "battery": 93}


def known(payload: str) -> dict[str, int]:
    humidity = json.loads(payload)["humidity"]
    assert 50 <= humidity <= 70
    return {"humidity": humidity}


def test_a_dead_fridge_is_silent(simulate: Callable[..., Simulator], tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port):
        sim = simulate("--broker", f"127.0.0.1:{port}")
        assert hear(port, "-C", "1", "-W", "15")
        sim.do("dead?wire=mqtt&on=1")
        assert hear(port, "-C", "1", "-W", "5") == ""
        sim.do("dead?wire=mqtt&on=0")
        assert hear(port, "-C", "1", "-W", "15")
