"""Accuracy of visitor counting beside a simple counter (`plain.py`), and the cost of four cameras."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

from rig import OURS, ROOT, THEIRS, WORK, Rig, until
from subjects import Extent, Figures

LATE = 1.0
"""Seconds by which a crossing may be reported too early or too late."""
CAMERAS = 4
WATCHED = "overhead.children"
"""What each of the cameras sees."""
OTHERS = ("overhead.alone", "overhead.pairs", "overhead.row", "overhead.meet", "overhead.turnback",
          "overhead.linger", "overhead.run", "overhead.sunny", "overhead.switch", "overhead.night",
          "overhead.screen", "overhead.empty", "oblique.alone", "oblique.pairs",
          "oblique.crowd")  # fmt: skip
COUNTERS = {
    "linli": (sys.executable, "-m", "gateway.cli", "count-visitors"),
    "plain": (sys.executable, str(Path(__file__).with_name("plain.py"))),
}
SEED = 5


class Score(NamedTuple):
    """Crossings found, false and missed; CPU time in ms per frame of the file, and RSS in MB."""

    right: int = 0
    false: int = 0
    missed: int = 0
    cpu: float = 0.0
    resident: float = 0.0

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.false) if self.false else 1.0

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed) if self.missed else 1.0

    @property
    def f1(self) -> float:
        wrong = self.false + self.missed
        return 2 * self.right / (2 * self.right + wrong) if wrong else 1.0

    def __str__(self) -> str:
        numbers = f"{self.precision:5.2f} {self.recall:5.2f} {self.f1:5.2f}"
        return f"{numbers} {self.cpu:6.2f} {self.resident:5.0f}"

    @classmethod
    def whole(cls, scores: Iterable[Self]) -> Self:
        """Adds up crossings, averages times, and takes the maximum of memory."""
        right, false, missed, cpu, resident = zip(*scores, strict=True)
        return cls(sum(right), sum(false), sum(missed), sum(cpu) / len(cpu), max(resident))


def visitors(extent: Extent) -> Figures:
    """Both counters over all clips, then four cameras at once."""
    rendered = WORK / "scenes"
    _render(rendered, [WATCHED])
    if not extent.videos and extent.part == 1:
        _render(rendered, OTHERS)
    quick = f"{WATCHED}.json" if extent.part < 1 and not extent.videos else "*.json"
    truths = sorted((extent.videos or rendered).rglob(quick))
    if not truths:
        sys.exit(f"{extent.videos}: 没有真值文件 · no truth files (*.json)")
    scores: dict[str, list[Score]] = {name: [] for name in COUNTERS}
    heads = (f" | {name:6} P     R    F1  ms/f    MB" for name in COUNTERS)
    print(f"\n{'':40}", *heads, sep="")
    for file in truths:
        truth = json.loads(file.read_text(encoding="utf-8"))
        for name, command in COUNTERS.items():
            scores[name].append(_count(command, file.with_name(truth["video"]), truth))
        _row(file.stem, (scores[name][-1] for name in COUNTERS))
    whole = {name: Score.whole(of) for name, of in scores.items()}
    _row("全部 · all", whole.values())
    ours = whole["linli"]
    return {
        "f1": ours.f1,
        "precision": ours.precision,
        "recall": ours.recall,
        "f1_worst": min(score.f1 for score in scores["linli"]),
        "f1_plain": whole["plain"].f1,
        "f1_plain_worst": min(score.f1 for score in scores["plain"]),
        **_cameras(rendered, extent),
    }


def _row(name: str, scores: Iterable[Score]) -> None:
    print(f"{name:40}", *(f" |   {score}" for score in scores), sep="", flush=True)


def _render(folder: Path, names: Iterable[str]) -> None:
    """The clips that do not exist, or are older than the code that renders them."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = max(file.stat().st_mtime for file in (ROOT / "tests/drivers/camera").glob("*.py"))
    files = {name: folder / f"{name}.json" for name in names}
    names = [name for name, file in files.items() if not file.exists() or file.stat().st_mtime < drawn]
    if names:
        command = [sys.executable, "-m", "tests.drivers.camera.situations", folder, str(SEED), *names]
        subprocess.run(command, cwd=ROOT, check=True)


def _count(command: Iterable[str], video: Path, truth: dict[str, Any]) -> Score:
    """Run a counter over a clip."""
    line = ",".join(str(number) for point in truth["line"] for number in point)
    person = ",".join(map(str, truth["person_box"]))
    view = "oblique" if "oblique" in truth["view"] else "overhead"
    argv = [*command, str(video), f"--line={line}", f"--person={person}", f"--view={view}"]
    os.sched_setaffinity(0, THEIRS)
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        os.sched_setaffinity(0, OURS)
        assert child.stdout
        told = [json.loads(line) for line in child.stdout]
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, argv)
    right, false, missed = 0, 0, 0
    for way in ("in", "out"):
        times = sorted(event["t"] for event in told if event["direction"] == way)
        true = sorted(event["t"] for event in truth["events"] if event["direction"] == way)
        extra = []
        # The earliest first: all windows are as long, so no other pairing finds more.
        for t in times:
            while true and true[0] < t - LATE:
                missed += bool(true.pop(0))
            if true and true[0] <= t + LATE:
                right += bool(true.pop(0))
            else:
                extra.append(t)
        missed += len(true)
        false += sum(not any(w["start"] <= t <= w["end"] for w in truth["ignore"]) for t in extra)
    cpu = 1000 * (usage.ru_utime + usage.ru_stime) / truth["frames"]
    return Score(right, false, missed, cpu, usage.ru_maxrss / 1024)


def _cameras(rendered: Path, extent: Extent) -> Figures:
    """The daemon with four cameras straight down, each 640 × 360 and 15 frames a second, at that pace."""
    with Rig("visitors") as rig:
        witness = rig.broker()
        site = rig.site([], devices=0)
        file = rendered / f"{WATCHED}.mp4"
        truth = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        with site.open("a") as text:
            for number in range(CAMERAS):
                # Two lines cannot be one file.
                camera = rig.directory / f"{number}.mp4"
                camera.symlink_to(file)
                text.write(
                    f'[bus.c{number}]\ndriver = "camera"\nurl = "{camera}"\nview = "overhead"\n'
                    f'[device.c{number}]\nprofile = "door-counter/camera-line"\nevery = 1.0\n'
                    f'bus = "c{number}"\n'
                    f"line = {[*truth['line'][0], *truth['line'][1]]}\nperson = {truth['person_box']}\n"
                )
        daemon = rig.enter_context(rig.daemon(site))
        # The one from which the four are forked is the daemon's child.
        until(lambda: len(daemon.below()) == 1 + CAMERAS)
        time.sleep(4)
        processes = daemon.below()
        told = len(witness.samples)
        before, began = sum(process.cpu() for process in processes), time.monotonic()
        time.sleep(20 * extent.part)
        used, seconds = sum(process.cpu() for process in processes) - before, time.monotonic() - began
        memory = sum(process.proportional() for process in processes)
        values = [sample.data["values"] for sample in witness.samples[told:]]
    fps = statistics.mean(said["fps"] for said in values if "fps" in said)
    return {
        "cpu_percent": 100 * used / seconds,
        "fps": fps,
        "cpu_ms_per_frame": 1000 * used / seconds / (fps * CAMERAS),
        "pss_mb": memory,
    }
