"""A bus that a scan opens itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from gateway.model import Bus, Clock, Driver, LinkDown, Point, ReadFailed

from .requests import make_scan_request, parse_keys

Table = dict[str, Any]

MAX_DISCONNECTS_IN_A_ROW = 3
"""How often in a row a bus may go down before it is given up."""


class ScannedBus:
    """Opened when it is first needed, and again after it was down."""

    def __init__(self, driver: Driver, table: Table, timeout_s: float, clock: Clock) -> None:
        self._driver = driver
        self._options = parse_keys(driver.options, table)
        self.timeout_s = timeout_s
        self._clock = clock
        self._exit_stack = AsyncExitStack()
        self._bus: Bus | None = None
        self._disconnects_in_a_row = 0

    async def __aenter__(self) -> ScannedBus:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit_stack.aclose()

    async def send_request(
        self, keys: Table, model: str = "", points: Mapping[str, Point] | None = None
    ) -> Table:
        """As `scanner.AskDevice`."""
        ask = make_scan_request(self._driver, parse_keys(self._driver.address, keys), model, points)
        try:
            bus = self._bus or await self._connect()
            answer = await ask(bus)
        except LinkDown as down:
            self._bus = None
            await self._exit_stack.aclose()
            self._disconnects_in_a_row += 1
            if self._disconnects_in_a_row == MAX_DISCONNECTS_IN_A_ROW or down.key == "line-open":
                raise
            raise ReadFailed(down.key) from down
        except ReadFailed as failed:
            if points is not None and bus.settle_s and failed.kind.late_reply_possible:
                # A late reply could be taken for that of the next request.
                await self._clock.sleep(2 * self.timeout_s)
            raise
        self._disconnects_in_a_row = 0
        return answer

    async def _connect(self) -> Bus:
        bus = await self._exit_stack.enter_async_context(self._driver.connect(self._options, ()))
        assert isinstance(bus, Bus)
        bus.timeout_s = self.timeout_s
        self._bus = bus
        return bus
