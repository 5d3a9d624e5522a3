"""Short hands for the tests of the services: devices, samples at a second, and a fold."""

from collections.abc import Iterable
from typing import Any

from gateway.model import (
    ClockQuality,
    Command,
    ConfigurationAdopted,
    Device,
    Fact,
    Message,
    Point,
    Revision,
    Sample,
    Service,
    Stamp,
    Tick,
)

DAY = "2026-11-21"


def at(second: float, boot: str = "boot") -> Stamp:
    return Stamp(1_800_000_000_000 + round(second * 1000), round(second * 1e9), boot, ClockQuality.SYNCED)


def device(name: str, kind: str, **points: Point) -> Device:
    return Device(
        name=name, title={}, kind=kind, profile="", bus="", address=None, points=points, every=1.0
    )


def sample(name: str, second: float = 0, error: str = "", **values: Any) -> Sample:
    named = {key.replace("__", "."): value for key, value in values.items()}
    return Sample(name, at(second), named, error=error)


def command(action: str, device: str = "d", second: float = 0, **fields: Any) -> Command:
    defaults: dict[str, Any] = {
        "id": "c1",
        "expires": at(second + 60).wall_ms,
        "origin": "upstream",
        "by": "王",
    }
    return Command(action=action, device=device, at=at(second), **{**defaults, **fields})


def adopted(number: int = 2, *present: str) -> ConfigurationAdopted:
    return ConfigurationAdopted(Revision(number, "d1", at(number), "console"), at(100), frozenset(present))


def tick(second: float, day: str = DAY) -> Tick:
    return Tick(at(second), day)


class Fold:
    """A service with its rows, stepped by messages as the engine would."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.rows: dict[str, Any] = {}

    def step(self, *messages: Message) -> list[Fact]:
        facts: list[Fact] = []
        for message in messages:
            before = dict(self.rows)
            changes, more = self.service.apply(self.rows, message)
            assert self.rows == before, "a service must not touch its rows"
            self.rows = {key: row for key, row in {**self.rows, **changes}.items() if row is not None}
            facts += more
        return facts

    def restart(self) -> None:
        self.rows = dict(self.service.restore(self.rows))


def kinds(facts: Iterable[Fact]) -> list[str]:
    return [fact.kind for fact in facts]
