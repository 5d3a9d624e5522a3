"""Several platforms at once: none holds up another, or loses anything for it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.journal import StreamFilter
from gateway.model import Lane
from gateway.uplink import Uplink
from tests.gateway.uplink.kit import ROOT, Gateway, eventually, gateway, mosquitto, witness
from tests.ports import free_port

ALARM, EVENT, TELEMETRY = Lane
EVERYTHING = StreamFilter()
SMOKE_ALARMS = StreamFilter(frozenset({ALARM}), frozenset({"smoke"}))


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two brokers."""
    first, second = free_port(), free_port()
    with mosquitto(tmp_path, first), mosquitto(tmp_path, second):
        yield first, second


@asynccontextmanager
async def running(it: Gateway, **ports: int) -> AsyncIterator[dict[str, Uplink]]:
    started = {name: it.start_one(name, port) for name, port in ports.items()}
    try:
        yield {name: uplink for name, (uplink, _) in started.items()}
    finally:
        for _, task in started.values():
            task.cancel()
        for _, task in started.values():
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_one_that_is_away_holds_up_no_other_and_loses_nothing(
    tmp_path: Path, ports: tuple[int, int]
) -> None:
    here, there = ports
    away = free_port()
    async with gateway(tmp_path) as it:
        await it.configure(community=EVERYTHING, property=EVERYTHING)
        with witness(here) as seen:
            async with running(it, community=here, property=away):
                for n in range(20):
                    it.measure(n)
                it.tell(ALARM, device="smoke")
                await it.journal.commit()
                await eventually(lambda: seen.seqs() == list(range(1, 21)) and seen.seqs("alarm", "smoke"))
                await eventually(lambda: it.journal.deliveries["community"].positions[ALARM] == 1)
                assert it.journal.deliveries["property"].positions == dict.fromkeys(Lane, 0)
        with witness(there) as seen:
            async with running(it, community=here, property=there):
                await eventually(lambda: seen.seqs() == list(range(1, 21)))
                await eventually(lambda: seen.seqs("alarm", "smoke") == [1])
                await eventually(lambda: it.journal.deliveries["property"].positions[ALARM] == 1)


async def test_a_platform_receives_its_streams_whole_and_no_other(
    tmp_path: Path, ports: tuple[int, int]
) -> None:
    here, there = ports
    async with gateway(tmp_path) as it:
        await it.configure(community=EVERYTHING, fire=SMOKE_ALARMS)
        with witness(here) as every, witness(there) as fire:
            async with running(it, community=here, fire=there):
                for device in ("smoke", "door", "smoke", "door", "smoke"):
                    it.tell(ALARM, device=device)
                    it.tell(EVENT, device=device)
                    it.measure(device=device)
                    await it.journal.commit()
                await eventually(lambda: fire.seqs("alarm", "smoke") == [1, 2, 3])
                await eventually(lambda: every.seqs("alarm", "door") == [1, 2])
                await eventually(lambda: every.seqs(device="smoke") == [1, 2, 3])
                await fire.caught_up()
                streams = {
                    (payload["device"], payload["lane"]) for _, payload in fire.heard if "lane" in payload
                }
                assert streams == {("smoke", "alarm")}
        await it.close_window()
        rows = await it.journal.reader.ledger(reader="fire")
        assert [(row.lane, row.device, row.measured, row.delivered) for row in rows] == [
            (ALARM, "smoke", 3, 3)
        ]


async def test_two_platforms_may_use_the_same_id_for_their_commands(
    tmp_path: Path, ports: tuple[int, int]
) -> None:
    here, there = ports
    async with gateway(tmp_path) as it:
        await it.configure(community=EVERYTHING, fire=EVERYTHING)
        with witness(here) as first, witness(there) as second:
            async with running(it, community=here, fire=there) as uplinks:
                await eventually(lambda: all(uplink.is_online for uplink in uplinks.values()))
                for port in ports:
                    _command(port, {"id": "1", "device": "d", "action": "open", "expires": 2**53})
                await eventually(lambda: first.on("reply") and second.on("reply"))
        assert {(each.id, each.origin) for each in it.commands} == {
            ("community/1", "upstream.community"),
            ("fire/1", "upstream.fire"),
        }
        assert [reply["id"] for reply in (*first.on("reply"), *second.on("reply"))] == ["1", "1"]


def _command(port: int, command: dict[str, object]) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish(f"{ROOT}/command", json.dumps(command), qos=1).wait_for_publish(10)
    client.loop_stop()
    client.disconnect()
