"""Measure the subjects and print a table; with --json also one JSON object, as the last line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from unicodedata import east_asian_width

from dashboard import dashboard
from field import FIELD
from figures import FIGURES
from overload import overload
from receiver import receiver
from rig import OTHER_CORES
from subjects import GATEWAY, Figures, Workload
from visitors import visitors
from years import YEARLY

SUBJECTS = {
    **GATEWAY,
    **FIELD,
    **YEARLY,
    "dashboard": dashboard,
    "overload": overload,
    "receiver": receiver,
    "visitors": visitors,
}


def main() -> None:
    parser = argparse.ArgumentParser("scripts/bench", description="测量网关 · measure the gateway")
    parser.add_argument("subject", nargs="*", choices=[*SUBJECTS, []], help="不写则全部 · all unless named")
    parser.add_argument("--json", action="store_true", help="末行为 JSON · the last line is JSON")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="只看能否运行 · only to see that it runs")
    size.add_argument(
        "--full",
        action="store_true",
        help="积压五百万点（平时一百万）· a backlog of five million points, else one",
    )
    parser.add_argument(
        "--videos",
        type=Path,
        metavar="DIR",
        help="visitors：用此文件夹中的视频及真值 · visitors: the videos in this folder and their truth",
    )
    options = parser.parse_args()
    usual = Workload(backlog=5_000_000) if options.full else Workload()
    workload = Workload(0.1, 10_000, 4_000) if options.quick else usual
    workload.videos = options.videos and options.videos.absolute()
    os.sched_setaffinity(0, OTHER_CORES)
    measured: dict[str, Figures] = {}
    for name in options.subject or SUBJECTS:
        began = time.monotonic()
        measured[name] = SUBJECTS[name](workload)
        print(f"\n{name}  ({time.monotonic() - began:.0f} s)")
        _print(name, measured[name])
    print(f"\n{platform.machine()}, {os.cpu_count()} × CPU, Python {platform.python_version()}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    if options.json:
        rounded = {
            name: {key: float(f"{value:.4g}") for key, value in figures.items()}
            for name, figures in measured.items()
        }
        print(json.dumps(rounded))


def _print(subject: str, measured: Figures) -> None:
    for key, figure in FIGURES[subject].items():
        value = measured[key]
        number = f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"
        mark = {None: "", True: "✓", False: "✗"}[figure.meets_target(value)]
        name = f"{figure.zh} · {figure.en}"
        cells = f"{number:>9} {figure.unit:<3} {figure.target:>8} {mark}"
        print(f"  {name}{' ' * (78 - _width(name))}{cells}".rstrip(), flush=True)


def _width(text: str) -> int:
    """Columns on a terminal: a Chinese character takes two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


if __name__ == "__main__":
    main()
