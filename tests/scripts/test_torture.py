"""A short torture, and proof that its oracle can say no."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "nemesis"


@pytest.mark.timeout(120)
def test_nothing_is_lost_twice_or_out_of_order(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS, "--seed", "7", "--minutes", "0.25", "--json",
         "--plan", "kill,freeze,broker-restarted,kill-at-stage+deaf"],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["passed"], result
    assert result["faults"] == 5
    assert result["kills"] >= 2
    assert result["alarms"] > 10
    assert result["accepted"] > 100
    zeros = ("lost", "duplicated", "reordered", "contradicted", "crashes", "unrecovered")
    assert {key: result[key] for key in zeros} == dict.fromkeys(zeros, 0)


def envelope(*records: dict[str, object], lane: str = "telemetry") -> bytes:
    return msgspec.json.encode({"epoch": "e", "device": "d", "lane": lane, "records": records})


def sample(seq: int, stamp: int) -> dict[str, object]:
    data = {"quality": "good", "values": {"stamp": stamp}}
    return {"seq": seq, "kind": "sample", "mono": stamp, "boot": "b", "data": data}


def gap(seq: int, first: int, last: int, reason: str) -> dict[str, object]:
    data = {"lane": "telemetry", "first": first, "last": last, "count": 1, "reason": reason}
    return {"seq": seq, "kind": "gap", "mono": seq, "boot": "b", "data": data}


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from oracle import Oracle  # noqa: PLC0415

    return Oracle(Path("nowhere"), Path("nowhere"))


def verdict(oracle, held=None):  # type: ignore[no-untyped-def]
    judged = oracle.evaluate(held or {})
    return {key: judged[key] for key in ("lost", "duplicated", "reordered", "contradicted") if judged[key]}


def test_the_oracle_is_content_with_what_is_whole(oracle) -> None:  # type: ignore[no-untyped-def]
    oracle.receive(envelope(sample(1, 10), sample(2, 20)))
    oracle.receive(envelope(sample(2, 20)))
    oracle.receive(envelope(sample(5, 50)))
    oracle.receive(envelope(gap(1, 3, 4, "restart"), lane="event"))
    assert verdict(oracle) == {}
    assert oracle.repeated == 1


def test_the_oracle_sees_every_kind_of_fault(oracle) -> None:  # type: ignore[no-untyped-def]
    oracle.receive(envelope(sample(1, 10), sample(3, 30)))
    assert verdict(oracle) == {"lost": 1}
    oracle.receive(envelope(sample(2, 20)))
    assert verdict(oracle) == {"reordered": 1}
    oracle.receive(envelope(sample(3, 31)))
    assert verdict(oracle) == {"reordered": 1, "contradicted": 1}
    oracle.receive(envelope(sample(4, 30)))
    assert verdict(oracle)["duplicated"] == 1


@pytest.mark.parametrize(("reason", "lost"), [("restart", 1), ("disk", 1), ("space", 0), ("damaged", 0)])
def test_a_committed_record_needs_a_reason_to_be_missing(  # type: ignore[no-untyped-def]
    oracle, reason: str, lost: int
) -> None:
    oracle.receive(envelope(sample(1, 10), sample(3, 30)))
    oracle.receive(envelope(gap(1, 2, 2, reason), lane="event"))
    oracle.committed = {("d", "telemetry"): {2: 0}}
    assert verdict(oracle).get("lost", 0) == lost
    assert verdict(oracle, {("d", "telemetry"): {2}}) == {}
