"""Accuracy of the visitor counter, compared with a simple one (`plain.py`), and the cost of four
cameras."""

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

from rig import DAEMON_CORES, OTHER_CORES, ROOT, WORK_DIRECTORY, Rig, wait_until
from subjects import Figures, Workload

MAX_TIME_ERROR_S = 1.0
"""How much earlier or later than the truth a crossing may be reported."""
CAMERA_COUNT = 4
CAMERA_SCENE = "overhead.children"
"""The video of each camera."""
OTHER_SCENES = ("overhead.alone", "overhead.pairs", "overhead.row", "overhead.meet", "overhead.turnback",
          "overhead.linger", "overhead.run", "overhead.sunny", "overhead.switch", "overhead.night",
          "overhead.screen", "overhead.empty", "oblique.alone", "oblique.pairs",
          "oblique.crowd")  # fmt: skip
COUNTERS = {
    "linli": (sys.executable, "-m", "gateway.cli", "count-visitors"),
    "plain": (sys.executable, str(Path(__file__).with_name("plain.py"))),
}
SEED = 5


class Score(NamedTuple):
    """Crossings found, reported wrongly, and missed; CPU time per frame in ms, and RSS in MB."""

    right: int = 0
    false: int = 0
    missed: int = 0
    cpu_ms: float = 0.0
    resident_mb: float = 0.0

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
        return f"{numbers} {self.cpu_ms:6.2f} {self.resident_mb:5.0f}"

    @classmethod
    def combine(cls, scores: Iterable[Self]) -> Self:
        """The sums of the crossings, the mean CPU time, and the largest memory."""
        right, false, missed, cpu, resident = zip(*scores, strict=True)
        return cls(sum(right), sum(false), sum(missed), sum(cpu) / len(cpu), max(resident))


def visitors(workload: Workload) -> Figures:
    """Run both counters on all clips, then four cameras at the same time."""
    rendered = WORK_DIRECTORY / "scenes"
    _render(rendered, [CAMERA_SCENE])
    if not workload.videos and workload.time_factor == 1:
        _render(rendered, OTHER_SCENES)
    quick = f"{CAMERA_SCENE}.json" if workload.time_factor < 1 and not workload.videos else "*.json"
    truths = sorted((workload.videos or rendered).rglob(quick))
    if not truths:
        sys.exit(f"{workload.videos}: 没有真值文件 · no truth files (*.json)")
    scores: dict[str, list[Score]] = {name: [] for name in COUNTERS}
    heads = (f" | {name:6} P     R    F1  ms/f    MB" for name in COUNTERS)
    print(f"\n{'':40}", *heads, sep="")
    for file in truths:
        truth = json.loads(file.read_text(encoding="utf-8"))
        for name, command in COUNTERS.items():
            scores[name].append(_run_counter(command, file.with_name(truth["video"]), truth))
        _print_row(file.stem, (scores[name][-1] for name in COUNTERS))
    whole = {name: Score.combine(of) for name, of in scores.items()}
    _print_row("全部 · all", whole.values())
    ours = whole["linli"]
    return {
        "f1": ours.f1,
        "precision": ours.precision,
        "recall": ours.recall,
        "f1_worst": min(score.f1 for score in scores["linli"]),
        "f1_plain": whole["plain"].f1,
        "f1_plain_worst": min(score.f1 for score in scores["plain"]),
        **_four_cameras(rendered, workload),
    }


def _print_row(name: str, scores: Iterable[Score]) -> None:
    print(f"{name:40}", *(f" |   {score}" for score in scores), sep="", flush=True)


def _render(folder: Path, names: Iterable[str]) -> None:
    """Render the scenes that are missing, or older than the code that draws them."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = max(file.stat().st_mtime for file in (ROOT / "tests/drivers/camera").glob("*.py"))
    files = {name: folder / f"{name}.json" for name in names}
    names = [name for name, file in files.items() if not file.exists() or file.stat().st_mtime < drawn]
    if names:
        command = [sys.executable, "-m", "tests.drivers.camera.situations", folder, str(SEED), *names]
        subprocess.run(command, cwd=ROOT, check=True)


def _run_counter(command: Iterable[str], video: Path, truth: dict[str, Any]) -> Score:
    """Run a counter over a clip."""
    line = ",".join(str(number) for point in truth["line"] for number in point)
    person = ",".join(map(str, truth["person_box"]))
    view = "oblique" if "oblique" in truth["view"] else "overhead"
    argv = [*command, str(video), f"--line={line}", f"--person={person}", f"--view={view}"]
    os.sched_setaffinity(0, DAEMON_CORES)
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        os.sched_setaffinity(0, OTHER_CORES)
        assert child.stdout
        events = [json.loads(line) for line in child.stdout]
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, argv)
    right, false, missed = 0, 0, 0
    for way in ("in", "out"):
        times = sorted(event["t"] for event in events if event["direction"] == way)
        true = sorted(event["t"] for event in truth["events"] if event["direction"] == way)
        extra = []
        # Match in order of time: all windows have the same length, so no other matching finds more.
        for t in times:
            while true and true[0] < t - MAX_TIME_ERROR_S:
                missed += bool(true.pop(0))
            if true and true[0] <= t + MAX_TIME_ERROR_S:
                right += bool(true.pop(0))
            else:
                extra.append(t)
        missed += len(true)
        false += sum(not any(w["start"] <= t <= w["end"] for w in truth["ignore"]) for t in extra)
    cpu = 1000 * (usage.ru_utime + usage.ru_stime) / truth["frames"]
    return Score(right, false, missed, cpu, usage.ru_maxrss / 1024)


def _four_cameras(rendered: Path, workload: Workload) -> Figures:
    """The daemon with four overhead cameras, each 640 × 360 at 15 frames per second, in real time."""
    with Rig("visitors") as rig:
        recorder = rig.start_broker()
        site = rig.write_site([], devices=0)
        file = rendered / f"{CAMERA_SCENE}.mp4"
        truth = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        with site.open("a") as text:
            for number in range(CAMERA_COUNT):
                # Two buses cannot use the same file.
                camera = rig.directory / f"{number}.mp4"
                camera.symlink_to(file)
                text.write(
                    f'[bus.c{number}]\ndriver = "camera"\nurl = "{camera}"\nview = "overhead"\n'
                    f'[device.c{number}]\nprofile = "door-counter/camera-line"\nevery = 1.0\n'
                    f'bus = "c{number}"\n'
                    f"line = {[*truth['line'][0], *truth['line'][1]]}\nperson = {truth['person_box']}\n"
                )
        daemon = rig.enter_context(rig.run_daemon(site))
        # The daemon's child is the zygote, which forks the four.
        wait_until(lambda: len(daemon.descendants()) == 1 + CAMERA_COUNT)
        time.sleep(4)
        processes = daemon.descendants()
        events = len(recorder.samples)
        before, began = sum(process.cpu() for process in processes), time.monotonic()
        time.sleep(20 * workload.time_factor)
        used, seconds = sum(process.cpu() for process in processes) - before, time.monotonic() - began
        memory = sum(process.proportional_mb() for process in processes)
        values = [sample.data["values"] for sample in recorder.samples[events:]]
    fps = statistics.mean(read_values["fps"] for read_values in values if "fps" in read_values)
    return {
        "cpu_percent": 100 * used / seconds,
        "fps": fps,
        "cpu_ms_per_frame": 1000 * used / seconds / (fps * CAMERA_COUNT),
        "pss_mb": memory,
    }
