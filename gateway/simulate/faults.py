"""Faults of the wires, on demand: silent and slow units, noise on a serial line."""

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
        """Remove all faults."""
        self.dead: set[tuple[str, int]] = set()
        self.slow: dict[tuple[str, int], float] = {}
        self.garbage: dict[str, float] = {}

    def cut(self, units: Iterable[tuple[str, int]], *, on: bool) -> None:
        """The units stop responding, or respond again."""
        self.dead = self.dead.union(units) if on else self.dead.difference(units)

    def hold(self, units: Iterable[tuple[str, int]], seconds: float) -> None:
        """Delay the replies of the units; 0 ends the delay."""
        for unit in units:
            self.slow[unit] = seconds

    def spoil(self, wire: str, seconds: float) -> None:
        """Noise on the serial line for some time; 0 ends it."""
        self.garbage[wire] = self._clock() + seconds

    def delay(self, wire: str, unit: int) -> float | None:
        """Extra seconds until the unit responds; None if it does not respond."""
        return None if (wire, unit) in self.dead else self.slow.get((wire, unit), 0.0)

    def noise(self, wire: str, reply: bytes) -> bytes:
        """The bytes that arrive of a reply: all of them on a good line; on a bad one noise comes too."""
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
