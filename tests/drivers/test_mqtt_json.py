from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mqtt_json import (
    DRIVER,
    MAX_QUICK_BYTES,
    Address,
    JsonPoint,
    connect,
    decode,
    format_raw,
    parse_example,
    split,
)
from gateway.base.clock import SystemClock
from gateway.config import BusSpec, Mistakes, load_profile
from gateway.field.line import Line
from gateway.model import (
    Arrival,
    Command,
    ConfigError,
    Device,
    Listener,
    ReadFailed,
    Sample,
    StoredReading,
    Value,
)
from gateway.wire.broker import BrokerOptions
from gateway.wire.codec import convert_values
from gateway.wire.mqtt import Connection
from gateway.wire.mqtt import connect as connect_mqtt
from gateway.wire.press import PressEnd
from tests.broker import Broker, hearing, running, subscribing_allowed

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)


@given(json, st.lists(st.text(max_size=6), max_size=5), st.booleans())
def test_decoding_never_raises(raw: Any, paths: list[str], pulse: bool) -> None:
    points = {path: JsonPoint(path=path, scale=0.1, min=0, pulse=pulse) for path in paths}
    for said in (raw, PressEnd(raw)):
        values = decode(points, said)
        assert all(isinstance(value, bool | int | float | str | None) for value in values.values())
        convert_values(points, values)


def test_a_quantity_that_the_device_does_not_know_is_said_to_be_none() -> None:
    points = {
        "temperature": JsonPoint(path="a.t", unit="°C", optional=True),
        "humidity": JsonPoint(path="a.h", unit="%", optional=True),
        "button": JsonPoint(path="action", optional=True),
    }
    raw = parse_example({"json": '{"a": {"t": null}, "action": null}'})
    assert convert_values(points, decode(points, raw)) == ({}, {"temperature": "not-a-number"})


@pytest.mark.parametrize(
    ("model", "said", "value"),
    [
        ("siren/generic-tasmota", '{"POWER": "on"}', True),
        ("siren/generic-tasmota", '{"POWER": "TOGGLE"}', None),
        ("siren/generic-tasmota", '{"POWER": 1}', None),
        ("valve/generic-zigbee2mqtt", '{"state": "OPEN"}', True),
        ("valve/generic-zigbee2mqtt", '{"state": "UNKNOWN"}', None),
        ("energy-meter/tuya-ts011f", '{"state": "Off"}', False),
    ],
)
def test_a_word_that_is_not_known_is_not_the_safe_one(model: str, said: str, value: bool | None) -> None:
    points: Any = load_profile(PROFILES / f"{model}.toml").points
    values, bad = convert_values(points, decode(points, parse_example({"json": said})))
    name = next(iter(points))
    assert (values.get(name), bad.get(name)) == (value, "wrong-type" if value is None else None)


def test_a_path_leads_through_keys_and_lists() -> None:
    raw = parse_example(
        {"json": '{"ENERGY": {"Power": [3, 4.5]}, "state": "ON", "none": null, "10": {"a": true}}'}
    )
    paths = (
        "ENERGY.Power.1",
        "state",
        "none",
        "10.a",
        "ENERGY",
        "ENERGY.Power.2",
        "ENERGY.Power.-1",
        "state.0",
    )
    values = decode({path: JsonPoint(path=path) for path in paths}, raw)
    assert values == {"ENERGY.Power.1": 4.5, "state": "ON", "10.a": True}


@pytest.mark.parametrize("fields", [{}, {"json": "{"}, {"json": 4}])
def test_an_example_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((KeyError, AttributeError, TypeError, ReadFailed)):
        parse_example(fields)


def thermometer(name: str, topic: str) -> Device:
    return Device(
        name=name,
        title={},
        kind="thermometer",
        profile="",
        bus="zigbee",
        address=Address(topic=topic),
        points={"t": JsonPoint(path="t")},
        every=1.0,
    )


@contextlib.asynccontextmanager
async def both(broker: Broker, *devices: Device) -> AsyncIterator[tuple[Listener, Connection]]:
    options = BrokerOptions(url=broker.url)
    async with connect_mqtt(options) as sender, connect(options, devices) as listener:
        yield listener, sender


