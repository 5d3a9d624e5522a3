"""The bench runs and prints the figures it promises; how good they are is not a test's business."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("subject", "positive", "counts"),
    [
        ("start", {"fresh_s", "again_s", "killed_s"}, set()),
        (
            "load",
            {
                "cpu_s_per_100k_points",
                "times_reference",
                "resident_mb",
                "pss_mb",
                "disk_bytes_per_1000_points",
                "syncs_per_1000_points",
                "telemetry_p50_ms",
                "telemetry_p99_ms",
            },
            {"missed_percent"},
        ),
        (
            "statistics",
            {
                "file_mb",
                "mb_per_door_and_year",
                "day_ms",
                "month_ms",
                "year_ms",
                "workbook_s",
                "facts_per_second",
                "written_mb_per_day",
            },
            set(),
        ),
        (
            "visitors",
            {
                "f1",
                "precision",
                "recall",
                "f1_worst",
                "f1_plain",
                "f1_plain_worst",
                "cpu_percent",
                "fps",
                "cpu_ms_per_frame",
                "pss_mb",
            },
            set(),
        ),
    ],
)
def test_a_subject_gives_its_figures(subject: str, positive: set[str], counts: set[str]) -> None:
    command = [sys.executable, "scripts/benchmarks", subject, "--quick", "--json"]
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    (name, figures), *others = json.loads(run.stdout.splitlines()[-1]).items()
    assert (name, others) == (subject, [])
    assert figures.keys() == positive | counts
    assert all(figures[key] > 0 for key in positive)
    assert all(figures[key] >= 0 for key in counts)
