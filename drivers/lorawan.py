"""LoRaWAN sensors behind a ChirpStack v4 network server, through its MQTT integration.

What a payload means is data of the profile, in one of two forms: records of channel, type and value
(Milesight's, without a length), or values at fixed places of messages on certain ports.

What a device is told waits in ChirpStack's queue until the device may be spoken to; one of class A opens
its ear only after an uplink of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

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
from gateway.wire.mqtt import Connection
from gateway.wire.mqtt import connect as connect_mqtt

SIZES = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint24": 3, "uint32": 4, "int32": 4}

# Bytes of a value by its type, and by channel and type where the channel changes it: the payload
# definitions at github.com/Milesight-IoT/SensorDecoders. A record of unknown length ends the reading.
LENGTHS = {
    bytes.fromhex(key): length
    for length, keys in {
        1: "00 01 68 75 8E CD FF01 FF0B FF0F FF2E FF3F FFFE",
        2: "67 7D 82 FF09 FF0A FFFF",
        3: "8367 8467 8482 50FC",
        4: "85 90 C9 CC D2 E3 F7 FF1F",
        5: "E4 84CC 85CC",
        6: "FF08",
        8: "D5 DA FF16",
    }.items()
    for key in keys.split()
}
HISTORY = b"\x20\xce"
"""Begins a message with what was measured while the radio was out of reach."""
MOST = 242
"""Bytes of the longest payload at the best data rate (RP002)."""
ANY = "+"
"""In a topic, any application."""
REMEMBERED = 16
"""Messages of a device that are known again when they come once more."""


class Options(BrokerOptions, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The broker ChirpStack publishes to; `application` is an application's id, or all by default."""

    application: str = ANY

    CHECKS: ClassVar[Checks] = {
        **BrokerOptions.CHECKS,
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
        **Point.CHECKS,
        "channel": (_are_channels, "lorawan-channel"),
        "byte": (lambda place: 0 <= place < 256, "lorawan-byte"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "bit": (lambda point: (point.bit or 0) < 8 * SIZES[point.type], "bit-range")
    }


def _is_payload(text: str) -> bool:
    return 0 < len(bytes.fromhex(text)) <= MOST


class Downlink(ListenerAction, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A message to the device: `hex` on fPort `port`. Where it is `confirmed` the device must acknowledge
    it; else it is enough that a radio gateway has taken it over for sending."""

    hex: str
    port: int = 85
    confirmed: bool = False

    CHECKS: ClassVar[Checks] = {
        **ListenerAction.CHECKS,
        "hex": (_is_payload, "lorawan-hex"),
        "port": (lambda port: 0 < port < 224, "lorawan-port"),
    }


class Uplink(msgspec.Struct, frozen=True):
    """A message of a device. `over`: not the message, but the end of the presses that it told of."""

    port: int
    data: bytes
    over: bool = False


class _DeviceInfo(msgspec.Struct, rename="camel"):
    dev_eui: str
    device_name: str = ""
    device_profile_name: str = ""


class _Event(msgspec.Struct, rename="camel"):
    """ChirpStack's `UplinkEvent`, as JSON."""

    device_info: _DeviceInfo
    deduplication_id: str = ""
    dev_addr: str = ""
    f_cnt: int = 0
    f_port: int = 0
    data: bytes | None = None


class _Progress(msgspec.Struct, rename="camel"):
    """What of ChirpStack's `TxAckEvent`, `AckEvent` and `LogEvent` says how far a downlink has come."""

    queue_item_id: str = ""
    acknowledged: bool = False
    context: dict[str, str] = {}
    code: str = ""


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

    def __init__(self, device: Device, application: str) -> None:
        self.name = device.name
        self.points: Mapping[str, LoraPoint] = device.points
        self.application = "" if application == ANY else application
        """Its application's id; where the options do not name it, known once the device has spoken."""
        self.orders: dict[str, tuple[Downlink, asyncio.Future[None]]] = {}
        """Downlinks under way, by their id in ChirpStack's queue."""
        self._seen: deque[object] = deque(maxlen=2 * REMEMBERED)

    def repeats(self, event: _Event) -> bool:
        """A broker may deliver twice (QoS 1), and a sensor repeats a frame nobody acknowledged."""
        frame = (event.dev_addr, event.f_cnt) if event.dev_addr else ""
        keys = [key for key in (event.deduplication_id, frame) if key]
        known = any(key in self._seen for key in keys)
        self._seen.extend(keys)
        return known

    def follow(self, event: str, progress: _Progress) -> None:
        """A downlink has come further, or has ended."""
        key = progress.queue_item_id or progress.context.get("queue_item_id", "")
        order, done = self.orders.get(key, (None, None))
        if order is None or done is None or done.done():
            return
        if event == "log":
            done.set_exception(ReadFailed("lorawan-dropped", code=progress.code))
        elif event == "ack" and not progress.acknowledged:
            done.set_exception(ReadFailed("lorawan-refused"))
        elif event == "ack" or not order.confirmed:
            done.set_result(None)

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
        self._sensors = {device.address.dev_eui: _Sensor(device, application) for device in devices}
        for device in devices:
            events = ("up", "txack", "ack", "log") if device.actions else ("up",)
            for event in events:
                connection.subscribe(
                    f"application/{application}/device/{device.address.dev_eui}/event/{event}"
                )

    async def listen(self) -> AsyncIterator[tuple[str, Uplink | ReadFailed]]:
        async for message in self._connection.messages():
            _, application, _, eui, _, event = message.topic.split("/")
            sensor = self._sensors.get(eui)
            # A retained message is of unknown age: it is no reading.
            if message.retained or sensor is None:
                continue
            if event != "up":
                _follow(sensor, event, message.payload)
                continue
            raw = _uplink(sensor, eui, message.payload)
            if not isinstance(raw, ReadFailed):
                sensor.application = application
            if raw is None:
                continue
            yield sensor.name, raw
            if isinstance(raw, Uplink):
                over = msgspec.structs.replace(raw, over=True)
                if decode(sensor.points, over):
                    yield sensor.name, over

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Queue a downlink; return when it has been acknowledged, or sent where that is not asked for."""
        order: Downlink | None = device.actions.get(action)
        eui: str = device.address.dev_eui
        sensor = self._sensors[eui]
        if order is None:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        if not sensor.application:
            raise ReadFailed("lorawan-unheard", device=device.name)
        key = str(uuid.uuid4())
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sensor.orders[key] = order, done
        # When nobody waits for it any more it must not be sent; an old ChirpStack passes over this.
        until = datetime.now(UTC) + timedelta(seconds=device.confirm_timeout_s(action))
        command = {
            "id": key,
            "devEui": eui,
            "confirmed": order.confirmed,
            "fPort": order.port,
            "data": bytes.fromhex(order.hex),
            "expiresAt": until,
        }
        try:
            await self._connection.publish_command(
                f"application/{sensor.application}/device/{eui}/command/down",
                msgspec.json.encode(command),
            )
            await done
        finally:
            del sensor.orders[key]
        return order.confirm


def _uplink(sensor: _Sensor, eui: str, payload: bytes) -> Uplink | ReadFailed | None:
    """What an uplink event says; None where that is no news, or no present reading."""
    try:
        event = msgspec.json.decode(payload, type=_Event)
    except (ValueError, RecursionError) as error:
        return ReadFailed("not-uplink", reason=error)
    if event.device_info.dev_eui.lower() != eui:
        return ReadFailed("not-uplink", reason=f"devEui {event.device_info.dev_eui}")
    raw = Uplink(event.f_port, event.data or b"")
    return None if sensor.repeats(event) or not sensor.concerns(raw) else raw


def _follow(sensor: _Sensor, event: str, payload: bytes) -> None:
    """Other events concern commands alone: one that cannot be read says nothing of the sensor."""
    with contextlib.suppress(ValueError, RecursionError):
        sensor.follow(event, msgspec.json.decode(payload, type=_Progress))


@contextlib.asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[LoraListener]:
    """Connect and subscribe."""
    async with connect_mqtt(options) as connection:
        yield LoraListener(connection, options.application, devices)


async def _overhear(options: Options) -> AsyncIterator[OverheardDevice | ReadFailed]:
    """Every device of the network server, as a client of its own (the same name would end the
    connection of whoever has it)."""
    async with connect_mqtt(msgspec.structs.replace(options, client_id="")) as connection:
        connection.subscribe(f"application/{options.application}/device/+/event/up")
        async for message in connection.messages():
            try:
                event = msgspec.json.decode(message.payload, type=_Event)
            except (ValueError, RecursionError):
                continue
            info = event.device_info
            says = {"name": info.device_name, "profile": info.device_profile_name}
            raw = Uplink(event.f_port, event.data) if event.data else None
            yield OverheardDevice(address={"dev_eui": info.dev_eui.lower()}, identity=says, raw=raw)


def _lines(target: str) -> list[dict[str, Any]]:
    return [{"url": target}] if target.startswith(("mqtt://", "mqtts://")) else []


DRIVER = Driver(
    options=Options,
    address=Address,
    point=LoraPoint,
    connect=connect,
    decode=decode,
    parse_example=example,
    format_raw=show,
    action=Downlink,
    scan=Scan(
        candidate_buses=_lines,
        target_of=lambda options: options.url,
        shareable=True,
        overhear=_overhear,
        identity_keys=("name", "profile"),
    ),
)
