"""LoRaWAN sensors behind a ChirpStack v4 network server, through its MQTT integration.

What a payload means is data of the profile, in one of two forms: records of channel, type and value
(Milesight's, without a length), or values at fixed places of messages on certain ports.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

import msgspec

from gateway.model import Checks, Device, Driver, Listener, Point, ReadFailed, Value
from gateway.mqtt import Connection
from gateway.mqtt import Options as MqttOptions
from gateway.mqtt import connect as connect_mqtt

SIZES = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint24": 3, "uint32": 4, "int32": 4}

# Bytes of a value by its type, and by channel and type where the channel changes it: the payload
# definitions at github.com/Milesight-IoT/SensorDecoders. A record of unknown length ends the reading.
LENGTHS = {
    bytes.fromhex(key): length
    for length, keys in {
        1: "00 01 68 75 8E CD FF01 FF0B FF0F FF2E FF3F FFFE",
        2: "67 7D 82 FF09 FF0A FFFF",
        3: "8367 8467 8482",
        4: "85 90 C9 CC D2 E3 F7 FF1F",
        5: "E4 84CC 85CC",
        6: "FF08",
        8: "D5 DA FF16",
    }.items()
    for key in keys.split()
}
HISTORY = b"\x20\xce"
"""Begins a message with what was measured while the radio was out of reach."""
REMEMBERED = 16
"""Messages of a device that are known again when they come once more."""


class Options(MqttOptions, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The broker ChirpStack publishes to; `application` is an application's id, or all by default."""

    application: str = "+"

    CHECKS: ClassVar[Checks] = {
        **MqttOptions.CHECKS,
        "application": (lambda name: re.fullmatch(r"\+|[\w-]+", name) is not None, "lorawan-application"),
    }


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`dev_eui`: the 16 hexadecimal digits on the device's label."""

    dev_eui: str

    CHECKS: ClassVar[Checks] = {
        "dev_eui": (lambda eui: re.fullmatch("[0-9A-Fa-f]{16}", eui) is not None, "lorawan-eui")
    }

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "dev_eui", self.dev_eui.lower())


def _are_channels(channel: str | tuple[str, ...]) -> bool:
    return all(len(key) == 2 for key in _channels(channel))


def _channels(channel: str | tuple[str, ...]) -> list[bytes]:
    return [bytes.fromhex(key) for key in ([channel] if isinstance(channel, str) else channel)]


class LoraPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where in a payload the value stands; without `channel`, counted from the payload's beginning."""

    channel: str | tuple[str, ...] = ()
    """The two bytes before the value, such as "03 82"; several where any of them will do."""
    ports: tuple[int, ...] = ()
    """The fPorts whose messages hold it; all where none is named."""
    byte: int = 0
    type: Literal["uint8", "int8", "uint16", "int16", "uint24", "uint32", "int32"] = "uint8"
    order: Literal["little", "big"] = "little"
    length: int = 0
    """Bytes of the record, if `LENGTHS` does not say or says otherwise; without `channel`, of the whole
    payload."""
    mask: int | None = None
    among: tuple[int, ...] = ()
    """The numbers that say something of this point: a message with another one leaves it out."""
    pulse: bool = False
    """A press that has no release: no sooner told than over."""
    optional: bool = True
    """A message need not hold every value."""

    CHECKS: ClassVar[Checks] = {
        "channel": (_are_channels, "lorawan-channel"),
        "byte": (lambda place: 0 <= place < 256, "lorawan-byte"),
    }


class Uplink(msgspec.Struct, frozen=True):
    """A message of a device. `over`: not the message, but the end of the presses that it told of."""

    port: int
    data: bytes
    over: bool = False


class _DeviceInfo(msgspec.Struct, rename="camel"):
    dev_eui: str


class _Event(msgspec.Struct, rename="camel"):
    """ChirpStack's `UplinkEvent`, as JSON."""

    device_info: _DeviceInfo
    deduplication_id: str = ""
    dev_addr: str = ""
    f_cnt: int = 0
    f_port: int = 0
    data: bytes | None = None