async def test_what_devices_publish_is_heard_and_what_is_none_is_said_so(broker: Broker) -> None:
    devices = thermometer("a", "z/a"), thermometer("b", "z/b")
    bad = (b"{", b"\xff\xfe", b"", b"\x08\x01", b"{'")
    async with both(broker, *devices) as (listener, sender):
        heard: list[tuple[str, Any]] = []

        async def hear() -> None:
            async for name, raw in listener.listen():
                heard.append((name, raw))

        task = asyncio.create_task(hear())
        async with asyncio.timeout(10):
            while not heard:  # until the subscription stands
                await sender.publish("z/a", b'{"t": 4.2}')
                await asyncio.sleep(0.05)
            heard.clear()
            for payload in bad:
                await sender.publish("z/b", payload)
            await sender.publish("z/other", b'{"t": 1}')
            await sender.publish("z/a", b'{"t": 5}')
            while ("a", {"t": 5}) not in heard:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    wrong = [raw for name, raw in heard if name == "b"]
    assert [raw.key for raw in wrong if isinstance(raw, ReadFailed)] == ["not-json"] * len(bad)
    assert {name for name, _ in heard} == {"a", "b"}


async def readings(listener: Listener, count: int) -> list[tuple[str, Any]]:
    async with asyncio.timeout(10):
        found: list[tuple[str, Any]] = []
        async for reading in listener.listen():
            found.append(reading)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("message", [b'[{"t": 2}, {"t": 3}]', b'{"t": 2}\n{"t": 3}\n'])
async def test_each_of_several_messages_in_one_is_a_reading(broker: Broker, message: bytes) -> None:
    async with both(broker, thermometer("a", "z/a")) as (listener, sender):
        await sender.publish("z/a", message)
        assert await readings(listener, 2) == [("a", {"t": 2}), ("a", {"t": 3})]


@pytest.mark.parametrize("padding", [0, MAX_QUICK_BYTES])
async def test_each_record_that_a_device_kept_is_a_reading(broker: Broker, padding: int) -> None:
    device = msgspec.structs.replace(
        thermometer("a", "z/a"),
        points={"t": JsonPoint(path="records[].t"), "time": JsonPoint(path="records[].at")},
    )
    records = [{"at": 1797740152 + number, "t": number} for number in (2, 0, 1)]
    message = msgspec.json.encode({"records": records, "name": "x" * padding})
    async with both(broker, device) as (listener, sender):
        await sender.publish("z/a", message)
        found = [decode(device.points, raw)["t"] for _, raw in await readings(listener, 3)]
    assert found == [0, 1, 2]
    other = parse_example({"topic": "{topic}/other", "json": "[]"})
    assert split(device.points, other) == [other]


async def test_a_retained_message_is_a_reading_only_where_the_profile_says_that_it_is_the_state(
    broker: Broker,
) -> None:
    """The end mark comes after what the broker had retained."""
    async with connect_mqtt(BrokerOptions(url=broker.url)) as sender:
        for topic in ("z/a", "z/b"):
            await sender.publish(topic, b'{"t": 1}', retain=True)
    state = msgspec.structs.replace(thermometer("b", "z/b"), retained="state")
    async with both(broker, thermometer("a", "z/a"), state) as (listener, sender):
        first = await readings(listener, 1)
        for topic in ("z/a", "z/b"):
            await sender.publish(topic, b'{"t": 2}')
        rest = await readings(listener, 2)
    assert first == [("b", StoredReading({"t": 1}, Arrival.RETAINED))]
    assert sorted(rest) == [("a", {"t": 2}), ("b", {"t": 2})]


async def test_a_press_that_was_retained_is_over(broker: Broker) -> None:
    points = {"sos": JsonPoint(path="action", equals="emergency", pulse=True, optional=True)}
    button = msgspec.structs.replace(thermometer("a", "z/a"), points=points, retained="state")
    pressed = {"action": "emergency"}
    async with connect_mqtt(BrokerOptions(url=broker.url)) as sender:
        await sender.publish("z/a", msgspec.json.encode(pressed), retain=True)
    async with both(broker, button) as (listener, _):
        assert await readings(listener, 1) == [("a", StoredReading(PressEnd(pressed), Arrival.RETAINED))]


