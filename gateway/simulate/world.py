"""The present state of the centre and its faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import devices
from .centre import Centre
from .devices import RegisterTables
from .faults import Faults


class World:
    """The centre with its faults. Time is advanced on access, so an unused centre costs nothing."""

    def __init__(
        self,
        centre: Centre,
        faults: Faults,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._centre, self.faults, self._speed, self._clock = centre, faults, speed, clock
        self._last_advanced = clock()

    def centre(self) -> Centre:
        """The centre at its present time."""
        now = self._clock()
        self._centre.advance((now - self._last_advanced) * self._speed)
        self._last_advanced = now
        return self._centre

    def tcp_tables(self, unit: int) -> RegisterTables | None:
        """The present tables of a unit on the TCP wire."""
        return devices.tcp_tables(self.centre(), unit)

    def rtu_tables(self, unit: int) -> RegisterTables | None:
        """The present tables of a unit on the RS-485 line."""
        return devices.rtu_tables(self.centre(), unit)

    def state(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**self.centre().state(), "faults": self.faults.state()}
