"""A realistic day of a neighbourhood centre: pure, seeded, advanced by simulated seconds.

People, cars and parcels are events on a queue, so the day does not depend on the size of the steps. The
noise of the sensors has its own random source.
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

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
CLOSING_TIME_S = 21 * HOUR_S
VISITORS_PER_HOUR = dict(
    zip(range(8, 21), (22, 40, 52, 34, 18, 22, 38, 44, 34, 26, 36, 34, 8), strict=True)
)
"""By hour of the day, while the centre is open: about 400 in all."""
COURIERS_PER_HOUR = dict.fromkeys(range(9, 19), 1.2)
"""By hour of the day; each courier brings one to four parcels."""
CAR_SHARE = 0.2
MEASUREMENT_INTERVAL_S = 2.0
"""Simulated time between two readings of the analogue sensors."""


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
    """One compartment. `parcel` is the number of the parcel inside; None is empty."""

    open: bool = False
    parcel: int | None = None


@dataclass
class SmokeDetector:
    """A smoke detector: status 0 normal, 1 alarm, 2 fault, 3 test; obscuration in %/m; °C; mV."""

    status: int = 0
    obscuration: float = 0.04
    temperature: float = 22.0
    battery: int = 2950


@dataclass
class ElectricalMonitor:
    """The electrical-fire monitor: residual current in mA, cables in °C, load in A."""

    residual: int = 35
    cables: list[float] = field(default_factory=lambda: [30.0, 30.0, 30.0])
    current: float = 10.0


@dataclass
class GasDetector:
    """The kitchen's gas detector: % of the lower explosive limit, and °C."""

    lel: float = 0.0
    temperature: float = 23.0


@dataclass
class FridgeSensor:
    """The fridge thermometer: °C, % relative humidity, battery in %."""

    temperature: float = 4.2
    humidity: int = 61
    battery: int = 93


