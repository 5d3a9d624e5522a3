"""What people do at a door: a catalogue of scenes by name, each drawn anew from a seed.

A name is a view ("overhead" or "oblique"), a full stop and a situation.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from tests.drivers.camera.picture import Camera
from tests.drivers.camera.scenes import Door, Patch, Path3, Scene, Sun, Walker, walk


@dataclass
class Draft:
    """A scene in the making.

    In metres, `reach` is how far from the line a walker is out of the picture, and `wide` how far along the
    line they may walk.
    """

    scene: Scene
    random: Generator
    reach: float
    wide: float

    def person(self, path: Path3, size: float = 0.0, load: str = "") -> None:
        random = self.random
        size = size or float(random.normal(1, 0.05))
        seed, dull = int(random.integers(2**31)), bool(random.random() < 0.15)
        self.scene.people.append(Walker(path, size, load, dull, seed))
        self.scene.seconds = math.ceil(max(self.scene.seconds, path[-1][0] + 2))

    def way(self) -> int:
        """In (1) or out (-1)."""
        return int(self.random.choice((-1, 1)))

    def along(self, part: float = 1.0) -> float:
        return float(self.random.uniform(-self.wide, self.wide) * part)

    def pace(self) -> float:
        return float(self.random.uniform(0.9, 1.6))

    def cross(
        self, start: float, way: int, along: float, load: str = "", size: float = 0.0, pace: float = 0.0
    ) -> float:
        """Somebody walks across the picture; return when they are out of it."""
        drift = self.random.uniform(-0.2, 0.2)
        ends = (-way * self.reach, along - drift), (way * self.reach, along + drift)
        path = walk(start, *ends, speed=pace or self.pace())
        self.person(path, size, load)
        return path[-1][0]


def alone(draft: Draft) -> None:
    now = 2.0
    for _ in range(5):
        now = draft.cross(now, draft.way(), draft.along()) + draft.random.uniform(0, 2)


def pairs(draft: Draft) -> None:
    """Side by side, arm in arm or a little apart."""
    now = 2.0
    for _ in range(4):
        way, pace, apart = draft.way(), draft.pace(), draft.random.uniform(0.42, 0.65)
        draft.cross(now, way, -apart / 2, pace=pace)
        now = draft.cross(now + draft.random.uniform(0, 0.2), way, apart / 2, pace=pace) + 1


def row(draft: Draft) -> None:
    """One close behind the other."""
    now = 2.0
    for count in (2, 3, 4):
        way, along = draft.way(), draft.along(0.6)
        for _ in range(count):
            end = draft.cross(now, way, along, pace=1.1)
            now += draft.random.uniform(0.75, 1.1) / 1.1
        now = end + 1


def meet(draft: Draft) -> None:
    """Two who come from opposite sides and pass each other on the line."""
    now = 2.0
    for _ in range(4):
        draft.cross(now, 1, 0.35, pace=1.2)
        now = draft.cross(now + draft.random.uniform(-0.2, 0.2), -1, -0.35, pace=1.2) + 1


def turnback(draft: Draft) -> None:
    """They come up to the line and go back; others cross."""
    now = 2.0
    for short in (0.45, 0.6, 0.4):
        way, along = draft.way(), draft.along(0.6)
        out = (-way * draft.reach, along)
        path = walk(now, out, (-way * short, along), 1.0, out)
        draft.person(path)
        now = draft.cross(path[-1][0] + 1, draft.way(), draft.along()) + 1


def linger(draft: Draft) -> None:
    """They stand on the line and go on, while others pass."""
    now = 2.0
    for _ in range(3):
        way, along = draft.way(), draft.wide * 0.6
        stop = (-way * 0.05, along)
        path = walk(now, (-way * draft.reach, along), stop, 7.0, (way * draft.reach, along))
        draft.person(path)
        draft.cross(path[2][0] - 4, draft.way(), -draft.wide * 0.5)
        now = path[-1][0] + 1


def stand(draft: Draft) -> None:
    """A minute near the line, then on over it; another walks past meanwhile."""
    near = (-0.9, 0.3 * draft.wide)
    draft.person(walk(2, (-draft.reach, 0.0), near, 60.0, (draft.reach, 0.0)))
    draft.cross(25, 1, -draft.wide * 0.6)
    draft.cross(45, -1, -draft.wide * 0.6)
    draft.person(walk(30, (draft.reach, 0.0), (1.1, 0.5 * draft.wide), 30.0, (draft.reach, 0.3)))


def run(draft: Draft) -> None:
    now = 2.0
    for _ in range(6):
        now = draft.cross(now, draft.way(), draft.along(), pace=draft.random.uniform(2.5, 4)) + 1.5


def children(draft: Draft) -> None:
    """Alone, hand in hand with an adult, and three abreast."""
    now = draft.cross(2, 1, draft.along(), size=0.65) + 1
    for way in (1, -1):
        draft.cross(now, way, -0.25, pace=0.9)
        now = draft.cross(now, way, 0.25, size=0.62, pace=0.9) + 1
    for along in (-0.7, 0, 0.7):
        end = draft.cross(now + draft.random.uniform(0, 0.4), -1, along, size=0.72, pace=1.4)
    draft.cross(end + 0.5, 1, draft.along(), size=0.7, pace=2.4)


def loads(draft: Draft) -> None:
    now = 2.0
    for load in ("trolley", "suitcase", "pram", "suitcase", "trolley"):
        now = draft.cross(now, draft.way(), draft.along(0.6), load, pace=1.1) + 1


def umbrella(draft: Draft) -> None:
    now = 2.0
    for load in ("umbrella", "", "umbrella", "umbrella"):
        now = draft.cross(now, draft.way(), draft.along(0.5), load) + 1


def door(draft: Draft) -> None:
    """A leaf swings in the picture with each visitor, and once for nobody."""
    now, opened = 2.0, []
    for _ in range(3):
        end = draft.cross(now + 1, draft.way(), -0.25)
        opened.append((now, end - 0.5))
        now = end + 1.5
    draft.scene.doors.append(Door((0.7, -1.0), [*opened, (now, now + 4)]))
    draft.cross(now + 7, 1, -0.25)


def switch(draft: Draft) -> None:
    """The light goes off and on, with and without somebody in the picture."""
    now = 2.0
    for _ in range(4):
        now = draft.cross(now, draft.way(), draft.along()) + 2
    levels = ((0, 1.0), (5, 0.45), (11.5, 1.0), (17, 0.6), (22, 1.25))
    draft.scene.light = lambda t: next(level for start, level in reversed(levels) if t >= start)


def sunny(draft: Draft) -> None:
    """Hard shadows longer than a person, also of those who pass beside the line."""
    angle = draft.random.uniform(0, math.tau)
    lean = float(math.cos(angle) * 0.8), float(math.sin(angle) * 0.8)
    draft.scene.suns = [Sun(lean, 0.5, 0.06)]
    alone(draft)
    now = draft.scene.people[-1].times[-1] + 1
    draft.person(walk(now, (-0.95, -draft.reach), (-0.95, draft.reach)))


def patch(draft: Draft) -> None:
    """A patch of sun wanders over the line."""
    alone(draft)
    end = draft.scene.seconds
    path = [(0, -1.5, 0.2), (end / 2, 1.2, 0), (end / 2 + 2, 0.2, 0), (end, -1, -0.2)]
    draft.scene.patches = [Patch(path)]


def dapple(draft: Draft) -> None:
    """Light through leaves: patches that swing."""
    alone(draft)
    for _ in range(6):
        across, along = draft.random.uniform(-1.5, 1.5, 2)
        swing, beat = draft.random.uniform(0.05, 0.25), draft.random.uniform(1, 3)
        path = [
            (t, across + swing * math.sin(beat * t), along + swing * math.cos(0.7 * beat * t))
            for t in np.arange(0, draft.scene.seconds, 0.3)
        ]
        draft.scene.patches.append(Patch(path, (0.3, 0.2), 0.6))


def night(draft: Draft) -> None:
    """Little light, and what the camera's amplifier makes of it."""
    alone(draft)
    draft.scene.floor = "stone"
    draft.scene.light = lambda t: 0.4
    draft.scene.noise = 11.0


