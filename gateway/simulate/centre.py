"""A realistic day of a neighbourhood centre: pure, seeded, advanced by simulated seconds.

People, cars and parcels are events on a queue, so the day is the same in small steps or large.
What the sensors measure is noise on top of it, with a separate random source.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from typing import Any

HOUR = 3600.0
DAY = 24 * HOUR
CLOSES = 21 * HOUR
ARRIVALS = dict(zip(range(8, 21), (22, 40, 52, 34, 18, 22, 38, 44, 34, 26, 36, 34, 8), strict=True))
"""Visitors who come in each opening hour of the day: about 400 in all."""
COURIERS = dict.fromkeys(range(9, 19), 1.2)
"""Couriers in each hour; each brings one to four parcels."""
BY_CAR = 0.2
MEASURED_EVERY = 2.0
"""Simulated seconds between two readings of the analogue sensors."""


@dataclass
class Door:
    """An infrared counter: totals since it was installed."""

    entered: int
    left: int
    blocked: bool = False


@dataclass
class Bay:
    """A parking bay under an ultrasonic detector; distance in mm, battery in %."""

    occupied: bool = False
    distance: int = 2200
    battery: int = 90


@dataclass
class Locker:
    """One compartment. `parcel` numbers what is inside; None is empty."""

    open: bool = False
    parcel: int | None = None


@dataclass
class Smoke:
    """A smoke detector: status 0 normal, 1 alarm, 2 fault, 3 test; obscuration in %/m; °C; mV."""

    status: int = 0
    obscuration: float = 0.04
    temperature: float = 22.0
    battery: int = 2950


@dataclass
class Electrical:
    """The electrical-fire monitor: residual current in mA, cables in °C, load in A."""

    residual: int = 35
    cables: list[float] = field(default_factory=lambda: [30.0, 30.0, 30.0])
    current: float = 10.0


@dataclass
class Gas:
    """The kitchen's gas detector: % of the lower explosive limit, and °C."""

    lel: float = 0.0
    temperature: float = 23.0


@dataclass
class Fridge:
    """The fridge thermometer: °C, % relative humidity, battery in %."""

    temperature: float = 4.2
    humidity: int = 61
    battery: int = 93


