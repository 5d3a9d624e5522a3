"""Simulated faults of the wires: dead and slow units, noise on a serial line."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any


class Faults:
    """The faults of all wires. `clock` gives monotonic seconds."""

    def __init__(self, seed: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation, not a secret
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """End all faults."""
        self.dead: set[tuple[str, int]] = set()
        self.slow: dict[tuple[str, int], float] = {}
        self.garbage: dict[str, float] = {}

    def set_dead(self, units: Iterable[tuple[str, int]], *, on: bool) -> None:
        """Make these units stop answering, or answer again."""
        self.dead = self.dead.union(units) if on else self.dead.difference(units)

    def set_delay(self, units: Iterable[tuple[str, int]], seconds: float) -> None:
        """Delay the answers of these units; 0 ends it."""
        for unit in units:
            self.slow[unit] = seconds

    def set_noise(self, wire: str, seconds: float) -> None:
        """Add noise to a serial line for this time; 0 ends it."""
        self.garbage[wire] = self._clock() + seconds

    def reply_delay_s(self, wire: str, unit: int) -> float | None:
        """The additional delay of a unit's answer; None when it does not answer."""
        return None if (wire, unit) in self.dead else self.slow.get((wire, unit), 0.0)

    def apply_noise(self, wire: str, reply: bytes) -> bytes:
        """The bytes that arrive of a reply: unchanged without noise; else with noise added, or replaced by
        it."""
        if self._clock() >= self.garbage.get(wire, 0.0):
            return reply
        noise = self._random.randbytes(self._random.randint(1, 12))
        return self._random.choice((noise, noise + reply, reply[: len(reply) // 2] + noise))

    def state(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "dead": [f"{wire}/{unit}" for wire, unit in sorted(self.dead)],
            "slow": {f"{wire}/{unit}": s * 1000 for (wire, unit), s in self.slow.items() if s},
            "garbage": sorted(w for w, until in self.garbage.items() if self._clock() < until),
        }