class Centre:
    """The whole centre at `now`, in seconds since the midnight of the simulated start."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 0.0
        self._random = random.Random(seed)  # noqa: S311 - a simulation, not a secret
        self._noise_source = random.Random(seed)  # noqa: S311
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._ids = count(1)
        self._last_measured_s = -MEASUREMENT_INTERVAL_S
        self._visitor_bays: dict[int, int | None] = {}
        self.doors = {1: Door(48_210, 47_990), 2: Door(20_110, 20_330)}
        self.bays = {n: Bay(battery=95 - 2 * n) for n in range(1, 9)}
        self.lockers = [Locker() for _ in range(16)]
        self.relays = [False]
        """Only the siren's."""
        self.clear_hazards()
        for lock in self._random.sample(range(16), 6):
            self._store_parcel(lock)
        self._schedule_arrivals(VISITORS_PER_HOUR, self._visitor_arrives)
        self._schedule_arrivals(COURIERS_PER_HOUR, self._courier_arrives)

    def clear_hazards(self) -> None:
        """End all hazards and forced readings; people, cars and parcels stay."""
        self.smoke = {1: SmokeDetector(), 2: SmokeDetector(), 3: SmokeDetector()}
        self.electrical, self.gas, self.fridge = ElectricalMonitor(), GasDetector(), FridgeSensor()
        self.leaking = self.call_point = self.sos = False
        self._forced_readings: dict[str, float] = {}
        for door in self.doors.values():
            door.blocked = False
        self._measure_sensors(0.0)

    def force_reading(self, sensor: str, value: float) -> None:
        """Make `gas` (%LEL), `residual` (mA) or `fridge` (°C) read this value until `clear_hazards`."""
        self._forced_readings[sensor] = value
        self._measure_sensors(0.0)

    def set_gas_leak(self, *, on: bool) -> None:
        """Let the gas rise towards 60 %LEL, or clear."""
        self.leaking = on
        self._forced_readings.pop("gas", None)
        self._measure_sensors(0.0)

    def set_detector_status(self, unit: int, status: int) -> None:
        """Set the status of a smoke detector: 0 normal, 1 alarm, 2 fault, 3 test."""
        self.smoke[unit].status = status
        self._measure_sensors(0.0)

    @property
    def time_of_day(self) -> float:
        """Seconds since midnight."""
        return self.now % DAY_S

    @property
    def inside(self) -> int:
        """The number of people inside."""
        return len(self._visitor_bays)

    @property
    def free_lockers(self) -> list[int]:
        """Lockers that are empty and closed."""
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
        """Advance the time, with all events that are due."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until
        if (elapsed := self.now - self._last_measured_s) >= MEASUREMENT_INTERVAL_S:
            self._measure_sensors(elapsed)

    def add_visitor(self, door: int) -> None:
        """Add a visitor, who leaves after some time, at the latest soon after closing."""
        visitor = next(self._ids)
        free = [n for n, bay in self.bays.items() if not bay.occupied]
        bay = self._random.choice(free) if free and self._random.random() < CAR_SHARE else None
        if bay:
            self.set_bay(bay, occupied=True)
        self.doors[door].entered += 1
        self._visitor_bays[visitor] = bay
        stay = self._random.triangular(3 * 60, 2 * HOUR_S, 30 * 60)
        closing = CLOSING_TIME_S - self.time_of_day + self._random.uniform(-600, 600)
        self._schedule(max(60.0, min(stay, closing)), lambda: self._visitor_leaves(visitor))

    def remove_visitor(self, door: int) -> bool:
        """Let a visitor leave by this door; False when nobody is inside."""
        if not self._visitor_bays:
            return False
        self._visitor_leaves(next(iter(self._visitor_bays)), door)
        return True

    def set_bay(self, bay: int, *, occupied: bool) -> None:
        """Park a car in the bay, or drive it away."""
        self.bays[bay].occupied = occupied
        self._measure_bay(bay)

    def unlock(self, lock: int) -> bool:
        """Open a locker; a parcel is taken out or put in, and the door is closed. False if it is open
        already."""
        locker = self.lockers[lock]
        if locker.open:
            return False
        locker.open = True

        def swap_parcel() -> None:
            if locker.parcel is None:
                self._store_parcel(lock)
            else:
                locker.parcel = None

        def close() -> None:
            locker.open = False

        self._schedule(self._random.uniform(3, 5), swap_parcel)
        self._schedule(self._random.uniform(7, 10), close)
        return True

    def deliver(self, lock: int) -> bool:
        """Let a courier put a parcel into this locker; False unless it is empty and closed."""
        return self.lockers[lock].parcel is None and self.unlock(lock)

    def _schedule(self, seconds: float, event: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._ids), event))

    def _schedule_arrivals(self, by_hour: Mapping[int, float], event: Callable[[], object]) -> None:
        # A Poisson process with a rate by the hour, made by thinning one with the highest rate.
        busiest = max(by_hour.values())

        def arrive_or_skip() -> None:
            if self._random.random() * busiest < by_hour.get(int(self.time_of_day // HOUR_S), 0):
                event()
            self._schedule_arrivals(by_hour, event)

        self._schedule(self._random.expovariate(busiest / HOUR_S), arrive_or_skip)

    def _random_door(self) -> int:
        return 1 if self._random.random() < 0.65 else 2

    def _visitor_arrives(self) -> None:
        self.add_visitor(self._random_door())

    def _visitor_leaves(self, visitor: int, door: int | None = None) -> None:
        if visitor not in self._visitor_bays:
            return
        if bay := self._visitor_bays.pop(visitor):
            self.set_bay(bay, occupied=False)
        self.doors[door or self._random_door()].left += 1

    def _courier_arrives(self) -> None:
        free = self.free_lockers
        parcels = min(self._random.randint(1, 4), len(free))
        for i, lock in enumerate(self._random.sample(free, parcels)):
            self._schedule(20.0 * i, partial(self.deliver, lock))

    def _store_parcel(self, lock: int) -> None:
        parcel = self.lockers[lock].parcel = next(self._ids)
        wait = self._random.uniform(600, 6 * HOUR_S)
        if not 7 * HOUR_S < (self.now + wait) % DAY_S < 22 * HOUR_S:
            wait += 10 * HOUR_S  # parcels are not collected at night
        self._schedule(wait, lambda: self._collect_parcel(lock, parcel))

    def _collect_parcel(self, lock: int, parcel: int) -> None:
        if self.lockers[lock].parcel == parcel:
            self.unlock(lock)

    def _measure_bay(self, bay_number: int) -> None:
        bay = self.bays[bay_number]
        base, noise = (500 + 25 * bay_number, 4) if bay.occupied else (1950 + 50 * bay_number, 20)
        bay.distance = round(self._noise_source.gauss(base, noise))

    def _measure_sensors(self, elapsed: float) -> None:
        self._last_measured_s = self.now
        noise = self._noise_source.gauss
        warmth = math.sin((self.time_of_day - 9 * HOUR_S) / DAY_S * math.tau)  # warmest at 15 h
        room = 22 + 2.5 * warmth + self.inside / 40
        for n in self.bays:
            self._measure_bay(n)
        for unit, detector in self.smoke.items():
            alarm = detector.status == 1
            detector.obscuration = round(max(0.0, noise(12, 0.6) if alarm else noise(0.04, 0.01)), 2)
            rise = (2.0 if unit == 2 else 0.0) + (14.0 if alarm else 0.0)
            detector.temperature = round(room + rise + noise(0, 0.1), 1)
        load = 8 + self.inside * 0.3
        self.electrical.current = round(max(0.0, load + noise(0, 0.4)), 1)
        self.electrical.cables = [round(room + 4 + i + load / 6 + noise(0, 0.1), 1) for i in range(3)]
        residual = min(60.0, max(20.0, noise(38, 6)))
        self.electrical.residual = round(self._forced_readings.get("residual", residual))
        gas = min(60.0, self.gas.lel + 1.5 * elapsed) if self.leaking else max(0.0, noise(0.2, 0.2))
        self.gas.lel = round(self._forced_readings.get("gas", gas), 1)
        self.gas.temperature = round(room + 2 + noise(0, 0.1), 1)
        compressor = 0.6 * math.sin(self.now / (20 * 60) * math.tau)
        fridge = 4.2 + compressor + noise(0, 0.05)
        self.fridge.temperature = round(self._forced_readings.get("fridge", fridge), 1)
        self.fridge.humidity = round(noise(61, 1))
