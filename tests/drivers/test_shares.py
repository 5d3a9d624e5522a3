"""A sender that floods with messages that are legal and take long to decode has its share, and no more: all
messages of another device arrive, before more than a few of the flood."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from drivers import gb26875, http_push, lorawan, mqtt_json
from drivers.gb26875.packets import MIN_PACKET_BYTES
from gateway.model import Listener, ReadFailed
from gateway.wire.broker import BrokerOptions
from gateway.wire.mqtt import Connection
from gateway.wire.mqtt import connect as connect_mqtt
from tests.broker import running as running_broker
from tests.drivers.gb26875.frames import FIRE, STRANGER, A, B, component, components, device
from tests.drivers.gb26875.frames import packet as fire_packet
from tests.drivers.gb26875.peer import Peer, calling, until
from tests.drivers.test_hostile import UPLINK
from tests.drivers.test_http_push import bearer, door, request, secret
from tests.drivers.test_lorawan import sensor
from tests.drivers.test_mqtt_json import thermometer
from tests.ports import free_port

READINGS = 21
"""Messages of the other device, of which one is an alarm."""
FLOOD = 60
OBJECTS = [{"a": 0}] * 2000


class Heard:
    """What a listener has said, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._arrived = 0
        self._may_take = asyncio.Event()
        self._may_take.set()

    async def listen(self, listener: Listener) -> None:
        async for name, raw in listener.listen():
            assert not isinstance(raw, ReadFailed)
            self._arrived += name == "honest"
            await self._may_take.wait()
            self.names.append(name or "flood")  # Nobody configured it.

    @contextlib.asynccontextmanager
    async def held_until_it_arrives(self) -> AsyncIterator[None]:
        """Nothing is heard before the next message of the honest device can be."""
        arrived = self._arrived
        self._may_take.clear()
        yield
        await until(lambda: self._arrived > arrived)
        self._may_take.set()

    @contextlib.asynccontextmanager
    async def taking(self, listener: Listener) -> AsyncIterator[None]:
        task = asyncio.create_task(self.listen(listener))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def flood_meanwhile(self) -> int:
        """How many messages of the flood were heard between the first and the last of the other device."""
        first = self.names.index("honest")
        last = len(self.names) - 1 - self.names[::-1].index("honest")
        return self.names[first:last].count("flood")


@contextlib.asynccontextmanager
async def hearing(listener: Listener) -> AsyncIterator[Heard]:
    heard = Heard()
    async with heard.taking(listener):
        yield heard


class Sender(NamedTuple):
    """Behind a broker: where it publishes, and what."""

    topic: str
    message: Callable[[int], dict[str, Any]]


async def behind_a_broker(url: str, listener: Any, flood: Sender, honest: Sender) -> Heard:
    """Everything waits before anything is taken."""
    connection: Connection = listener._connection
    before = Connection.dropped
    async with connect_mqtt(BrokerOptions(url=url)) as publisher:
        sent: list[Awaitable[None]] = []
        for sender, count in ((flood, FLOOD), (honest, READINGS)):
            messages = [json.dumps(sender.message(number)).encode() for number in range(count)]
            sent += [publisher.publish(sender.topic, message) for message in messages]
        await asyncio.gather(*sent)
        await until(lambda: len(connection._inbox) == FLOOD + READINGS)
        async with hearing(listener) as heard:
            await until(lambda: len(heard.names) == FLOOD + READINGS)
    assert Connection.dropped == before
    return heard


async def mqtt(folder: Path) -> Heard:
    devices = thermometer("flood", "z/flood"), thermometer("honest", "z/honest")
    with running_broker(folder) as broker:
        async with mqtt_json.connect(BrokerOptions(url=broker.url), devices) as listener:
            return await behind_a_broker(
                broker.url,
                listener,
                Sender("z/flood", lambda number: {"t": number, "more": OBJECTS}),
                Sender("z/honest", lambda number: {"t": number}),
            )