class Centre:
    """The whole centre at `now`, in seconds since the midnight of the simulated start."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 0.0
        self._life = random.Random(seed)  # noqa: S311 - a simulation, not a secret
        self._noise = random.Random(seed)  # noqa: S311
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count(1)
        self._measured = -MEASURED_EVERY
        self._bay_of: dict[int, int | None] = {}
        self.doors = {1: Door(48_210, 47_990), 2: Door(20_110, 20_330)}
        self.bays = {n: Bay(battery=95 - 2 * n) for n in range(1, 9)}
        self.lockers = [Locker() for _ in range(16)]
        self.relays = [False]
        """Of the siren."""
        self.normal()
        for lock in self._life.sample(range(16), 6):
            self._put(lock)
        self._candidate(ARRIVALS, self._arrive)
        self._candidate(COURIERS, self._deliver)

    def normal(self) -> None:
        """Remove every hazard and every forced value; people, cars and parcels stay."""
        self.smoke = {1: Smoke(), 2: Smoke(), 3: Smoke()}
        self.electrical, self.gas, self.fridge = Electrical(), Gas(), Fridge()
        self.leaking = self.call_point = self.sos = False
        self._forced: dict[str, float] = {}
        for door in self.doors.values():
            door.blocked = False
        self._measure(0.0)

    def force(self, sensor: str, value: float) -> None:
        """Force the reading of `gas` (%LEL), `residual` (mA) or `fridge` (°C), until `normal` is called."""
        self._forced[sensor] = value
        self._measure(0.0)

    def leak(self, *, on: bool) -> None:
        """Gas starts to rise towards 60 %LEL, or is ventilated."""
        self.leaking = on
        self._forced.pop("gas", None)
        self._measure(0.0)

    def detect(self, unit: int, status: int) -> None:
        """Set the status of a smoke detector: 0 normal, 1 alarm, 2 fault, 3 test."""
        self.smoke[unit].status = status
        self._measure(0.0)

    @property
    def time_of_day(self) -> float:
        """Seconds since midnight."""
        return self.now % DAY

    @property
    def inside(self) -> int:
        """How many people are inside."""
        return len(self._bay_of)

    @property
    def free_lockers(self) -> list[int]:
        """The compartments that are empty and closed."""
        return [n for n, locker in enumerate(self.lockers) if locker.parcel is None and not locker.open]

    def state(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        seconds = int(self.time_of_day)
        return {
            "time": f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}",
            "inside": self.inside,
            "doors": {n: asdict(door) for n, door in self.doors.items()},
            "bays": {n: asdict(bay) for n, bay in self.bays.items()},
            "lockers": [asdict(locker) for locker in self.lockers],
            "smoke": {n: asdict(detector) for n, detector in self.smoke.items()},
            "electrical": asdict(self.electrical),
            "gas": asdict(self.gas),
            "fridge": asdict(self.fridge),
            "call_point": self.call_point,
            "sos": self.sos,
            "siren": self.relays[0],
        }

    def advance(self, seconds: float) -> None:
        """Advance the simulated time."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until
        if (elapsed := self.now - self._measured) >= MEASURED_EVERY:
            self._measure(elapsed)

    def enter(self, door: int) -> None:
        """One more visitor, who leaves after a while and in any case soon after closing."""
        visitor = next(self._number)
        free = [n for n, bay in self.bays.items() if not bay.occupied]
        bay = self._life.choice(free) if free and self._life.random() < BY_CAR else None
        if bay:
            self.park(bay, occupied=True)
        self.doors[door].entered += 1
        self._bay_of[visitor] = bay
        stay = self._life.triangular(3 * 60, 2 * HOUR, 30 * 60)
        closing = CLOSES - self.time_of_day + self._life.uniform(-600, 600)
        self._after(max(60.0, min(stay, closing)), lambda: self._leave(visitor))

    def leave(self, door: int) -> bool:
        """A person leaves by the given door; False if nobody is inside."""
        if not self._bay_of:
            return False
        self._leave(next(iter(self._bay_of)), door)
        return True

    def park(self, bay: int, *, occupied: bool) -> None:
        """A car takes the bay or leaves it."""
        self.bays[bay].occupied = occupied
        self._range(bay)

    def unlock(self, lock: int) -> bool:
        """The door opens; a person takes out or puts in something and closes it. False if it was open."""
        locker = self.lockers[lock]
        if locker.open:
            return False
        locker.open = True

        def hand() -> None:
            if locker.parcel is None:
                self._put(lock)
            else:
                locker.parcel = None

        def close() -> None:
            locker.open = False

        self._after(self._life.uniform(3, 5), hand)
        self._after(self._life.uniform(7, 10), close)
        return True

    def deliver(self, lock: int) -> bool:
        """A courier puts a parcel into the compartment; False unless it is empty and closed."""
        return self.lockers[lock].parcel is None and self.unlock(lock)

    def _after(self, seconds: float, event: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._number), event))

    def _candidate(self, by_hour: Mapping[int, float], event: Callable[[], object]) -> None:
        # A Poisson process whose rate follows the hour, by thinning one of the highest rate.
        busiest = max(by_hour.values())

        def happen() -> None:
            if self._life.random() * busiest < by_hour.get(int(self.time_of_day // HOUR), 0):
                event()
            self._candidate(by_hour, event)

        self._after(self._life.expovariate(busiest / HOUR), happen)

    def _door(self) -> int:
        return 1 if self._life.random() < 0.65 else 2

    def _arrive(self) -> None:
        self.enter(self._door())

    def _leave(self, visitor: int, door: int | None = None) -> None:
        if visitor not in self._bay_of:
            return
        if bay := self._bay_of.pop(visitor):
            self.park(bay, occupied=False)
        self.doors[door or self._door()].left += 1

    def _deliver(self) -> None:
        free = self.free_lockers
        parcels = min(self._life.randint(1, 4), len(free))
        for i, lock in enumerate(self._life.sample(free, parcels)):
            self._after(20.0 * i, partial(self.deliver, lock))

    def _put(self, lock: int) -> None:
        parcel = self.lockers[lock].parcel = next(self._number)
        wait = self._life.uniform(600, 6 * HOUR)
        if not 7 * HOUR < (self.now + wait) % DAY < 22 * HOUR:
            wait += 10 * HOUR  # parcels are not collected at night
        self._after(wait, lambda: self._fetch(lock, parcel))

    def _fetch(self, lock: int, parcel: int) -> None:
        if self.lockers[lock].parcel == parcel:
            self.unlock(lock)

    def _range(self, n: int) -> None:
        bay = self.bays[n]
        base, noise = (500 + 25 * n, 4) if bay.occupied else (1950 + 50 * n, 20)
        bay.distance = round(self._noise.gauss(base, noise))

    def _measure(self, elapsed: float) -> None:
        self._measured = self.now
        noise = self._noise.gauss
        warmth = math.sin((self.time_of_day - 9 * HOUR) / DAY * math.tau)  # warmest at 15 h
        room = 22 + 2.5 * warmth + self.inside / 40
        for n in self.bays:
            self._range(n)
        for unit, detector in self.smoke.items():
            alarm = detector.status == 1
            detector.obscuration = round(max(0.0, noise(12, 0.6) if alarm else noise(0.04, 0.01)), 2)
            rise = (2.0 if unit == 2 else 0.0) + (14.0 if alarm else 0.0)
            detector.temperature = round(room + rise + noise(0, 0.1), 1)
        load = 8 + self.inside * 0.3
        self.electrical.current = round(max(0.0, load + noise(0, 0.4)), 1)
        self.electrical.cables = [round(room + 4 + i + load / 6 + noise(0, 0.1), 1) for i in range(3)]
        residual = min(60.0, max(20.0, noise(38, 6)))
        self.electrical.residual = round(self._forced.get("residual", residual))
        gas = min(60.0, self.gas.lel + 1.5 * elapsed) if self.leaking else max(0.0, noise(0.2, 0.2))
        self.gas.lel = round(self._forced.get("gas", gas), 1)
        self.gas.temperature = round(room + 2 + noise(0, 0.1), 1)
        compressor = 0.6 * math.sin(self.now / (20 * 60) * math.tau)
        fridge = 4.2 + compressor + noise(0, 0.05)
        self.fridge.temperature = round(self._forced.get("fridge", fridge), 1)
        self.fridge.humidity = round(noise(61, 1))