async def test_what_was_sent_while_the_gateway_was_away_comes_with_an_unknown_age(broker: Broker) -> None:
    device = thermometer("a", "z/a")
    options = BrokerOptions(url=broker.url, client_id="linli-centre-zigbee")
    both_devices = (device, thermometer("gone", "z/gone"))
    async with (
        connect(options, both_devices) as listener,
        connect_mqtt(BrokerOptions(url=broker.url)) as sender,
    ):
        for topic in ("z/a", "z/gone"):
            while True:  # until the subscription stands
                with contextlib.suppress(ReadFailed):
                    await sender.publish_command(topic, b'{"t": 0}')
                    break
        # The first is acknowledged when the second is asked for.
        assert await readings(listener, 2) == [("a", {"t": 0}), ("gone", {"t": 0})]
    async with connect_mqtt(BrokerOptions(url=broker.url)) as sender:
        for number in range(1, 41):
            await sender.publish("z/gone", b"{}")
            await sender.publish("z/a", b'{"t": %d}' % number)
    async with connect(options, (device,)) as listener:
        got = await readings(listener, 40)
        assert [reading.raw["t"] for _, reading in got if isinstance(reading, StoredReading)] == list(
            range(1, 41)
        )
        assert {reading.arrival for _, reading in got} == {Arrival.QUEUED}
        async with connect_mqtt(BrokerOptions(url=broker.url)) as sender:
            with pytest.raises(ReadFailed, match="nobody-subscribed"):
                await sender.publish_command("z/gone", b"{}")


async def test_what_was_queued_is_newer_than_what_is_retained(broker: Broker) -> None:
    options = BrokerOptions(url=broker.url, client_id="linli-centre-zigbee")
    device = msgspec.structs.replace(thermometer("a", "z/a"), retained="state")
    async with connect_mqtt(BrokerOptions(url=broker.url)) as sender:
        await sender.publish("z/a", b'{"t": 1}', retain=True)
        async with connect(options, (device,)) as listener:
            assert await readings(listener, 1) == [("a", StoredReading({"t": 1}, Arrival.RETAINED))]
        await sender.publish("z/a", b'{"t": 2}')
        async with connect(options, (device,)) as listener:
            # The one that was not acknowledged comes again, but not after the newer one.
            (_, again), (_, newer) = await readings(listener, 2)
            assert again == StoredReading({"t": 1}, Arrival.RETAINED)
            assert newer == StoredReading({"t": 2}, Arrival.QUEUED)
            await sender.publish_command("z/a", b'{"t": 3}')
            ((_, last),) = await readings(listener, 1)
            assert last in ({"t": 3}, StoredReading({"t": 3}, Arrival.QUEUED))


async def test_a_message_that_was_not_processed_to_the_end_comes_again(broker: Broker) -> None:
    options = BrokerOptions(url=broker.url, client_id="linli-centre-zigbee")
    device = thermometer("a", "z/a")
    async with (
        connect(options, (device,)) as listener,
        connect_mqtt(BrokerOptions(url=broker.url)) as sender,
    ):
        while True:
            with contextlib.suppress(ReadFailed):
                await sender.publish_command("z/a", b'{"t": 7}')
                break
        assert await readings(listener, 1) == [("a", {"t": 7})]
    async with connect(options, (device,)) as listener:
        assert await readings(listener, 1) == [("a", StoredReading({"t": 7}, Arrival.QUEUED))]


async def test_one_refused_topic_costs_no_other(tmp_path: Path) -> None:
    with running(tmp_path, *subscribing_allowed(tmp_path, "z/a")) as broker:
        async with both(broker, thermometer("b", "z/b"), thermometer("a", "z/a")) as (listener, sender):
            (name, refused), *_ = await readings(listener, 1)
            assert (name, refused.key, refused.facts["topic"]) == ("b", "topic-subscribe", "z/b")
            while True:
                with contextlib.suppress(ReadFailed):
                    await sender.publish_command("z/a", b'{"t": 4}')
                    break
            assert await readings(listener, 1) == [("a", {"t": 4})]


def test_the_end_of_a_press_is_shown_as_such() -> None:
    assert format_raw(parse_example({"json": '{"a": 1}'})) == '{"a":1}'
    assert format_raw(parse_example({"json": '{"a": 1}', "over": True})) == '{"a":1} (over)'


async def test_a_press_is_over_as_soon_as_it_is_told(broker: Broker) -> None:
    points = {
        "sos": JsonPoint(path="action", equals="emergency", pulse=True, optional=True),
        "battery": JsonPoint(path="battery"),
    }
    button = msgspec.structs.replace(thermometer("a", "z/a"), points=points)
    async with both(broker, button) as (listener, sender):
        said = aiter(listener.listen())
        first = asyncio.create_task(anext(said))
        async with asyncio.timeout(10):
            while not first.done():  # until the subscription stands
                await sender.publish("z/a", b'{"battery": 90}')
                await asyncio.sleep(0.05)
            await sender.publish("z/a", b'{"battery": 90, "action": "emergency"}')
            await sender.publish("z/a", b'{"battery": 89}')
            heard = []
            while {"battery": 89} not in heard:
                heard.append(convert_values(points, decode(points, (await anext(said))[1]))[0])
    assert heard[-3:] == [{"sos": True, "battery": 90}, {"sos": False, "battery": 90}, {"battery": 89}]