async def lorawan_over_mqtt(folder: Path) -> Heard:
    model = "gas/milesight-gs101"
    devices = sensor(model, "flood"), sensor(model, "honest", "24e124136d151201")

    def sender(eui: str, **more: Any) -> Sender:
        def message(number: int) -> dict[str, Any]:
            event = {**UPLINK, "deviceInfo": {"devEui": eui}, **more}
            return {**event, "deduplicationId": f"{number}", "fCnt": number}

        return Sender(f"application/a1/device/{eui}/event/up", message)

    with running_broker(folder) as broker:
        async with lorawan.connect(lorawan.Options(url=broker.url), devices) as listener:
            flood, honest = (device.address.dev_eui for device in devices)
            return await behind_a_broker(broker.url, listener, sender(flood, more=OBJECTS), sender(honest))


async def http_pushes(folder: Path) -> Heard:
    port, token = free_port(), "another-long-token"
    devices = door("/flood", secret(folder, token)), door("/honest", secret(folder, token))
    options = http_push.Options(listen=f"127.0.0.1:{port}", secret_file=secret(folder, token))

    async def post(path: str, **body: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(path, json.dumps(body).encode(), bearer(token)))
        async with asyncio.timeout(20):
            assert b" 200 " in await reader.readline()
        writer.close()

    flooding = True

    async def flood() -> None:
        number = 0
        while flooding:
            number += 1
            await post("/flood", **{"in": number, "out": 0, "more": OBJECTS})

    async with http_push.connect(options, devices) as listener, hearing(listener) as heard:
        floods = [asyncio.create_task(flood()) for _ in range(16)]
        await until(lambda: len(heard.names) > 5)
        for number in range(READINGS):
            await post("/honest", **{"in": number, "out": 0})
        flooding = False
        await asyncio.gather(*floods)
    return heard


async def fire_panels(_folder: Path, source: bytes = A) -> Heard:
    """The flood comes on several connections of one panel."""
    devices = device("flood"), device("honest", B)
    parts = [component(0, number) for number in range(20)]
    async with contextlib.AsyncExitStack() as stack:
        options = gb26875.Options(listen="127.0.0.1:0", ask=False)
        listener = await stack.enter_async_context(gb26875.connect(options, devices))
        heard = await stack.enter_async_context(hearing(listener))
        assert listener.address
        streams = [await asyncio.open_connection(*listener.address) for _ in range(9)]
        for _, writer in streams:
            stack.callback(writer.transport.abort)
        for _, writer in streams[1:]:
            writer.write(fire_packet(components(*parts), source).encode() * 200)
        await until(lambda: len(heard.names) > 5)
        honest = Peer(*streams[0])
        for number in range(READINGS):
            await honest.ask(fire_packet(components(component(FIRE, number)), B).encode())
    return heard


async def fire_panels_that_nobody_configured(folder: Path) -> Heard:
    return await fire_panels(folder, STRANGER)


