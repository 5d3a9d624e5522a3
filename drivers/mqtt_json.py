"""Devices that publish over MQTT: JSON on one topic (zigbee2mqtt, Tasmota's sensors, a maker's own bridge),
or single values on topics of their own (ESPHome, Shelly, Tasmota's relays)."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec

from gateway.model import (
    Checks,
    ConfigError,
    Device,
    Driver,
    FailureKind,
    Listener,
    ListenerAction,
    OverheardDevice,
    Raw,
    ReadFailed,
    Scan,
    Value,
)
from gateway.wire.broker import BrokerOptions, bus_of
from gateway.wire.codec import convert_values, point_value_at
from gateway.wire.json_text import MAX_QUICK_BYTES, parse_json
from gateway.wire.mqtt import Connection, IncomingMessage
from gateway.wire.mqtt import connect as connect_mqtt
from gateway.wire.path import is_valid_path
from gateway.wire.press import PressEnd, PressPoint, end_presses, original_message, with_press_end
from gateway.wire.readings import split_message

MAX_SCAN_PACKET_BYTES = 8 << 20
"""zigbee2mqtt describes all its devices in one message."""
FOREIGN_TOPICS = re.compile(
    r"application/[^/]+/(device|gateway)/.*|v3/[^/]+/devices/.*|linli/v1/.*|homeassistant/.*"
    r"|.+/bridge/.*|.+/(availability|set|get)"
)
"""JSON, but not a sensor's own: of ChirpStack and The Things Stack, of gateways like this one, of Home
Assistant's discovery, and what zigbee2mqtt says about itself and is told."""
BRIDGE_DEVICES = re.compile(r"(.+)/bridge/devices")
"""zigbee2mqtt's retained list of its devices (zigbee2mqtt.io, MQTT topics and messages)."""


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The topic the device publishes to, or under which it does; no wildcards. `attributes`: it publishes
    each value on a topic below, named after its key (zigbee2mqtt with `output: attribute`)."""

    topic: str
    attributes: bool = False

    CHECKS: ClassVar[Checks] = {
        "topic": (lambda topic: bool(topic) and not set(topic) & set("+#"), "mqtt-topic")
    }


OWN_TOPIC = "{topic}"
TOPIC_TEMPLATE = re.compile(r"(\{(topic|\d)\}|[^{}+#\0])+")


class OtherPlace(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where a value is published, as in `JsonPoint`."""

    topic: str = OWN_TOPIC
    path: str = ""

    @property
    def is_valid(self) -> bool:
        return is_valid_path(self.path) and TOPIC_TEMPLATE.fullmatch(self.topic) is not None


