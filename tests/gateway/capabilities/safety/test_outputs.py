from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from gateway.capabilities.safety.outputs import REPEAT_ON_INTERVAL_S, RETRY_DELAY_S, OutputController
from gateway.capabilities.safety.services.alarms import (
    Alarm,
    AlarmMode,
    AlarmState,
    Output,
    alarms_requiring,
)
from gateway.model import Command, Fact, GatewayError, Hazard, LinkDown, ReadFailed, Sample
from tests.clock import FakeClock
from tests.gateway.services.kit import at

SIREN = Output(device="relay", off="off", hazards=(Hazard.FIRE,), sound=True, drill=True)
VALVE = Output(device="valve", on="close", hazards=(Hazard.GAS, Hazard.FIRE))
DOOR = Output(device="door", on="release", off="lock", hazards=(Hazard.FIRE,), unless=(Hazard.GAS,))
FIRE = Alarm(
    id="1", device="d", point="smoke", hazard=Hazard.FIRE, state=AlarmState.ACTIVE, raised=at(0), latch=True
)
GAS = replace(FIRE, id="2", hazard=Hazard.GAS)


def test_which_alarms_ask() -> None:
    for state in set(AlarmState) - {AlarmState.NORMAL}:
        alarm = replace(FIRE, state=state)
        assert bool(alarms_requiring(VALVE, [alarm])), "a valve stays until a person has reset the alarm"
        assert bool(alarms_requiring(SIREN, [alarm])) == (state is not AlarmState.LATCHED)
    for mode in (AlarmMode.SHELVED, AlarmMode.DISABLED, AlarmMode.TEST):
        assert not alarms_requiring(VALVE, [replace(FIRE, mode=mode)])
    assert not alarms_requiring(SIREN, [GAS])


def test_muting_silences_the_siren_alone() -> None:
    muted = replace(FIRE, muted=True)
    assert not alarms_requiring(SIREN, [muted])
    assert alarms_requiring(VALVE, [muted])
    assert alarms_requiring(SIREN, [muted, replace(FIRE, id="3")])


def test_a_drill_moves_only_what_takes_part_in_it() -> None:
    drill = replace(FIRE, mode=AlarmMode.DRILL)
    assert alarms_requiring(SIREN, [drill])
    assert not alarms_requiring(VALVE, [drill])


def test_an_interlock_holds_an_output_back() -> None:
    assert alarms_requiring(DOOR, [FIRE])
    assert not alarms_requiring(DOOR, [FIRE, GAS])
    assert alarms_requiring(DOOR, [FIRE, replace(GAS, mode=AlarmMode.DRILL)]), "a drill locks nothing"


class Rig:
    """Outputs whose devices note what they are told, or refuse."""

    def __init__(self, **outputs: Output) -> None:
        self.clock = FakeClock()
        self.alarms: list[Alarm] = []
        self.done: list[tuple[float, str, str]] = []
        self.refuse: dict[str, GatewayError] = {}
        self.slow: dict[str, float] = {}
        self.facts: list[Fact] = []
        self.samples: list[Sample] = []
        self.began = self.clock.mono()
        self.outputs = OutputController(
            outputs, lambda: self.alarms, self._execute, self._take, self.facts.append, self.clock
        )

    async def _execute(self, command: Command) -> None:
        await self.clock.sleep(self.slow.get(command.device, 0.02))
        self.done.append((self.clock.mono() - self.began, command.device, command.action))
        if error := self.refuse.get(command.device):
            raise error

    async def _take(self, sample: Sample) -> None:
        self.samples.append(sample)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        job = asyncio.create_task(self.outputs.run())
        await self.clock.advance(1)
        try:
            yield
            assert not job.done()
        finally:
            job.cancel()
            await asyncio.wait([job])

    def set(self, *alarms: Alarm) -> None:
        self.alarms = list(alarms)
        self.outputs.check_now()

    def orders(self, device: str) -> list[str]:
        return [action for _, who, action in self.done if who == device]

    def last(self) -> dict[str, Any]:
        return self.samples[-1].values


async def test_at_the_start_everything_is_put_as_the_alarms_want_it() -> None:
    rig = Rig(siren=SIREN, valve=VALVE)
    async with rig.running():
        assert rig.orders("relay") == ["off"]
        assert rig.orders("valve") == [], "a valve that was shut stays shut"


async def test_an_alarm_that_stood_before_a_restart_sounds_at_once() -> None:
    rig = Rig(siren=SIREN, valve=VALVE)
    rig.alarms = [FIRE]
    async with rig.running():
        assert rig.orders("relay") == ["on"]
        assert rig.orders("valve") == ["close"]


async def test_an_alarm_switches_at_once_and_its_end_switches_back() -> None:
    rig = Rig(siren=SIREN)
    async with rig.running():
        rig.set(FIRE)
        await rig.clock.advance(0.05)
        assert rig.orders("relay") == ["off", "on"]
        assert rig.last() == {"siren": True, "siren.failed": False}
        rig.set()
        await rig.clock.advance(0.05)
        assert rig.orders("relay") == ["off", "on", "off"]
        assert [fact.body["done"] for fact in rig.facts] == [True, True, True]
        assert rig.facts[1].body["alarms"] == ["1"]


async def test_what_must_be_on_is_asserted_again_and_told_once() -> None:
    rig = Rig(siren=SIREN)
    async with rig.running():
        rig.set(FIRE)
        await rig.clock.advance(3.5 * REPEAT_ON_INTERVAL_S)
        assert rig.orders("relay") == ["off", "on", "on", "on", "on"]
        assert len(rig.facts) == 2


async def test_what_does_not_confirm_is_a_fault_and_is_tried_until_it_does() -> None:
    rig = Rig(siren=SIREN)
    async with rig.running():
        rig.refuse["relay"] = ReadFailed("unconfirmed")
        rig.set(FIRE)
        await rig.clock.advance(3.5 * RETRY_DELAY_S)
        assert rig.orders("relay").count("on") == 4
        assert rig.last() == {"siren": False, "siren.failed": True}
        del rig.refuse["relay"]
        await rig.clock.advance(RETRY_DELAY_S)
        assert rig.last() == {"siren": True, "siren.failed": False}
        assert [fact.body["detail"] for fact in rig.facts] == ["", "unconfirmed", ""]


async def test_a_line_that_is_still_being_opened_at_the_start_is_no_failure() -> None:
    rig = Rig(siren=SIREN)
    rig.refuse["relay"] = LinkDown("line-down")
    async with rig.running():
        del rig.refuse["relay"]
        await rig.clock.advance(RETRY_DELAY_S)
        assert rig.orders("relay") == ["off", "off"]
        assert [fact.body["done"] for fact in rig.facts] == [True]


async def test_a_storm_of_alarms_is_one_order() -> None:
    rig = Rig(siren=SIREN)
    async with rig.running():
        for n in range(1000):
            rig.set(FIRE, replace(FIRE, id=str(n)))
            await rig.clock.settle()
        await rig.clock.advance(0.1)
        assert rig.orders("relay") == ["off", "on"]


async def test_an_output_that_does_not_answer_delays_no_other() -> None:
    rig = Rig(siren=SIREN, valve=VALVE)
    async with rig.running():
        rig.slow["relay"] = 60
        rig.set(FIRE)
        await rig.clock.advance(0.05)
        assert rig.orders("valve") == ["close"]
