"""Local outputs: keeps each siren, valve and door in the state that the alarms require, without a network.

An output is switched before the alarm is stored. One that does not confirm is retried, and is a fault until
it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from gateway.base.log import error_text, log_event
from gateway.model import Clock, Command, Fact, GatewayError, Lane, Sample, Value

from .services.alarms import OUTPUTS_DEVICE, Alarm, Output, alarms_requiring

RETRY_DELAY_S = 2.0
"""The delay before an output that did not confirm is switched again."""
REPEAT_ON_INTERVAL_S = 10.0
"""How often an output that must be on is switched on again: its power may have failed meanwhile."""
SWITCH_EXPIRY_MS = 10_000
"""A command to switch expires after this time."""


class OutputController:
    """Controls each output by a task of its own, so that one that does not answer delays no other."""

    def __init__(
        self,
        outputs: Mapping[str, Output],
        alarms: Callable[[], Iterable[Alarm]],
        execute: Callable[[Command], Awaitable[None]],
        report_sample: Callable[[Sample], Awaitable[None]],
        record_fact: Callable[[Fact], None],
        clock: Clock,
    ) -> None:
        self._outputs = outputs
        self._alarms = alarms
        self._execute = execute
        self._report_sample = report_sample
        self._record_fact = record_fact
        self._clock = clock
        self._wake_events = {name: asyncio.Event() for name in outputs}
        self._values: dict[str, Value] = {}

    def check_now(self) -> None:
        """Compare every output with the alarms at once."""
        for event in self._wake_events.values():
            event.set()

    async def run(self) -> None:
        """Control the outputs until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, output in self._outputs.items():
                tasks.create_task(self._control_output(name, output), name=f"output-{name}")

    async def _control_output(self, name: str, output: Output) -> None:
        attempted: bool | None = None
        reported: bool | None = None
        next_switch_s = 0.0
        while True:
            self._wake_events[name].clear()
            alarms = alarms_requiring(output, self._alarms())
            wanted = bool(alarms)
            action = output.on if wanted else output.off
            if action is None:
                attempted, next_switch_s = wanted, float("inf")
            elif wanted is not attempted or self._clock.mono() >= next_switch_s:
                error = await self._switch(name, output.device, action)
                # The first failure is not reported: at a start the bus is still being opened.
                if error is None or wanted is attempted:
                    is_change = wanted is not reported
                    await self._report_switching(
                        name, output.device, action, alarms, error, is_change=is_change
                    )
                    reported = wanted
                repeat_delay_s = REPEAT_ON_INTERVAL_S if wanted else float("inf")
                delay_s = RETRY_DELAY_S if error else repeat_delay_s
                attempted, next_switch_s = wanted, self._clock.mono() + delay_s
            await self._clock.wait(
                self._wake_events[name], min(next_switch_s - self._clock.mono(), REPEAT_ON_INTERVAL_S)
            )

    async def _switch(self, name: str, device: str, action: str) -> GatewayError | None:
        """Switch once; returns the error if the device did not confirm."""
        at = self._clock.now()
        expires = at.wall_ms + SWITCH_EXPIRY_MS
        command_id = f"{name}/{at.mono_ns:x}"
        try:
            await self._execute(
                Command(
                    id=command_id,
                    at=at,
                    device=device,
                    action=action,
                    expires=expires,
                    origin=OUTPUTS_DEVICE,
                )
            )
        except GatewayError as error:
            return error
        return None

    async def _report_switching(
        self,
        name: str,
        device: str,
        action: str,
        alarms: list[Alarm],
        error: GatewayError | None,
        *,
        is_change: bool,
    ) -> None:
        """Record once that an output was switched, failed, or works again."""
        failed = self._values.get(f"{name}.failed")
        if not is_change and failed == bool(error):
            return
        self._values[f"{name}.failed"] = error is not None
        if error is None:
            self._values[name] = bool(alarms)
        else:
            reason = error_text(error.key, **error.facts)
            log_event(logging.ERROR, "output-failed", output=name, device=device, reason=reason)
        now = self._clock.now()
        body = {
            "output": name,
            "action": action,
            "done": error is None,
            "detail": error.key if error else "",
            "alarms": [alarm.id for alarm in alarms],
        }
        self._record_fact(Fact(Lane.EVENT, device, "output", now, body))
        await self._report_sample(Sample(OUTPUTS_DEVICE, now, dict(self._values)))
