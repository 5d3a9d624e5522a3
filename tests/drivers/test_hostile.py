"""Slaves that lie: late, doubled, broken and foreign replies, on serial lines and on TCP, in a process of
their own. What they are and do is in scripts/benchmarks/hostile_slaves.py."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_value_is_ever_taken_for_anothers() -> None:
    command = [sys.executable, "scripts/benchmarks", "hostile", "--quick", "--json"]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(run.stdout.splitlines()[-1])["hostile"]
    assert figures["misattributed"] == 0
    assert figures["transactions"] >= 4000
    assert figures["readings"] > 0.5 * figures["polls"]
    # Each kind of lie was told, and who believes everything reads wrong values.
    assert all(count > 0 for name, count in figures.items() if name.startswith("lie_"))
    assert figures["misattributed_reference"] > 0
