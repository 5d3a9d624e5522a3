from __future__ import annotations

import re
import socket

from prometheus_client.parser import text_string_to_metric_families

from gateway.config import figures_of, load_site
from tests.gateway.conftest import Centre
from tests.gateway.simulate.conftest import eventually

LABELS = {
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
    states = [s.value for s in own["linli_devices"].samples]
    assert sum(states) == len(load_site(running.daemon.site).devices)
    polls = {s.labels["bus"]: s.value for s in own["linli_polls"].samples}
    assert all(count > 0 for count in polls.values())


def test_health(running: Centre) -> None:
    eventually(lambda: (running.daemon.health() or {}).get("uplink"))
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
