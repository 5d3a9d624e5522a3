from __future__ import annotations

import asyncio
import time

from gateway.base.event_loop import TimedEventLoop


async def busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(0)


def test_only_waiting_is_idle_time() -> None:
    with asyncio.Runner(loop_factory=TimedEventLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, TimedEventLoop)
        runner.run(busy(0.02))
        assert loop.idle_s == 0.0
        runner.run(asyncio.sleep(0.05))
        waited_s = loop.idle_s
        assert waited_s >= 0.049
        runner.run(busy(0.02))
        assert loop.idle_s == waited_s
