"""Sensors that publish JSON over MQTT: zigbee2mqtt, Tasmota, ESPHome, a maker's own bridge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec

from gateway.codec import follow
from gateway.model import Checks, Device, Driver, Listener, Point, ReadFailed, Value
from gateway.mqtt import Connection, Options
from gateway.mqtt import connect as connect_mqtt


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


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[JsonListener]:
    """Connect and subscribe."""
    async with connect_mqtt(options) as connection:
        yield JsonListener(connection, devices)


DRIVER = Driver(
    options=Options,
    address=Address,
    point=JsonPoint,
    connect=connect,
    decode=decode,
    example=example,
    show=show,
)
