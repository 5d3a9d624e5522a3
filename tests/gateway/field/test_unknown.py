from __future__ import annotations

import pytest

from gateway.base.security import SECURITY_LOG
from gateway.field.unknown import FORGOTTEN_AFTER_S, MAX_SENDERS, UnknownSenders
from gateway.model import MORE_PLACES, UnknownSender
from tests.clock import FakeClock


def sender(number: int, like: str = "", **fires: str) -> UnknownSender:
    return UnknownSender(address={"source": f"{number:02X}:00"}, like=like, fires=fires)


def test_each_is_told_once_with_the_line_to_write(caplog: pytest.LogCaptureFixture) -> None:
    SECURITY_LOG.take(every=True)
    senders = UnknownSenders("fire", FakeClock())
    for _ in range(5):
        senders.record(sender(1))
        senders.record(sender(2, like="panel"))
    assert len(caplog.records) == 2
    first, second = senders.diagnoses()
    assert (first.key, first.facts) == ("sender-unknown", {"bus": "fire", "keys": 'source = "01:00"'})
    assert (second.key, second.facts["device"]) == ("sender-reversed", "panel")
    assert senders.fires() == {}
    recorded = [(each.address, each.count) for each in SECURITY_LOG.take(every=True)]
    assert recorded == [('fire source = "01:00"', 5), ('fire source = "02:00"', 5)]


async def test_a_flood_of_made_up_addresses_is_told_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    senders = UnknownSenders("fire", clock)
    for number in range(10 * MAX_SENDERS):
        senders.record(sender(number))
    assert len(caplog.records) == len(senders.diagnoses()) + 1 == MAX_SENDERS + 1
    await clock.advance(FORGOTTEN_AFTER_S + 1)
    senders.record(sender(9999))
    assert [each.facts["keys"] for each in senders.diagnoses()] == ['source = "270F:00"']


async def test_a_fire_has_a_place_and_is_not_forgotten_until_it_is_over() -> None:
    clock = FakeClock()
    senders = UnknownSenders("fire", clock)
    senders.record(sender(1, p="三楼"))
    for number in range(2, 10 * MAX_SENDERS):
        senders.record(sender(number))
    await clock.advance(2 * FORGOTTEN_AFTER_S)
    senders.record(sender(2))
    assert senders.fires() == {"fire 01:00 p": "三楼"}
    senders.record(sender(1))
    assert senders.fires() == {}


def test_a_fire_always_finds_room_or_is_known_without_its_place() -> None:
    senders = UnknownSenders("fire", FakeClock())
    for number in range(MAX_SENDERS):
        senders.record(sender(number))
    for number in range(MAX_SENDERS, 2 * MAX_SENDERS):
        senders.record(sender(number, p=""))
    assert len(senders.fires()) == MAX_SENDERS
    assert MORE_PLACES not in senders.fires()
    senders.record(sender(999, p=""))
    assert MORE_PLACES in senders.fires()