PROFILES = Path(__file__).parents[2] / "config" / "profiles"


def valve(topic: str, profile: str = "valve/generic-zigbee2mqtt") -> Device:
    model = load_profile(PROFILES / f"{profile}.toml")
    return Device(
        name="valve",
        title={},
        kind=model.kind,
        profile=profile,
        bus="zigbee",
        address=Address(topic=topic),
        points=model.points,
        actions=model.actions,
        every=0.5,
    )


@contextlib.asynccontextmanager
async def supervised(
    broker: Broker, device: Device, samples: list[Sample] | None = None
) -> AsyncIterator[Line]:
    async def sink(sample: Sample) -> None:
        if samples is not None:
            samples.append(sample)

    bus = Line(BusSpec("zigbee", DRIVER, BrokerOptions(url=broker.url)), (device,), SystemClock(), sink)
    task = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(10):
            while not bus.counters.is_up:
                await asyncio.sleep(0.02)
        yield bus
    finally:
        task.cancel()
        await asyncio.wait([task])


def command(action: str) -> Command:
    at = SystemClock().now()
    return Command(
        id="1", at=at, device="valve", action=action, expires=at.wall_ms + 10_000, origin="console"
    )


async def test_a_valve_is_shut_when_its_next_message_says_so(broker: Broker) -> None:
    device, samples = valve("zigbee2mqtt/cellar/valve"), list[Sample]()
    async with hearing(broker, "zigbee2mqtt/#") as told, supervised(broker, device, samples) as bus:
        shutting = asyncio.create_task(bus.execute(command("close-valve")))
        async with asyncio.timeout(10):
            line = await told.readline()
        assert line.decode() == 'zigbee2mqtt/cellar/valve/set {"state": "OFF"}\n'
        async with connect_mqtt(BrokerOptions(url=broker.url)) as sender:
            await sender.publish("zigbee2mqtt/cellar/valve", b'{"state": "ON"}')
            async with asyncio.timeout(10):
                while not any(sample.values for sample in samples):
                    await asyncio.sleep(0.02)
            assert not shutting.done()
            await sender.publish("zigbee2mqtt/cellar/valve", b'{"state": "OFF"}')
            async with asyncio.timeout(10):
                await shutting


async def test_the_topic_of_an_action_is_made_from_the_devices_own(broker: Broker) -> None:
    device = valve("tele/yard/STATE", "siren/generic-tasmota")
    async with hearing(broker, "cmnd/#") as told, supervised(broker, device) as bus:
        sounding = asyncio.create_task(bus.execute(command("siren-on")))
        async with asyncio.timeout(10):
            assert (await told.readline()).decode() == "cmnd/yard/POWER ON\n"
        sounding.cancel()
        await asyncio.wait([sounding])


async def test_an_order_that_cannot_arrive_has_failed(broker: Broker) -> None:
    async with supervised(broker, valve("zigbee2mqtt/gone")) as bus:
        with pytest.raises(ReadFailed, match="nobody-subscribed"):
            await bus.execute(command("open-valve"))
        assert bus.counters.is_up


@pytest.mark.parametrize("topic", ["", "a/#", "a/+/b", "{topic", "{other}/set", "{0.x}", "{12}"])
def test_a_topic_that_cannot_be_is_named(tmp_path: Path, topic: str) -> None:
    text = (PROFILES / "valve" / "generic-zigbee2mqtt.toml").read_text("utf-8")
    file = tmp_path / "wrong.toml"
    file.write_text(text.replace("{topic}/set", topic, 1), "utf-8")
    with pytest.raises(Mistakes) as wrong:
        load_profile(file)
    assert [mistake.key for mistake in wrong.value.mistakes] == ["mqtt-order-topic"]