class JsonPoint(PressPoint, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`path`: where the value is in the message: keys and list indices, joined by dots, or members of a
    list by their content; with `records[]` each member of the list is a reading of its own (see
    `gateway.wire.path`). Empty: the message itself."""

    path: str = ""
    topic: str = OWN_TOPIC
    """Where the value is published: {topic} stands for the device's own topic, {0}, {1} … for its levels:
    "{topic}/sensor/smoke/state" (ESPHome), "stat/{1}/POWER" (Tasmota)."""
    also: tuple[OtherPlace, ...] = ()
    """Where else it is published, in messages that need not contain it: which of them a device sends may be
    a setting (Shelly: status topics, or notifications)."""
    availability: bool = False
    """Its last will (MQTT): false means that the device is offline."""

    CHECKS: ClassVar[Checks] = {
        "path": (is_valid_path, "point-path"),
        "topic": (lambda topic: TOPIC_TEMPLATE.fullmatch(topic) is not None, "mqtt-order-topic"),
        "also": (lambda places: all(place.is_valid for place in places), "mqtt-also"),
    }

    @property
    def topic_of_attribute(self) -> str:
        """Where zigbee2mqtt publishes the value alone, if it is set to `output: attribute`."""
        return f"{self.topic}/{self.path.replace('.', '-')}"


class TopicMessage(msgspec.Struct, frozen=True):
    """A message on another topic than the device's own: `topic` as in the profile."""

    topic: str
    content: Raw


class PublishAction(ListenerAction, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A message to publish: `payload`, unchanged, to `topic`, in which {topic} stands for the device's own
    topic and {0}, {1} … for its levels: "{topic}/set" (zigbee2mqtt), "cmnd/{1}/POWER" (Tasmota)."""

    topic: str
    payload: str

    CHECKS: ClassVar[Checks] = {
        "topic": (lambda topic: TOPIC_TEMPLATE.fullmatch(topic) is not None, "mqtt-order-topic"),
    }


def decode(points: Mapping[str, JsonPoint], raw: Any) -> dict[str, Value | None]:
    """Decode a parsed message to values; what it does not contain is left out, and what is published on
    another topic is None."""
    topic, content = _topic_and_content(raw)
    found: dict[str, Value] = {}
    elsewhere: dict[str, None] = {}
    for name, point in points.items():
        values = (point_value_at(point, content, path) for path in _paths_in(point, topic))
        value = next((value for value in values if value is not None), None)
        if value is not None:
            found[name] = value
        elif topic not in (point.topic, point.topic_of_attribute):
            elsewhere[name] = None
    return {**end_presses(points, raw, found), **elsewhere}


def _paths_in(point: JsonPoint, topic: str) -> list[str]:
    """Where the value is in the messages of a topic; none if it is not published there."""
    places = ((point.topic, point.path), *((place.topic, place.path) for place in point.also))
    paths = [path for where, path in places if where == topic]
    return paths or [""] * (topic == point.topic_of_attribute)


def _topic_and_content(raw: Any) -> tuple[str, Any]:
    message = original_message(raw)
    return (message.topic, message.content) if isinstance(message, TopicMessage) else (OWN_TOPIC, message)


def split(points: Mapping[str, JsonPoint], raw: Any) -> list[Any]:
    """The readings in a message. Raises `ReadFailed`."""
    topic, content = _topic_and_content(raw)
    here = {name: point for name, point in points.items() if point.topic == topic}
    is_several = isinstance(content, list) or any("[]" in point.path for point in here.values())
    if isinstance(raw, PressEnd) or not is_several:
        return [raw]
    parts = split_message(here, content, lambda _, part: decode(here, _message(topic, part)))
    return [_message(topic, part) for part in parts]


def parse_example(fields: Mapping[str, Any]) -> Any:
    """A worked example: `json = '{"temperature": 4.2}'`, and where they matter `topic = "stat/{1}/POWER"`
    and `over = true`."""
    message = _message(fields.get("topic", OWN_TOPIC), parse_json(fields["json"]))
    return PressEnd(message) if fields.get("over") else message


def format_raw(raw: Any) -> str:
    ended = " (over)" if isinstance(raw, PressEnd) else ""
    topic, content = _topic_and_content(raw)
    where = "" if topic == OWN_TOPIC else f"{topic.removeprefix(OWN_TOPIC)}: "
    return where + msgspec.json.encode(content).decode() + ended


def _message(topic: str, content: Any) -> Any:
    return content if topic == OWN_TOPIC else TopicMessage(topic, content)


def _full_topic(template: str, own: str) -> str:
    """Raises `IndexError` for a level that the device's topic does not have."""
    return template.format(*own.split("/"), topic=own)


def _topics(device: Device) -> set[str]:
    """The topics of a device, as in its profile."""
    points = device.points.values()
    alone = {point.topic_of_attribute for point in points if point.path and device.address.attributes}
    return {place.topic for point in points for place in (point, *point.also)} | alone


def _says_offline(points: Mapping[str, JsonPoint], raw: Any) -> bool:
    availability = {name: point for name, point in points.items() if point.availability}
    return False in convert_values(availability, decode(availability, raw))[0].values()


class JsonListener(Listener):
    """One broker, with the topics of its devices."""

    def __init__(self, connection: Connection, devices: tuple[Device, ...]) -> None:
        self._connection = connection
        self._receivers: dict[str, list[tuple[Device, str]]] = {}
        """By full topic, whose it is, with the topic as in its profile."""
        for device in devices:
            for topic in sorted(_topics(device)):
                full = _full_topic(topic, device.address.topic)
                if full not in self._receivers:
                    connection.subscribe(full)
                self._receivers.setdefault(full, []).append((device, topic))

    def notices(self) -> list[tuple[str, dict[str, Any]]]:
        return self._connection.notices()

    async def listen(self) -> AsyncIterator[tuple[str, Any]]:
        async for message in self._connection.messages():
            receivers = self._receivers.get(message.topic)
            if receivers is None:
                self._connection.unsubscribe(message.topic)
                continue
            for device, topic in receivers:
                readings = self._readings(device, topic, message)
                if len(message.payload) > MAX_QUICK_BYTES:
                    readings = iter(await asyncio.to_thread(list, readings))
                for reading in readings:
                    yield device.name, reading

    def _readings(self, device: Device, topic: str, message: IncomingMessage) -> Iterator[Any]:
        if message.error:
            yield message.error
            return
        try:
            raw = _message(topic, parse_json(message.payload))
            parts = split(device.points, raw)
        except ReadFailed as failed:
            if not message.retained:
                yield failed
            return
        if _says_offline(device.points, raw):
            yield ReadFailed("mqtt-offline", FailureKind.SILENT, topic=message.topic)
            return
        # A retained message is of unknown age: unless it is the state of the device, it is no reading.
        if message.retained and not device.retained:
            return
        for part in parts:
            values = decode(device.points, part)
            found = {name: value for name, value in values.items() if value is not None}
            readings = [*with_press_end(device.points, part, found)]
            # A press that was retained is over.
            for reading in readings[-1:] if message.retained else readings:
                yield message.as_reading(reading)

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Publish the message of an action of the device's profile; it takes no arguments."""
        publish: PublishAction | None = device.actions.get(action)
        if publish is None:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        topic = _full_topic(publish.topic, device.address.topic)
        await self._connection.publish_command(topic, publish.payload.encode())
        return publish.confirm


@asynccontextmanager
async def connect(options: BrokerOptions, devices: tuple[Device, ...]) -> AsyncIterator[JsonListener]:
    """Connect and subscribe."""
    async with connect_mqtt(options, owner=bus_of(devices), keep_session=True) as connection:
        yield JsonListener(connection, devices)


async def _overhear_devices(options: BrokerOptions) -> AsyncIterator[OverheardDevice | ReadFailed]:
    """Report every topic with a JSON object, and every device that zigbee2mqtt lists. Connects without a
    client id: with the same one the broker would close the other client's connection."""
    listed: dict[str, dict[str, str]] = {}
    alone = msgspec.structs.replace(options, client_id="")
    async with connect_mqtt(alone, max_packet_bytes=MAX_SCAN_PACKET_BYTES) as connection:
        connection.subscribe("#")
        async for message in connection.messages():
            if bridge := BRIDGE_DEVICES.fullmatch(message.topic):
                for topic, identity in _listed_devices(bridge[1], message.payload):
                    listed[topic] = identity
                    yield OverheardDevice(address={"topic": topic}, identity=identity)
            if FOREIGN_TOPICS.fullmatch(message.topic):
                continue
            try:
                raw = parse_json(message.payload)
            except ReadFailed:
                continue
            if isinstance(raw, dict):
                retained = {"retained": "true"} if message.retained else {}
                identity = retained | listed.get(message.topic, {})
                yield OverheardDevice(address={"topic": message.topic}, identity=identity, raw=raw)


class _ListedModel(msgspec.Struct):
    vendor: str = ""
    model: str = ""


class _ListedDevice(msgspec.Struct):
    friendly_name: str
    definition: _ListedModel | None = None
    """None of the coordinator, and of devices that zigbee2mqtt does not know."""


def _listed_devices(base: str, payload: bytes) -> Iterator[tuple[str, dict[str, str]]]:
    """The topic and the identity of each device in zigbee2mqtt's list."""
    try:
        entries = msgspec.json.decode(payload, type=list[msgspec.Raw])
    except (ValueError, RecursionError):
        return
    for entry in entries:
        with contextlib.suppress(msgspec.MsgspecError):
            device = msgspec.json.decode(entry, type=_ListedDevice)
            if device.definition:
                identity = {"maker": device.definition.vendor, "model": device.definition.model}
                yield f"{base}/{device.friendly_name}", identity


def check_device(device: Device, others: tuple[Device, ...], options: BrokerOptions) -> None:
    """Raises `ConfigError` where a topic of the profile refers to a level that the device's topic lacks."""
    of_actions = {action.topic for action in device.actions.values()}
    for topic in sorted(_topics(device) | of_actions):
        try:
            _full_topic(topic, device.address.topic)
        except IndexError as error:
            raise ConfigError("mqtt-point-parts", topic=device.address.topic, wanted=topic) from error


def _candidate_buses(target: str) -> list[dict[str, Any]]:
    return [{"url": target}] if target.startswith(("mqtt://", "mqtts://")) else []


DRIVER = Driver(
    options=BrokerOptions,
    address=Address,
    point=JsonPoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_raw,
    split=split,
    silence_s=3600,
    action=PublishAction,
    check_device=check_device,
    may_retain=True,
    scan=Scan(
        candidate_buses=_candidate_buses,
        target_of=lambda options: options.url,
        shareable=True,
        overhear=_overhear_devices,
        identity_keys=("retained", "maker", "model"),
    ),
)