def decode(points: Mapping[str, LoraPoint], raw: Uplink) -> dict[str, Value]:
    """A message to the numbers in it; what it does not hold is left out."""
    records = dict(_records(points, raw.data)) if any(p.channel for p in points.values()) else {}
    values: dict[str, Value] = {}
    for name, point in points.items():
        if point.ports and raw.port not in point.ports:
            continue
        if point.channel:
            field = next((records[key] for key in _channels(point.channel) if key in records), b"")
        else:
            field = raw.data if point.length in (0, len(raw.data)) else b""
        part = field[point.byte : point.byte + SIZES[point.type]]
        if len(part) < SIZES[point.type]:
            continue
        number = int.from_bytes(part, point.order, signed=point.type.startswith("int"))
        if point.mask is not None:
            number &= point.mask
        if not point.among or number in point.among:
            values[name] = number
    return {name: 0 for name in values if points[name].pulse} if raw.over else values


def _records(points: Mapping[str, LoraPoint], data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Channel and type of each record, with its value, as far as lengths are known."""
    lengths: dict[bytes, int] = {}
    for point in points.values():
        for key in _channels(point.channel):
            known = point.length or max(point.byte + SIZES[point.type], _length(key))
            lengths[key] = max(lengths.get(key, 0), known)
    while data:
        key = data[:2]
        length = lengths.get(key) or _length(key)
        if not length:
            return
        yield key, data[2 : 2 + length]
        data = data[2 + length :]


def _length(key: bytes) -> int:
    return LENGTHS.get(key) or (LENGTHS.get(key[1:], 0) if key[0] < HISTORY[0] else 0)


def example(fields: Mapping[str, Any]) -> Uplink:
    """A worked example: `hex = "01 75 5C"`, and where they matter `port = 1` and `over = true`."""
    return Uplink(fields.get("port", 85), bytes.fromhex(fields["hex"]), fields.get("over", False))


def show(raw: Uplink) -> str:
    return f"fPort {raw.port}: {raw.data.hex(' ').upper()}{' (over)' if raw.over else ''}"


class _Sensor:
    """A device, and its messages of late."""

    def __init__(self, device: Device) -> None:
        self.name = device.name
        self.points: Mapping[str, LoraPoint] = device.points
        self._seen: deque[object] = deque(maxlen=2 * REMEMBERED)

    def repeats(self, event: _Event) -> bool:
        """A broker may deliver twice (QoS 1), and a sensor repeats a frame nobody acknowledged."""
        frame = (event.dev_addr, event.f_cnt) if event.dev_addr else ""
        keys = [key for key in (event.deduplication_id, frame) if key]
        known = any(key in self._seen for key in keys)
        self._seen.extend(keys)
        return known

    def concerns(self, raw: Uplink) -> bool:
        """Whether the message may hold a present reading at all: one for the network alone, or of
        another port, or of the past says neither that the device is well nor that it fails."""
        if not raw.data or not any(not p.ports or raw.port in p.ports for p in self.points.values()):
            return False
        return not (raw.data.startswith(HISTORY) and any(p.channel for p in self.points.values()))


class LoraListener(Listener):
    """The devices of one network server."""

    def __init__(self, connection: Connection, application: str, devices: tuple[Device, ...]) -> None:
        self._connection = connection
        self._sensors = {device.address.dev_eui: _Sensor(device) for device in devices}
        for eui in self._sensors:
            connection.subscribe(f"application/{application}/device/{eui}/event/up")

    async def listen(self) -> AsyncIterator[tuple[str, Uplink | ReadFailed]]:
        async for message in self._connection.messages():
            sensor = self._sensors.get(message.topic.split("/")[3])
            # A retained message is of unknown age: it is no reading.
            if message.retained or sensor is None:
                continue
            try:
                event = msgspec.json.decode(message.payload, type=_Event)
            except (ValueError, RecursionError) as error:
                yield sensor.name, ReadFailed("not-uplink", reason=error)
                continue
            if self._sensors.get(event.device_info.dev_eui.lower()) is not sensor:
                yield sensor.name, ReadFailed("not-uplink", reason=f"devEui {event.device_info.dev_eui}")
                continue
            raw = Uplink(event.f_port, event.data or b"")
            if sensor.repeats(event) or not sensor.concerns(raw):
                continue
            yield sensor.name, raw
            over = msgspec.structs.replace(raw, over=True)
            if decode(sensor.points, over):
                yield sensor.name, over


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[LoraListener]:
    """Connect and subscribe."""
    async with connect_mqtt(options) as connection:
        yield LoraListener(connection, options.application, devices)


DRIVER = Driver(
    options=Options,
    address=Address,
    point=LoraPoint,
    connect=connect,
    decode=decode,
    example=example,
    show=show,
)
