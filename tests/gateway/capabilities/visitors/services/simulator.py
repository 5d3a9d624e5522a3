"""A day at a door: who really passed, and what counters of every family tell of it, with all they do."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from gateway.capabilities.visitors.services.counters import InOutCount
from gateway.model import Sample, Value
from tests.gateway.capabilities.visitors.services.kit import at, iso

DAY = 86_400


class Passage(NamedTuple):
    """Somebody passes; `out` or in."""

    second: float
    out: bool


class Habits(NamedTuple):
    """What a counter does. Times are seconds between two readings; chances are for each of them."""

    every: int = 60
    wraps: int = 1 << 32
    begins: int = 0
    """Where its totals stand at first."""
    restarts: int = 0
    """How often it loses its power; it is away for some minutes and begins at nought."""
    midnight: bool = False
    """It begins at nought each midnight."""
    lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    """It overtakes those that follow."""
    glitch: float = 0.0
    away: int = 0
    """How often its line is down, for an hour at most; it goes on counting."""
    kept: bool = False
    """What it could not deliver comes once the line is up, after the newest."""
    timed: bool = False
    """Its messages say when they were measured."""


class Story(NamedTuple):
    """What became of a day. Nobody can know of `unseen`: those who passed while the counter was without
    power, whom it forgot with it, and whom it has not told by the end; nor of `hidden`: those of a restart
    that no total has shown."""

    samples: list[Sample]
    passed: InOutCount
    unseen: InOutCount
    hidden: InOutCount


def passages(seed: int, visitors: int, days: float = 1.0) -> list[Passage]:
    """Visitors who come between eight and ten, mostly in the morning and in the evening, a few at night,
    and stay for some minutes or hours."""
    dice = random.Random(seed)
    found = []
    for number in range(round(visitors * days)):
        day = DAY * (number % max(1, round(days)))
        noon = dice.choice([9.5, 15, 19]) * 3600
        came = (
            dice.uniform(0, DAY - 1)
            if dice.random() < 0.02
            else min(DAY - 60.0, max(0.0, dice.gauss(noon, 5000)))
        )
        stay = dice.expovariate(1 / 2400)
        found.append(Passage(day + came, out=False))
        found.append(Passage(min(day + came + stay, days * DAY - 1), out=True))
    return sorted(found)


class _Meter:
    """The counter itself: its totals, what it has told, and what can never be known of it."""

    def __init__(self, begins: int) -> None:
        self.total = [begins, begins]
        self.untold = [0, 0]
        self.unseen = [0, 0]
        self.hidden = [0, 0]
        self._shown = [begins, begins]
        self._before: list[int] = []
        self._told = 0

    def count(self, out: bool) -> None:
        self.total[out] += 1
        self.untold[out] += 1

    def reset(self) -> None:
        self._look_back()
        self.unseen = _sum(self.unseen, self.untold)
        self.total, self.untold = [0, 0], [0, 0]
        self._before, self._told = self._shown, 0

    def tell(self) -> None:
        self.untold, self._shown = [0, 0], list(self.total)
        self._told += 1
        if self._before and all(new >= old for new, old in zip(self.total, self._before, strict=True)):
            self._look_back()
            self._before = []

    def _look_back(self) -> None:
        """A restart shows while the total is below where it was, in several readings."""
        if self._before and self._told <= UNCLEAR:
            self.hidden = _sum(self.hidden, self._before)


UNCLEAR = 6


def _sum(first: list[int], second: list[int]) -> list[int]:
    return [a + b for a, b in zip(first, second, strict=True)]


def totals(walk: list[Passage], habits: Habits, seed: int, days: int = 1) -> Story:
    """A counter that tells running totals."""
    dice = random.Random(seed)
    dark = _times(dice, habits.restarts, days, 900)
    down = _times(dice, habits.away, days, 3600)
    resets = sorted(
        [*(since for since, _ in dark), *(DAY * day for day in range(1, days) if habits.midnight)]
    )
    meter = _Meter(habits.begins)
    waiting: list[dict[str, Value]] = []
    out: list[tuple[float, dict[str, Value]]] = []
    steps = iter([*walk, Passage(float("inf"), out=False)])
    step = next(steps)
    for second in range(0, days * DAY + 1, habits.every):
        while step.second <= second or (resets and resets[0] <= second):
            if resets and resets[0] <= step.second:
                resets.pop(0)
                meter.reset()
                continue
            if _among(step.second, dark):
                meter.unseen[step.out] += 1
            else:
                meter.count(step.out)
            step = next(steps)
        sure = second in (0, days * DAY)
        if not sure and (_among(second, dark) or dice.random() < habits.lost):
            continue
        values: dict[str, Value] = {
            "in": meter.total[0] % habits.wraps,
            "out": meter.total[1] % habits.wraps,
        }
        if habits.timed:
            values["time"] = iso(second)
        if not sure and _among(second, down):
            waiting += [values] * habits.kept
            continue
        if not sure and dice.random() < habits.glitch:
            out.append((second, {name: dice.randrange(habits.wraps) for name in ("in", "out")}))
            continue
        late = dice.uniform(1, 3) * habits.every if not sure and dice.random() < habits.late else 0.0
        out += [(second + late, values)] + [(second + late + dice.uniform(0, 2 * habits.every), values)] * (
            dice.random() < habits.twice
        )
        out += [(second + 0.001 * number, old) for number, old in enumerate(waiting, 1)]
        waiting = []
        if not late:
            meter.tell()
    came = sum(not each.out for each in walk)
    samples = [
        Sample("d", at(arrival), values) for arrival, values in sorted(out, key=lambda each: each[0])
    ]
    unseen = _sum(meter.unseen, meter.untold)
    return Story(
        samples,
        (came, len(walk) - came),
        (unseen[0], unseen[1]),
        (meter.hidden[0], meter.hidden[1]),
    )


def _times(dice: random.Random, number: int, days: int, longest: float) -> list[tuple[float, float]]:
    begins = sorted(dice.uniform(1800, days * DAY - 7200) for _ in range(number))
    return [(since, since + dice.uniform(10, longest)) for since in begins]


def _among(second: float, times: list[tuple[float, float]]) -> bool:
    return any(since <= second < until for since, until in times)


def periods(walk: list[Passage], length: int, seed: int, lost: float = 0.0) -> Iterator[Sample]:
    """A counter that tells what passed in each period, some of them late, twice, or in the wrong order;
    what is lost comes again at the end of the day."""
    dice = random.Random(seed)
    out: list[tuple[float, Sample]] = []
    for since in range(0, DAY, length):
        inside = [each.out for each in walk if since < each.second <= since + length]
        values: dict[str, Value] = {
            "period_in": inside.count(False),
            "period_out": inside.count(True),
            "period_start": iso(since),
            "period_end": iso(since + length),
        }
        arrival = since + length + dice.uniform(0, 3 * length) * (dice.random() < 0.2)
        if dice.random() < lost:
            arrival = DAY + since / 100
        times = [arrival, arrival + dice.uniform(0, length)][: 1 + (dice.random() < 0.3)]
        out += [(time, Sample("d", at(0), values)) for time in times]
    for arrival, sample in sorted(out, key=lambda each: each[0]):
        yield Sample("d", at(min(arrival, DAY - 1)), sample.values)