@contextlib.asynccontextmanager
async def sampled(broker: Broker, profile: str, topic: str, **address: Any) -> AsyncIterator[list[Sample]]:
    """The samples of a device of that model, once it is heard."""
    model = load_profile(PROFILES / f"{profile}.toml")
    device = msgspec.structs.replace(
        thermometer("a", topic), points=model.points, address=Address(topic=topic, **address), every=60.0
    )
    samples: list[Sample] = []

    async def keep(sample: Sample) -> None:
        samples.append(sample)

    options = BrokerOptions(url=broker.url)
    line = Line(BusSpec("zigbee", DRIVER, options), (device,), SystemClock(), keep)
    running = asyncio.create_task(line.run())
    try:
        yield samples
    finally:
        running.cancel()
        await asyncio.wait([running])


async def publish_until(broker: Broker, samples: list[Sample], *messages: tuple[str, bytes]) -> None:
    """Publish the first until something is heard, as then the subscriptions stand; then the others."""
    async with connect_mqtt(BrokerOptions(url=broker.url)) as sender, asyncio.timeout(20):
        while not samples:
            await sender.publish(*messages[0])
            await asyncio.sleep(0.05)
        samples.clear()
        for message in messages:
            await sender.publish(*message)
        await sender.publish(*messages[0])
        while [sample.values for sample in samples].count(samples[0].values if samples else {}) < 2:
            await asyncio.sleep(0.02)


def distinct(samples: list[Sample]) -> list[tuple[dict[str, Value], dict[str, str], str]]:
    """What the samples say, each after the repetition of the first."""
    told = [(sample.values, sample.bad, sample.error) for sample in samples]
    return [each for number, each in enumerate(told) if each != told[0] or number == 0]


async def test_a_device_may_publish_each_value_alone(broker: Broker) -> None:
    async with sampled(broker, "thermometer/generic-esphome", "kitchen") as samples:
        await publish_until(
            broker,
            samples,
            ("kitchen/sensor/temperature/state", b"23.4"),
            ("kitchen/sensor/humidity/state", b"56\0"),
            ("kitchen/sensor/temperature/state", b"nan"),
            ("kitchen/status", b"offline"),
        )
    assert distinct(samples) == [
        ({"temperature": 23.4}, {}, ""),
        ({"humidity": 56}, {}, ""),
        ({}, {"temperature": "not-a-number"}, ""),
        ({}, {}, "mqtt-offline"),
    ]


async def test_a_word_may_be_a_fire(broker: Broker) -> None:
    async with sampled(broker, "smoke/generic-esphome", "kitchen") as samples:
        topic = "kitchen/binary_sensor/smoke/state"
        await publish_until(broker, samples, (topic, b"ON"), (topic, b"OFF"), (topic, b"unavailable"))
    assert distinct(samples) == [
        ({"smoke": True}, {}, ""),
        ({"smoke": False}, {}, ""),
        ({}, {"smoke": "wrong-type"}, ""),
    ]


async def test_a_shelly_is_heard_as_it_is_shipped(broker: Broker) -> None:
    """Its status topics are off, its notifications on (shelly-api-docs.shelly.cloud/gen2, Mqtt)."""
    topic = "shellyplussmoke-80646fd10000"
    notified = (
        b'{"src":"shellyplussmoke-80646fd10000","dst":"shellyplussmoke-80646fd10000/events",'
        b'"method":"%s","params":{"ts":1795983600.1,%s}}'
    )
    async with sampled(broker, "smoke/shelly-plus-smoke", topic) as samples:
        await publish_until(
            broker,
            samples,
            (
                f"{topic}/events/rpc",
                notified
                % (
                    b"NotifyFullStatus",
                    b'"devicepower:0":{"id":0,"battery":{"V":2.94,"percent":85}},'
                    b'"smoke:0":{"id":0,"alarm":false,"mute":false}',
                ),
            ),
            (f"{topic}/events/rpc", notified % (b"NotifyStatus", b'"smoke:0":{"id":0,"alarm":true}')),
            (f"{topic}/events/rpc", notified % (b"NotifyStatus", b'"cloud":{"connected":false}')),
            (f"{topic}/status/smoke:0", b'{"id":0,"alarm":true,"mute":true}'),
        )
    assert distinct(samples) == [
        ({"smoke": False, "battery": 85}, {}, ""),
        ({"smoke": True}, {}, ""),
        ({"smoke": True}, {}, ""),
    ]