FLOODS: list[tuple[Callable[[Path], Awaitable[Heard]], int]] = [
    (mqtt, 1),
    (lorawan_over_mqtt, 1),
    (http_pushes, 5 * READINGS),
    (fire_panels, 5 * READINGS),
    (fire_panels_that_nobody_configured, 5 * READINGS),
]
"""With how many messages of the flood may be heard meanwhile. Behind a broker all have waited; others send
the next when the last has been answered, while the flood has its turns."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("flooded", "most"), FLOODS, ids=[flooded.__name__ for flooded, _ in FLOODS])
async def test_a_flood_of_one_costs_only_that_one(
    flooded: Callable[[Path], Awaitable[Heard]], most: int, tmp_path: Path
) -> None:
    heard = await flooded(tmp_path)
    assert heard.names.count("honest") == READINGS
    assert heard.names.count("flood") > 5
    assert heard.flood_meanwhile() <= most


class Door(NamedTuple):
    """A listener with two devices. Both return when their message has been taken from the sender."""

    flood: Callable[[], Awaitable[None]]
    alarm: Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def mqtt_door(folder: Path, heard: Heard) -> AsyncIterator[Door]:
    devices = thermometer("flood", "z/flood"), thermometer("honest", "z/honest")
    async with contextlib.AsyncExitStack() as stack:
        broker = stack.enter_context(running_broker(folder))
        options = BrokerOptions(url=broker.url)
        listener = await stack.enter_async_context(mqtt_json.connect(options, devices))
        publisher = await stack.enter_async_context(connect_mqtt(options))
        await stack.enter_async_context(heard.taking(listener))

        async def alarm() -> None:
            # The broker is a process of its own, which may take its time.
            async with heard.held_until_it_arrives():
                await publisher.publish("z/honest", b'{"t": 1}')

        yield Door(
            lambda: publisher.publish("z/flood", json.dumps({"t": 0, "more": OBJECTS}).encode()), alarm
        )


@contextlib.asynccontextmanager
async def http_door(folder: Path, heard: Heard) -> AsyncIterator[Door]:
    port, token = free_port(), "another-long-token"
    devices = door("/flood", secret(folder, token)), door("/honest", secret(folder, token))
    options = http_push.Options(listen=f"127.0.0.1:{port}", secret_file=secret(folder, token))

    async def post(path: str, **body: Any) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(path, json.dumps({"in": 1, "out": 0, **body}).encode(), bearer(token)))
        await writer.drain()
        streams.append(writer)
        return reader

    async def flood() -> None:
        await (await post("/flood", more=OBJECTS)).read()

    async def alarm() -> None:
        await post("/honest")

    streams: list[asyncio.StreamWriter] = []
    async with http_push.connect(options, devices) as listener, heard.taking(listener):
        yield Door(flood, alarm)
    for writer in streams:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def fire_door(_folder: Path, heard: Heard) -> AsyncIterator[Door]:
    flood_packet = fire_packet(components(*(component(0, number) for number in range(20)))).encode()
    alarm_packet = fire_packet(components(component(FIRE)), B).encode()
    options = gb26875.Options(listen="127.0.0.1:0", ask=False)
    async with contextlib.AsyncExitStack() as stack:
        devices = device("flood"), device("honest", B)
        listener = await stack.enter_async_context(gb26875.connect(options, devices))
        await stack.enter_async_context(heard.taking(listener))

        async def flood() -> None:
            async with calling(listener) as peer:
                await peer.ask(flood_packet * 10, 10 * MIN_PACKET_BYTES)

        async def alarm() -> None:
            peer = await stack.enter_async_context(calling(listener))
            peer.writer.write(alarm_packet)
            await peer.writer.drain()

        yield Door(flood, alarm)


Opened = Callable[[Path, Heard], contextlib.AbstractAsyncContextManager[Door]]
DOORS: tuple[Opened, ...] = (mqtt_door, http_door, fire_door)
MOST_BEFORE_AN_ALARM = 20
"""Messages of a flood on another listener: those that are taken while the alarm's own bytes are read."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("flooded", "other"), [*itertools.permutations(DOORS, 2)], ids=lambda opened: opened.__name__
)
async def test_a_flood_on_one_listener_delays_no_alarm_on_another(
    flooded: Opened, other: Opened, tmp_path: Path
) -> None:
    heard = Heard()
    async with flooded(tmp_path, heard) as flooded_door, other(tmp_path, heard) as alarm_door:

        async def flood() -> None:
            while True:
                await flooded_door.flood()

        floods = [asyncio.create_task(flood()) for _ in range(16)]
        try:
            for number in range(5):
                await until(lambda number=number: heard.names.count("flood") > 20 * number)
                await alarm_door.alarm()
                before = len(heard.names)
                await until(lambda number=number: heard.names.count("honest") > number)
                assert heard.names[before:].index("honest") <= MOST_BEFORE_AN_ALARM
        finally:
            for task in floods:
                task.cancel()
            await asyncio.wait(floods)
