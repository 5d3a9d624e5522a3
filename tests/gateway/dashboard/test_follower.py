"""What is urgent is noticed at the next look at the journal; the rest twice a second."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.base.clock import SystemClock
from gateway.capabilities.safety.pages import SafetySettings
from gateway.capabilities.safety.services.alarms import Alarm, AlarmState
from gateway.dashboard.follower import JOURNAL_POLL_INTERVAL_S, VIEW_INTERVAL_S, Follower
from gateway.dashboard.parts import page_parts
from gateway.journal import Journal, JournalReader
from gateway.model import Fact, Hazard, Lane, Sample
from gateway.web.settings import Settings
from tests.clock import FakeClock
from tests.gateway.dashboard_fixtures import DEVICES


class LookClock(FakeClock):
    """Says when the follower has looked at the journal."""

    def __init__(self) -> None:
        super().__init__()
        self._looked = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds == JOURNAL_POLL_INTERVAL_S:
            self._looked.set()
        await super().sleep(seconds)

    async def look(self) -> None:
        """The next look."""
        self._looked.clear()
        await self.advance(JOURNAL_POLL_INTERVAL_S)
        await self._looked.wait()


async def test_an_alarm_is_seen_at_the_next_look(tmp_path: Path) -> None:
    clock = LookClock()
    settings = Settings(
        journal=tmp_path / "journal.db", control=tmp_path / "sock", access=tmp_path / "key",
        title={"zh": "中心"}, timezone="Asia/Shanghai", devices=DEVICES, parts={"safety": SafetySettings()},
    )  # fmt: skip
    async with (
        Journal.open(settings.journal, SystemClock(), 0.1) as journal,
        JournalReader.open(settings.journal) as reader,
    ):
        parts = [part for part in page_parts() if part.name in ("core", "safety")]
        follower = Follower(settings, parts, clock)

        def temperature() -> object:
            rows = {device.name: device.values for device in follower.view.devices}
            return next((each.value for each in rows["nasty"]), None)

        async def say(value: float) -> None:
            before = await reader.last_pos(Lane.TELEMETRY)
            journal.append_sample(Sample("nasty", clock.now(), {"temperature": value}))
            while await reader.last_pos(Lane.TELEMETRY) == before:
                pass

        async def looks_until(value: float) -> int:
            """How many looks it takes until the temperature is shown."""
            for count in range(1, 10):
                await clock.look()
                if temperature() == value:
                    return count
            raise AssertionError(value)

        async with follower.running():
            await say(21.5)
            await looks_until(21.5)
            await say(30.5)
            assert await looks_until(30.5) >= VIEW_INTERVAL_S / JOURNAL_POLL_INTERVAL_S
            await say(40.5)
            raised = clock.now()
            alarm = Alarm(
                id="smoke/smoke/1", device="smoke", point="smoke", hazard=Hazard.FIRE,
                state=AlarmState.ACTIVE, raised=raised, value=True,
            )  # fmt: skip
            fact = Fact(Lane.ALARM, "smoke", "alarm", raised, {"id": alarm.id, "change": "raised"})
            journal.append("safety", [fact], {"smoke/smoke": alarm})
            await journal.commit()
            assert await looks_until(40.5) == 1
            assert [each.id for each in follower.view.parts["safety"].alarms] == [alarm.id]
