"""What an operator of many centres loads into Prometheus and Grafana, tried with Prometheus' own tool."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.conftest import Centre

CONFIG = Path(__file__).parents[3] / "config"
RULES, DASHBOARD = CONFIG / "prometheus" / "linli.rules.yml", CONFIG / "grafana" / "linli.json"
METRIC = re.compile(r"\blinli_\w+")


def promtool(*arguments: object) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("check", "rules", RULES)
    promtool("test", "rules", Path(__file__).with_name("alerts.test.yml"))


def test_every_panel_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = "".join(
        f"    - record: panel_{n}\n      expr: {json.dumps(e)}\n" for n, e in enumerate(expressions())
    )
    file = tmp_path / "panels.yml"
    file.write_text(f"groups:\n- name: panels\n  rules:\n{rules}", "utf-8")
    promtool("check", "rules", file)


def test_what_they_ask_for_is_what_the_gateway_measures(running: Centre) -> None:
    _, body = running.daemon.get("metrics")
    measured = {
        sample.name for family in text_string_to_metric_families(body.decode()) for sample in family.samples
    }
    asked = {name for text in (*expressions(), RULES.read_text("utf-8")) for name in METRIC.findall(text)}
    assert asked <= measured


def test_no_two_panels_lie_on_one_another() -> None:
    taken = [
        (x, y)
        for panel in panels()
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels()}) == len(panels())
