"""Cameras to look at: rendered videos with known crossings, and the line they are on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.camera.zygote import ZYGOTE
from gateway.base.clock import SystemClock
from gateway.config import Site, load_site
from gateway.field.line import Line
from gateway.model import Sample
from tests.drivers.camera.picture import Camera
from tests.drivers.camera.scenes import Scene, Walker, walk

HEAD = 'schema = "linli/site/1"\n[site]\nid = "here"\ntitle = "Here"\n'
PAIR = Scene(
    Camera.overhead(0.12), [Walker(walk(2, (-2, 0), (2, 0))), Walker(walk(5, (2, 0), (-2, 0)))], seconds=9
)
"""One comes in after 3.6 s, one goes out after 6.5 s."""


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("video") / "pair.mp4"
    PAIR.write(file)
    return file


def site(url: object, options: str = "", name: str = "cam", every: float = 1.0) -> str:
    """A camera, and the line of `PAIR` in its picture."""
    line = [round(float(number), 4) for point in PAIR.line for number in point]
    return f"""
    [bus.{name}]
    driver = "camera"
    url = "{url}"
    view = "overhead"
    {options}
    [device.{name}-door]
    profile = "door-counter/camera-line"
    bus = "{name}"
    line = {line}
    person = {PAIR.person.tolist()}
    every = {every}
    [device.{name}-hall]
    profile = "occupancy/camera-zone"
    bus = "{name}"
    zone = [[0, 0], [1, 0], [1, 1], [0, 1]]
    every = {every}
    """


class Field:
    """The lines of a site at work, and what their devices said."""

    def __init__(self, site: Site) -> None:
        clock = SystemClock()
        self.samples: list[Sample] = []
        self.memories: dict[str, bytes] = {}
        self.site = site
        self.buses = {
            name: Line(
                spec,
                tuple(d for d in site.devices.values() if d.bus == name),
                clock,
                self._take,
                lambda: self.memories,
            )
            for name, spec in site.buses.items()
        }

    async def _take(self, sample: Sample) -> None:
        self.samples.append(sample)
        if sample.driver_state is not None:
            self.memories[sample.device] = sample.driver_state

    def of(self, device: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.device == device]

    async def until(self, true: Callable[[], Any], seconds: float = 20) -> Any:
        limit = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < limit, [(s.device, s.error or s.values) for s in self.samples[-5:]]
            await asyncio.sleep(0.05)
        return found

    async def says(self, device: str, seconds: float = 20, **values: object) -> Sample:
        """Its next sample with these values."""
        before = len(self.samples)

        def found() -> list[Sample]:
            return [
                sample
                for sample in self.samples[before:]
                if sample.device == device
                and values.items() <= {"error": sample.error, **sample.values}.items()
            ]

        sample: Sample = (await self.until(found, seconds))[0]
        return sample


Watching = Callable[[str], contextlib.AbstractAsyncContextManager[Field]]


@pytest.fixture
def watching(tmp_path: Path) -> Watching:
    """Puts the lines of a site to work."""

    @contextlib.asynccontextmanager
    async def watch(text: str) -> AsyncIterator[Field]:
        file = tmp_path / "site.toml"
        file.write_text(HEAD + text, "utf-8")
        field = Field(load_site(file))
        running = [asyncio.create_task(bus.run()) for bus in field.buses.values()]
        try:
            yield field
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    return watch


@pytest.fixture(scope="module", autouse=True)
def _no_process_stays() -> Iterator[None]:
    yield
    ZYGOTE.stop()


def children(parent: int) -> list[int]:
    """The living children of a process."""
    threads = Path(f"/proc/{parent}/task").glob("*/children")
    numbers = [int(number) for thread in threads for number in thread.read_text().split()]
    return sorted(filter(lives, numbers))


def lives(process: int) -> bool:
    """Whether a process is there, and more than a name that nobody has asked for yet."""
    try:
        return "(zombie)" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def zygote() -> int:
    """The process that the cameras' processes come from."""
    assert ZYGOTE._process
    return ZYGOTE._process.pid
