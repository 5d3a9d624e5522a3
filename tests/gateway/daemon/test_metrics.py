from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.base import control
from gateway.config import figures_of, load_site
from tests.gateway.conftest import Centre
from tests.gateway.simulate.conftest import eventually
from tests.gateway.sites import HEAD
from tests.ports import free_port

LABELS = {
    "uplink": {"uplink"},
    "bus": {"hall", "rs485", "lockers", "zigbee"},
    "lane": {"alarm", "event", "telemetry"},
    "state": {"online", "offline", "not-heard"},
}
"""All that a label may be: neither a device's nor a stranger's words."""


def test_the_figures_are_as_prometheus_wants_them(running: Centre) -> None:
    eventually(lambda: running.witness.latest("fridge-1"))
    figures = figures_of(load_site(running.daemon.site).parts)
    labels = LABELS | {"service": {*figures}, "figure": {name for own in figures.values() for name in own}}
    status, body = running.daemon.get("metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    own = {name: family for name, family in families.items() if not name.startswith("process_")}
    assert len(own) >= 10
    for name, family in own.items():
        assert re.fullmatch(r"linli_[a-z_]+", name)
        assert family.documentation.endswith(".")
        if family.type == "histogram":
            assert name.endswith("_seconds")
            continue
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert not re.search(r"_(ms|minutes|hours|kb|mb|percent)(_|$)", sample.name)
            for label, value in sample.labels.items():
                assert value in labels[label]
    assert [sample.value for sample in own["linli_uplink_up"].samples] == [1.0]
    sent = {s.labels["lane"]: s.value for s in own["linli_uplink_messages"].samples}
    assert sent["telemetry"] > 10
    shown = {(s.labels["service"], s.labels["figure"]): s.value for s in own["linli_figure"].samples}
    assert shown["parking", "total"] > 0
    turns = {s.labels.get("le"): s.value for s in own["linli_loop_lag_seconds"].samples}
    assert turns["+Inf"] > 10
    assert own["linli_loop_lag_worst_seconds"].samples[0].value >= 0
    assert own["linli_loop_idle_seconds"].samples[0].value > 0
    assert own["linli_poll_stretch"].samples[0].value >= 1
    states = [s.value for s in own["linli_devices"].samples]
    assert sum(states) == len(load_site(running.daemon.site).devices)
    polls = {s.labels["bus"]: s.value for s in own["linli_polls"].samples}
    assert all(count > 0 for count in polls.values())


def test_health(running: Centre) -> None:
    eventually(lambda: (running.daemon.health() or {}).get("uplinks", {}).get("uplink"))
    assert running.daemon.get("healthz")[0] == 200
    health = running.daemon.health()
    assert health
    assert (health["ok"], health["journal"]) == (True, "ok")
    assert health["buses"] == dict.fromkeys(LABELS["bus"], True)
    assert sum(health["devices"].values()) == len(load_site(running.daemon.site).devices)
    assert health["devices"].keys() == LABELS["state"]
    assert running.daemon.get("elsewhere")[0] == 404


def test_a_taken_port_costs_the_figures_alone(centre: Centre) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = centre.daemon.site.read_text("utf-8")
        centre.daemon.site.write_text(text.replace(str(centre.daemon.metrics_port), str(port)), "utf-8")
        centre.broker.start()
        centre.witness.start()
        centre.daemon.start()
        eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
        assert "port-taken" in centre.daemon.log.read_text("utf-8")
        assert centre.daemon.end() == 0


DOOR = """
[bus.cameras]
driver = "http_push"
listen = "127.0.0.1:{push}"
secret_file = "{folder}/token"

[device.door]
profile = "door-counter/hikvision-push"
bus = "cameras"
path = "/door"
every = 60

[bus.panels]
driver = "gb26875"
listen = "127.0.0.1:{panels}"
connections = 500
"""


@pytest.mark.parametrize("flooded", ["metrics", "push", "panels"])
def test_more_connections_than_descriptors_end_nothing(tmp_path: Path, flooded: str) -> None:
    """Half requests, until the process has almost no descriptors left; everybody else is answered."""
    ports = {"metrics": free_port(), "push": free_port(), "web": free_port(), "panels": free_port()}
    site, log, token = tmp_path / "site.toml", tmp_path / "log.txt", tmp_path / "token"
    token.write_text("correct-horse-battery")
    token.chmod(0o600)
    site.write_text((HEAD + DOOR).format(folder=tmp_path, **ports))

    def get(name: str, path: str, **headers: str) -> int | None:
        with contextlib.closing(HTTPConnection("127.0.0.1", ports[name], timeout=5)) as client:
            try:
                client.request("GET", path, headers=headers)
                return client.getresponse().status
            except OSError:
                return None

    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [
                "sh",
                "-c",
                'ulimit -n 60; exec "$0" -W error -m gateway.cli run --config "$1"',
                sys.executable,
                site,
            ],
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: get("metrics", "/healthz") == 200)
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", ports[flooded])))
                client.sendall(b"GET /metrics HTTP/1.1\r\n")
            eventually(lambda: get("metrics", "/metrics") == 200)
            eventually(lambda: get("push", "/door", authorization="Bearer correct-horse-battery") == 405)
            call = control.call_daemon(tmp_path / "control.sock", "health")
            assert asyncio.run(call)["ok"] is True
        eventually(lambda: get("metrics", "/healthz") == 200)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
    finally:
        daemon.kill()
    assert log.stat().st_size < 10_000
