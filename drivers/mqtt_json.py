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
    Point,
    ReadFailed,
    Scan,
    Value,
)
from gateway.wire.broker import BrokerOptions
from gateway.wire.codec import follow
from gateway.wire.mqtt import Connection
from gateway.wire.mqtt import connect as connect_mqtt

OTHERS = re.compile(r"application/[^/]+/(device|gateway)/.*|linli/v1/.*")
"""Topics of ChirpStack and of gateways like this one: JSON, but not a sensor's own."""


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The topic the device publishes to; no wildcards."""

    topic: str

    CHECKS: ClassVar[Checks] = {
        "topic": (lambda topic: bool(topic) and not set(topic) & set("+#"), "mqtt-topic")
    }


class JsonPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where in the message the value stands: keys and list indices, joined by dots."""

    path: str
    pulse: bool = False
    """A press that has no release: no sooner told than over."""


class Over(msgspec.Struct, frozen=True):
    """The end of the presses that a message told of."""

    message: Any


class PublishAction(ListenerAction, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A message to publish: `payload`, as it is, to `topic`, in which {topic} stands for the device's own
    and {0}, {1} … for its parts: "{topic}/set" (zigbee2mqtt), "cmnd/{1}/POWER" (Tasmota)."""

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
    """A parsed message to values; what it does not hold is left out."""
    over = isinstance(raw, Over)
    message = raw.message if over else raw
    found = {name: follow(message, point.path) for name, point in points.items()}
    return {
        name: False if over and points[name].pulse else value
        for name, value in found.items()
        if value is not None
    }


def example(fields: Mapping[str, Any]) -> Any:
    """A worked example: `json = '{"temperature": 4.2}'`, and where it matters `over = true`."""
    message = msgspec.json.decode(fields["json"])
    return Over(message) if fields.get("over") else message


def show(raw: Any) -> str:
    over = isinstance(raw, Over)
    return msgspec.json.encode(raw.message if over else raw).decode() + (" (over)" if over else "")


class JsonListener(Listener):
    """One broker with its topics."""

    def __init__(self, connection: Connection, devices: tuple[Device, ...]) -> None:
        self._connection = connection
        self._devices = {device.address.topic: device for device in devices}
        for topic in self._devices:
            connection.subscribe(topic)

    async def listen(self) -> AsyncIterator[tuple[str, Any]]:
        async for message in self._connection.messages():
            # A retained message is of unknown age: it is no reading.
            if message.retained or message.topic not in self._devices:
                continue
            device = self._devices[message.topic]
            try:
                said = msgspec.json.decode(message.payload)
            except (ValueError, RecursionError) as error:
                yield device.name, ReadFailed("not-json", reason=error)
                continue
            yield device.name, said
            if any(device.points[name].pulse for name in decode(device.points, said)):
                yield device.name, Over(said)

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """An action of the device's profile; it takes no arguments."""
        order: PublishAction | None = device.actions.get(action)
        if order is None:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        own: str = device.address.topic
        try:
            topic = order.topic.format(*own.split("/"), topic=own)
        except IndexError as error:
            raise ReadFailed("mqtt-topic-parts", topic=own, action=action) from error
        await self._connection.publish_command(topic, order.payload.encode())
        return order.confirm


@asynccontextmanager
async def connect(options: BrokerOptions, devices: tuple[Device, ...]) -> AsyncIterator[JsonListener]:
    """Connect and subscribe."""
    async with connect_mqtt(options) as connection:
        yield JsonListener(connection, devices)


async def _overhear(options: BrokerOptions) -> AsyncIterator[OverheardDevice | ReadFailed]:
    """Every topic with a JSON object. As a client of its own: under the same name the broker would end
    the connection of whoever has it."""
    async with connect_mqtt(msgspec.structs.replace(options, client_id="")) as connection:
        connection.subscribe("#")
        async for message in connection.messages():
            if OTHERS.fullmatch(message.topic):
                continue
            try:
                raw = msgspec.json.decode(message.payload)
            except (ValueError, RecursionError):
                continue
            if isinstance(raw, dict):
                says = {"retained": "true"} if message.retained else {}
                yield OverheardDevice(address={"topic": message.topic}, identity=says, raw=raw)


def _lines(target: str) -> list[dict[str, Any]]:
    return [{"url": target}] if target.startswith(("mqtt://", "mqtts://")) else []


DRIVER = Driver(
    options=BrokerOptions,
    address=Address,
    point=JsonPoint,
    connect=connect,
    decode=decode,
    parse_example=example,
    format_raw=show,
    action=PublishAction,
    scan=Scan(
        candidate_buses=_lines,
        target_of=lambda options: options.url,
        shareable=True,
        overhear=_overhear,
        identity_keys=("retained",),
    ),
)
