"""Local action: keeps each siren, valve and door as the alarms want it, network or not.

It is told of an alarm before the alarm is written down. What does not confirm is tried again, and is a
fault until it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from gateway.base.log import error_text, log_event
from gateway.model import Clock, Command, Fact, GatewayError, Lane, Sample, Value

from .services.alarms import OUTPUTS, Alarm, Output, asking

AGAIN = 2.0
"""Seconds until what did not confirm is tried again."""
ASSERT = 10.0
"""Seconds after which what must be on is switched on once more: its power may have failed meanwhile."""
PATIENCE = 10_000
"""Milliseconds in which a switch must have begun."""


class Outputs:
    """One task each, so that one that does not answer delays no other."""

    def __init__(
        self,
        outputs: Mapping[str, Output],
        alarms: Callable[[], Iterable[Alarm]],
        execute: Callable[[Command], Awaitable[None]],
        sample: Callable[[Sample], Awaitable[None]],
        record: Callable[[Fact], None],
        clock: Clock,
    ) -> None:
        self._outputs = outputs
        self._alarms = alarms
        self._execute = execute
        self._sample = sample
        self._record = record
        self._clock = clock
        self._changed = {name: asyncio.Event() for name in outputs}
        self._state: dict[str, Value] = {}

    def wake(self) -> None:
        """Alarms have changed: look again, at once."""
        for event in self._changed.values():
            event.set()

    async def run(self) -> None:
        """Keep them so, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for name, output in self._outputs.items():
                tasks.create_task(self._keep(name, output), name=f"output-{name}")

    async def _keep(self, name: str, output: Output) -> None:
        tried: bool | None = None
        told: bool | None = None
        due = 0.0
        while True:
            self._changed[name].clear()
            alarms = asking(output, self._alarms())
            wanted = bool(alarms)
            action = output.on if wanted else output.off
            if action is None:
                tried, due = wanted, float("inf")
            elif wanted is not tried or self._clock.mono() >= due:
                error = await self._switch(name, output.device, action)
                # Once is no failure yet: at a start its line is still being opened.
                if error is None or wanted is tried:
                    await self._tell(name, output.device, action, alarms, error, news=wanted is not told)
                    told = wanted
                calm = ASSERT if wanted else float("inf")
                tried, due = wanted, self._clock.mono() + (AGAIN if error else calm)
            await self._clock.wait(self._changed[name], min(due - self._clock.mono(), ASSERT))

    async def _switch(self, name: str, device: str, action: str) -> GatewayError | None:
        """Switch once; why it did not confirm, if so."""
        at = self._clock.now()
        expires = at.wall + PATIENCE
        key = f"{name}/{at.mono:x}"
        try:
            await self._execute(
                Command(id=key, at=at, device=device, action=action, expires=expires, origin=OUTPUTS)
            )
        except GatewayError as error:
            return error
        return None

    async def _tell(
        self,
        name: str,
        device: str,
        action: str,
        alarms: list[Alarm],
        error: GatewayError | None,
        *,
        news: bool,
    ) -> None:
        """Record what was switched, what failed, and what works again; each once."""
        failed = self._state.get(f"{name}.failed")
        if not news and failed == bool(error):
            return
        self._state[f"{name}.failed"] = error is not None
        if error is None:
            self._state[name] = bool(alarms)
        else:
            why = error_text(error.key, **error.facts)
            log_event(logging.ERROR, "output-failed", output=name, device=device, reason=why)
        now = self._clock.now()
        body = {
            "output": name,
            "action": action,
            "done": error is None,
            "detail": error.key if error else "",
            "alarms": [alarm.id for alarm in alarms],
        }
        self._record(Fact(Lane.EVENT, device, "output", now, body))
        await self._sample(Sample(OUTPUTS, now, dict(self._state)))
