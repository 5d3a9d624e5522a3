"""The present state of the centre and its faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import devices
from .centre import Centre
from .devices import Tables
from .faults import Faults


class World:
    """Time advances only when the state is read, so that an idle simulation costs nothing."""

    def __init__(
        self,
        centre: Centre,
        faults: Faults,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._centre, self.faults, self._speed, self._clock = centre, faults, speed, clock
        self._looked = clock()

    def centre(self) -> Centre:
        """The centre now."""
        now = self._clock()
        self._centre.advance((now - self._looked) * self._speed)
        self._looked = now
        return self._centre

    def tcp(self, unit: int) -> Tables | None:
        """What that unit of the TCP wire shows now."""
        return devices.tcp(self.centre(), unit)

    def rtu(self, unit: int) -> Tables | None:
        """What that unit of the RS-485 line shows now."""
        return devices.rtu(self.centre(), unit)

    def state(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**self.centre().state(), "faults": self.faults.state()}
