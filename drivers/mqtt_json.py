"""Devices that publish JSON over MQTT: zigbee2mqtt, Tasmota, ESPHome, a maker's own bridge."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec

from gateway.model import (
    Checks,
    Device,
    Driver,
    Listener,
    ListenerAction,
    OverheardDevice,
    ReadFailed,
    Scan,
    Value,
)
from gateway.wire.broker import BrokerOptions
from gateway.wire.codec import values_at
from gateway.wire.json_text import parse_json
from gateway.wire.mqtt import Connection
from gateway.wire.mqtt import connect as connect_mqtt
from gateway.wire.press import PressEnd, PressPoint, end_presses, original_message, with_press_end

FOREIGN_TOPICS = re.compile(r"application/[^/]+/(device|gateway)/.*|linli/v1/.*")
"""Topics of ChirpStack and of gateways like this one: JSON, but not a sensor's own."""


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The topic the device publishes to; no wildcards."""

    topic: str

    CHECKS: ClassVar[Checks] = {
        "topic": (lambda topic: bool(topic) and not set(topic) & set("+#"), "mqtt-topic")
    }


class JsonPoint(PressPoint, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`path`: where the value is in the message: keys and list indices, joined by dots."""

    path: str


class PublishAction(ListenerAction, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A message to publish: `payload`, unchanged, to `topic`, in which {topic} stands for the device's own
    topic and {0}, {1} … for its levels: "{topic}/set" (zigbee2mqtt), "cmnd/{1}/POWER" (Tasmota)."""

    topic: str
    payload: str

    CHECKS: ClassVar[Checks] = {
        **ListenerAction.CHECKS,
        "topic": (
            lambda topic: re.fullmatch(r"(\{(topic|\d)\}|[^{}+#\0])+", topic) is not None,
            "mqtt-order-topic",
        ),
    }


def decode(points: Mapping[str, JsonPoint], raw: Any) -> dict[str, Value]:
    """Decode a parsed message to values; what it does not contain is left out."""
    found = values_at(original_message(raw), {name: point.path for name, point in points.items()})
    return end_presses(points, raw, found)


def parse_example(fields: Mapping[str, Any]) -> Any:
    """A worked example: `json = '{"temperature": 4.2}'`, and where it matters `over = true`."""
    message = parse_json(fields["json"])
    return PressEnd(message) if fields.get("over") else message


def format_raw(raw: Any) -> str:
    ended = " (over)" if isinstance(raw, PressEnd) else ""
    return msgspec.json.encode(original_message(raw)).decode() + ended


class JsonListener(Listener):
    """One broker, with one topic for each device."""

    def __init__(self, connection: Connection, devices: tuple[Device, ...]) -> None:
        self._connection = connection
        self._devices = {device.address.topic: device for device in devices}
        for topic in self._devices:
            connection.subscribe(topic)

    async def listen(self) -> AsyncIterator[tuple[str, Any]]:
        async for message in self._connection.messages():
            # A retained message is of unknown age, so it is not a reading.
            if message.retained or message.topic not in self._devices:
                continue
            device = self._devices[message.topic]
            try:
                values = parse_json(message.payload)
            except ReadFailed as failed:
                yield device.name, failed
                continue
            for reading in with_press_end(device.points, values, decode(device.points, values)):
                yield device.name, reading

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Publish the message of an action of the device's profile; it takes no arguments."""
        publish: PublishAction | None = device.actions.get(action)
        if publish is None:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        own: str = device.address.topic
        try:
            topic = publish.topic.format(*own.split("/"), topic=own)
        except IndexError as error:
            raise ReadFailed("mqtt-topic-parts", topic=own, action=action) from error
        await self._connection.publish_command(topic, publish.payload.encode())
        return publish.confirm


@asynccontextmanager
async def connect(options: BrokerOptions, devices: tuple[Device, ...]) -> AsyncIterator[JsonListener]:
    """Connect and subscribe."""
    async with connect_mqtt(options) as connection:
        yield JsonListener(connection, devices)


async def _overhear_devices(options: BrokerOptions) -> AsyncIterator[OverheardDevice | ReadFailed]:
    """Report every topic with a JSON object. Connects without a client id: with the same one the broker
    would close the other client's connection."""
    async with connect_mqtt(msgspec.structs.replace(options, client_id="")) as connection:
        connection.subscribe("#")
        async for message in connection.messages():
            if FOREIGN_TOPICS.fullmatch(message.topic):
                continue
            try:
                raw = parse_json(message.payload)
            except ReadFailed:
                continue
            if isinstance(raw, dict):
                identity = {"retained": "true"} if message.retained else {}
                yield OverheardDevice(address={"topic": message.topic}, identity=identity, raw=raw)


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
    action=PublishAction,
    scan=Scan(
        candidate_buses=_candidate_buses,
        target_of=lambda options: options.url,
        shareable=True,
        overhear=_overhear_devices,
        identity_keys=("retained",),
    ),
)
