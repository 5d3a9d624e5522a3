"""A driver that the core has never seen, made here, is diagnosed and paced by the kinds it sets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from gateway.config import BusSpec
from gateway.field.line import Line
from gateway.model import Bus, Device, Driver, FailureKind, Point, ReadFailed, Sample
from tests.clock import FakeClock


class KnxOptions(msgspec.Struct, frozen=True):
    """A line without options."""


class KnxPoint(Point, frozen=True):
    group: str = ""

    @property
    def is_boolean(self) -> bool:
        return self.group.startswith("1.") or super().is_boolean


class KnxBus(Bus):
    """A telegram per device: its temperature, or the error that its reply means."""

    settle_s = 0.5

    def __init__(self, clock: FakeClock, replies: dict[str, ReadFailed | float]) -> None:
        self._clock = clock
        self._replies = replies
        self.requests: list[tuple[str, float]] = []
        self.quirks: dict[str, Any] = {}

    async def read(self, device: Device) -> float:
        self.requests.append((device.name, self._clock.mono()))
        await self._clock.sleep(0.02)
        reply = self._replies[device.name]
        if isinstance(reply, ReadFailed):
            raise reply
        return reply


def a_device(name: str, every: float = 1.0) -> Device:
    return Device(
        name=name, title={}, kind="thermometer", profile="", bus="knx", address=None,
        points={"temperature": KnxPoint(group="9.001")}, every=every,
    )  # fmt: skip


class Rig:
    """A bus of that driver with its devices, on a clock that is turned by hand."""

    def __init__(self, **replies: ReadFailed | float) -> None:
        self.clock = FakeClock()
        self.bus = KnxBus(self.clock, replies)
        driver = Driver(
            options=KnxOptions,
            address=KnxOptions,
            point=KnxPoint,
            connect=self._connect,
            decode=dict.fromkeys,
            parse_example=dict,
            format_raw=str,
        )
        devices = tuple(a_device(name) for name in replies)
        self.line = Line(BusSpec("knx", driver, KnxOptions()), devices, self.clock, self._sink)

    @asynccontextmanager
    async def _connect(self, options: Any, devices: Any) -> AsyncIterator[Bus]:
        yield self.bus

    async def _sink(self, sample: Sample) -> None:
        pass

    async def run(self, seconds: float) -> None:
        running = asyncio.create_task(self.line.run())
        await self.clock.advance(seconds)
        running.cancel()
        await asyncio.wait([running])

    def findings(self) -> set[tuple[str, str]]:
        return {(finding["key"], finding["device"]) for finding in self.line.report()["findings"]}


@pytest.mark.parametrize(
    ("kind", "finding", "column"),
    [
        (FailureKind.TIMEOUT, "device-dead", "silent"),
        (FailureKind.SILENT, "device-dead", "silent"),
        (FailureKind.DAMAGED, "device-garbled", "damaged"),
        (FailureKind.OUT_OF_STEP, "device-garbled", "damaged"),
        (FailureKind.REFUSED, "device-refuses", "refused"),
    ],
)
async def test_the_doctor_diagnoses_what_a_new_driver_reports(
    kind: FailureKind, finding: str, column: str
) -> None:
    rig = Rig(ill=ReadFailed("knx-telegram", kind), well=21.5)
    await rig.run(120)
    assert rig.findings() == {(finding, "ill")}
    ill, well = rig.line.report()["devices"]
    assert ill[column] == ill["polls"] > 0
    assert (well["silent"], well["damaged"], well["refused"]) == (0, 0, 0)


@pytest.mark.parametrize("kind", FailureKind)
async def test_the_line_waits_after_failures_that_a_late_reply_may_follow(kind: FailureKind) -> None:
    rig = Rig(ill=ReadFailed("knx-telegram", kind), well=21.5, other=20.0, third=19.0)
    await rig.run(3)
    after_failure = next(
        later - earlier
        for (name, earlier), (_, later) in itertools.pairwise(rig.bus.requests)
        if name == "ill"
    )
    assert (after_failure >= rig.bus.settle_s) == (kind in (FailureKind.TIMEOUT, FailureKind.DAMAGED))


def test_a_new_point_says_itself_whether_it_is_boolean() -> None:
    assert KnxPoint(group="1.001").is_boolean
    assert not KnxPoint(group="9.001").is_boolean
    assert KnxPoint(group="9.001", true_above=30.0).is_boolean