def screen(draft: Draft) -> None:
    """A television flickers beside the line."""
    alone(draft)
    x = 0.42 + draft.random.uniform(-0.1, 0.1)
    draft.scene.screen = (x, 0.02, 0.25, 0.22)


def beside(draft: Draft) -> None:
    """The line ends within the picture: half of them go round it."""
    draft.scene.gate = draft.wide * 0.45
    now = 2.0
    for part in (0.0, 0.85, -0.85, 0.2, 0.9):
        way = draft.way()
        path = walk(now, (-way * draft.reach, part * draft.wide), (way * draft.reach, part * draft.wide))
        draft.person(path)
        now = path[-1][0] + 0.5


def parallel(draft: Draft) -> None:
    """Along the line, near it; and crosswise in between."""
    now = 2.0
    for off in (0.75, -0.8, 0.7):
        draft.person(walk(now, (off, -draft.reach), (off, draft.reach)))
        now = draft.cross(now + 5, draft.way(), draft.along(0.6)) + 1


def crowd(draft: Draft) -> None:
    """A meeting ends: many, mostly one way, some beside each other."""
    for number in range(14):
        way = -1 if draft.random.random() < 0.8 else 1
        lane = (number % 3 - 1) * min(0.75, draft.wide * 0.7)
        draft.cross(2 + number * 0.85 + draft.random.uniform(0, 0.2), way, lane, pace=1.1)