@pytest.mark.parametrize("offline", [b"offline", b'{"state":"offline"}'])
async def test_zigbee2mqtt_tells_that_a_detector_is_gone(broker: Broker, offline: bytes) -> None:
    """Its availability, as text (legacy) or JSON (zigbee2mqtt.io, Availability)."""
    async with sampled(broker, "smoke/heiman-hs1sa-e", "zigbee2mqtt/一楼/烟感") as samples:
        topic = "zigbee2mqtt/一楼/烟感"
        alive = b'{"smoke":false,"battery_low":null,"battery":null,"last_seen":"2026-11-30T08:00:00+08:00"}'
        await publish_until(
            broker,
            samples,
            (topic, alive),
            (topic, b'{"smoke":null,"linkquality":60}'),
            (f"{topic}/availability", offline),
        )
    assert distinct(samples) == [
        ({"smoke": False}, {"battery": "not-a-number"}, ""),
        ({}, {"smoke": "missing"}, ""),
        ({}, {}, "mqtt-offline"),
    ]


async def test_one_probe_that_is_broken_costs_only_its_own_value(broker: Broker) -> None:
    body = (
        b'{"Time":"2026-11-29T10:01:00","DS18B20-1":{"Id":"000000000001","Temperature":12.6},'
        b'"AM2301":{"Temperature":%s,"Humidity":%s}}'
    )
    async with sampled(broker, "thermometer/generic-tasmota", "tele/fridge/SENSOR") as samples:
        topic = "tele/fridge/SENSOR"
        await publish_until(
            broker, samples, (topic, body % (b"nan", b"nan")), (topic, body % (b"NaN", b"5"))
        )
    bad = {"temperature.2": "not-a-number", "humidity": "not-a-number"}
    assert distinct(samples) == [
        ({"temperature.1": 12.6}, bad, ""),
        ({"temperature.1": 12.6, "humidity": 5}, {"temperature.2": "not-a-number"}, ""),
    ]


async def test_zigbee2mqtt_may_publish_attributes(broker: Broker) -> None:
    async with sampled(broker, "smoke/aqara-jy-gz-01aq", "z/smoke", attributes=True) as samples:
        await publish_until(broker, samples, ("z/smoke/smoke", b"true"), ("z/smoke/battery", b"97"))
    assert distinct(samples) == [({"smoke": True}, {}, ""), ({"battery": 97}, {}, "")]


async def test_a_last_will_that_the_broker_has_kept_is_an_outage(broker: Broker) -> None:
    async with connect_mqtt(BrokerOptions(url=broker.url)) as sender:
        await sender.publish("kitchen/status", b"offline", retain=True)
        await sender.publish("kitchen/binary_sensor/smoke/state", b"ON", retain=True)
    async with sampled(broker, "smoke/generic-esphome", "kitchen") as samples, asyncio.timeout(10):
        while not samples:
            await asyncio.sleep(0.02)
    assert [(sample.values, sample.error) for sample in samples] == [({}, "mqtt-offline")]


@pytest.mark.parametrize("place", ['topic = "{topic}/#"', 'topic = "{topic}", path = "a[b"', 'topic = ""'])
def test_another_place_of_a_value_that_cannot_be_is_named(tmp_path: Path, place: str) -> None:
    text = (PROFILES / "smoke" / "shelly-plus-smoke.toml").read_text("utf-8")
    right = 'topic = "{topic}/events/rpc", path = "params.smoke:0.alarm"'
    assert right in text
    file = tmp_path / "wrong.toml"
    file.write_text(text.replace(right, place, 1), "utf-8")
    with pytest.raises(Mistakes) as wrong:
        load_profile(file)
    assert [mistake.key for mistake in wrong.value.mistakes] == ["mqtt-also"]


def test_a_topic_that_the_device_does_not_have_is_named() -> None:
    device = thermometer("a", "one")
    points = {"x": JsonPoint(topic="stat/{1}/POWER")}
    with pytest.raises(ConfigError) as wrong:
        DRIVER.check_device(msgspec.structs.replace(device, points=points), (), None)
    assert wrong.value.key == "mqtt-point-parts"
    with pytest.raises(ConfigError) as wrong:
        DRIVER.check_device(valve("yard", "siren/generic-tasmota"), (), None)
    assert (wrong.value.key, wrong.value.facts["wanted"]) == ("mqtt-point-parts", "cmnd/{1}/POWER")


def test_two_devices_may_share_a_topic_and_are_shown_with_it() -> None:
    example = parse_example({"topic": "{topic}/x", "json": "4"})
    assert format_raw(example) == "/x: 4"
    points = {"a": JsonPoint(topic="{topic}/x"), "b": JsonPoint(path="b")}
    assert decode(points, example) == {"a": 4, "b": None}
    assert decode(points, {"b": 1}) == {"a": None, "b": 1}
