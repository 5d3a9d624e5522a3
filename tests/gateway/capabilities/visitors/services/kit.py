"""A centre to step: counters by name, figures, and times at the site."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.visitors.services import COUNTER_KIND, Counter, Layout, Visitors
from gateway.model import ClockQuality, Command, Device, Fact, Point, Sample, Stamp, Tick
from gateway.model.hours import WeeklyHours
from tests.gateway.services.kit import Fold

WIDEST = 2**64 - 1
"""The codec lets nothing wider pass."""
ZONE = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 11, 21, tzinfo=ZONE)
"""A Saturday's midnight, from which the seconds of these tests count."""


def at(second: float, boot: str = "boot", clock: ClockQuality = ClockQuality.SYNCED) -> Stamp:
    wall = START.timestamp() + second
    return Stamp(round(wall * 1000), round((1_000_000 + second) * 1e9), boot, clock)


def wall(second: float) -> int:
    return at(second).wall_ms


def local(stamp: Stamp) -> datetime | None:
    if stamp.clock is ClockQuality.UNSET:
        return None
    return datetime.fromtimestamp(stamp.wall_ms / 1000, UTC).astimezone(ZONE)


def day(second: float) -> str:
    return (START + timedelta(seconds=second)).date().isoformat()


def iso(second: float) -> str:
    return (START + timedelta(seconds=second)).isoformat()


def counter(
    name: str, every: float = 1.0, wraps: int = 1 << 32, points: Iterable[str] = ("in", "out")
) -> Device:
    return Device(
        name=name,
        title={},
        kind=COUNTER_KIND,
        profile="",
        bus="",
        address=None,
        points={point: Point(wraps=wraps) for point in points},
        every=every,
    )


class Centre(Fold):
    """The service with its counters; `d` unless told otherwise."""

    def __init__(
        self,
        *counters: Device,
        layout: Layout | None = None,
        hours: WeeklyHours | None = None,
        every: float = 1.0,
    ) -> None:
        self.counters = {each.name: each for each in counters or (counter("d", every),)}
        self.layout, self.hours = layout, hours
        super().__init__(self.fresh())

    def fresh(self) -> Visitors:
        return Visitors(self.counters, self.layout, self.hours, local, ZONE)

    def reboot(self) -> None:
        """The gateway begins anew with its rows, as they come back from the disk, and nothing else."""
        self.service = self.fresh()
        encode, decode = msgspec.msgpack.encode, msgspec.msgpack.Decoder(Visitors.row).decode
        kept = {key: decode(encode(row)) for key, row in self.rows.items()}
        assert kept == self.rows
        self.rows = kept
        self.restart()

    def says(self, second: float, came: int, left: int = 0, name: str = "d", **more: Any) -> list[Fact]:
        return self.step(Sample(name, at(second), {"in": came, "out": left, **more}))

    def keep(self, second: float) -> None:
        """Every counter tells once more where it stands."""
        for name in self.counters:
            if total := self.row(name).total:
                self.says(second, *total, name)

    def silent(self, second: float, name: str = "d") -> list[Fact]:
        return self.step(Sample(name, at(second), error="timeout"))

    def period(self, second: float, since: float, until: float, came: int, left: int = 0) -> list[Fact]:
        """A period that is told at a second; the others are of the day, too."""
        values = {
            "period_in": came,
            "period_out": left,
            "period_start": iso(since),
            "period_end": iso(until),
        }
        return self.step(Sample("d", at(second), values))

    def tick(self, second: float) -> list[Fact]:
        return self.step(Tick(at(second), day(second)))

    def ask(self, second: float, action: str, **args: Any) -> list[Fact]:
        stamp = at(second)
        return self.step(
            Command(
                id="c", at=stamp, device="gateway", action=action, args=args,
                expires=stamp.wall_ms + 60_000, origin="dashboard", by="王",
            )
        )  # fmt: skip

    @property
    def figures(self) -> dict[str, Any]:
        return self.service.summary(self.rows)

    def now(self) -> tuple[int | None, int | None, int | None]:
        """In, out and inside; None while unknown."""
        found = self.figures
        return found.get("in"), found.get("out"), found.get("inside")

    def row(self, name: str = "d") -> Counter:
        found = self.rows[f"counter/{name}"]
        assert isinstance(found, Counter)
        return found


def told(facts: Iterable[Fact], kind: str) -> list[dict[str, Any]]:
    """The bodies of the facts of a kind."""
    return [fact.body for fact in facts if fact.kind == kind]