def empty(draft: Draft) -> None:
    """Nobody; light, sun, screen and noise go on."""
    draft.scene.seconds, draft.scene.fps = 240, 7.5
    draft.scene.patches = [Patch([(0, -2, -1), (120, 2, 1), (180, 0, 0), (190, 0.4, 0.2), (240, -2, 0)])]
    draft.scene.screen = (0.7, 0.05, 0.2, 0.2)
    draft.scene.doors = [Door((0.4, -0.5), [(60, 66), (150, 151.5), (200, 215)])]
    draft.scene.light = lambda t: (1 + 0.2 * math.sin(t / 15)) * (0.5 if 90 <= t < 110 else 1)


SITUATIONS: dict[str, Callable[[Draft], None]] = {
    function.__name__: function
    for function in (alone, pairs, row, meet, turnback, linger, stand, run, children, loads, umbrella, door,
                     switch, sunny, patch, dapple, night, screen, beside, parallel, crowd, empty)
}  # fmt: skip


def scene(name: str, seed: int = 0) -> Scene:
    """The scene of that name ("overhead.pairs"); the seed draws the camera, the floor, the people."""
    view, _, situation = name.partition(".")
    random = np.random.default_rng([seed, *name.encode()])
    if view == "overhead":
        person = float(random.choice((0.10, 0.14, 0.19, 0.25)))
        height = 2.6 + 1.6 * float(random.random()) if person < 0.2 else 2.8
        camera = Camera.overhead(person, height, float(random.choice((0.0, 0.12, 0.25))))
        turn = float(random.choice(4)) * math.pi / 2 + float(random.normal(0, 0.08))
        half = np.array([0.5, 0.5 * camera.rows / camera.width]) / camera.focal
        sideways = abs(math.sin(turn)) > 0.5
        across, along = half[::-1] if sideways else half
        reach = across * camera.height * (1 + 2 * camera.barrel) + 0.7
        # Heads are nearer, so they see less of the floor.
        wide = max(along * (camera.height - 1.4) - 0.15, 0.4)
    else:
        camera = Camera.oblique(float(random.uniform(4, 7)), float(random.uniform(2.4, 3.2)))
        turn = float(random.choice((0, 0, 1, 2, 3))) * math.pi / 2 + float(random.normal(0, 0.1))
        reach, wide = (3.2, 1.6) if abs(math.sin(turn)) > 0.5 else (5.5, 1.2)
    angle = float(random.uniform(0, math.tau))
    suns = [Sun((math.cos(angle) * lean, math.sin(angle) * lean), 0.25, 0.6) for lean in (0.15, 0.35)]
    floor = str(random.choice(("tiles", "wood", "carpet", "stone")))
    draft = Draft(Scene(camera, turn=turn, floor=floor, suns=suns, seed=seed), random, reach, wide)
    SITUATIONS[situation](draft)
    return draft.scene


def main() -> None:
    """situations.py FOLDER SEED NAME …: write the scenes of those names."""
    folder, seed, *names = sys.argv[1:]
    for name in names:
        scene(name, int(seed)).write(Path(folder, f"{name}.mp4"))


if __name__ == "__main__":
    main()
