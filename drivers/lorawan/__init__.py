"""LoRaWAN sensors behind a network server that publishes over MQTT: ChirpStack, or another (see `uplinks`).

The profile describes the payload, in one of two forms: records of a type, or of channel and type, and a
value (see `records`), or values at fixed offsets of messages on certain ports.

A downlink waits in ChirpStack 4's queue until the device can receive; a class A device receives only after
an uplink of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
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
    Raw,
    ReadFailed,
    Scan,
    Value,
    sentence,
)
from gateway.wire.broker import BrokerOptions, bus_of
from gateway.wire.json_text import MAX_OBJECTS, check_parts
from gateway.wire.log import log_warning
from gateway.wire.mqtt import Connection, IncomingMessage
from gateway.wire.mqtt import connect as connect_mqtt
from gateway.wire.press import PressEnd, PressPoint, end_presses, original_message, with_press_end

from .records import record_bytes, split_records
from .uplinks import MAX_PAYLOAD_BYTES, NetworkUplink, read_uplink

VALUE_BYTES = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint24": 3, "uint32": 4, "int32": 4}

MAX_LOGGED_RECORDS = 16
"""Of a device: more are no records."""
ANY_APPLICATION = "+"
"""Topic wildcard for all applications."""
MAX_REMEMBERED_MESSAGES = 16
"""Latest messages of a device that are recognised when they are delivered again."""
SENT_AGAIN_WITHIN_S = 120.0
"""A device sends a frame up to 15 times until it is acknowledged (LoRaWAN 1.0.4, NbTrans). The same bytes
under the same number after this time are a new message of a device whose counter started again."""


TOPIC_FILTER = re.compile(r"(\+|[^+#/\0]*)(/(\+|[^+#/\0]*))*(/#)?")


class Options(BrokerOptions, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The broker ChirpStack publishes to; `application` is an application's id, or all by default.

    `topic`: where another server, or an older ChirpStack, publishes uplinks, such as
    "v3/+/devices/+/up"; each is then known by the DevEUI in it, and there are no downlinks."""

    application: str = ANY_APPLICATION
    topic: str = ""

    CHECKS: ClassVar[Checks] = {
        "application": (lambda name: re.fullmatch(r"\+|[\w-]+", name) is not None, "lorawan-application"),
        "topic": (lambda topic: not topic or TOPIC_FILTER.fullmatch(topic) is not None, "lorawan-topic"),
    }


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`dev_eui`: the 16 hexadecimal digits on the device's label."""

    dev_eui: str

    CHECKS: ClassVar[Checks] = {
        "dev_eui": (lambda eui: re.fullmatch("[0-9A-Fa-f]{16}", eui) is not None, "lorawan-eui")
    }

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "dev_eui", self.dev_eui.lower())


def _are_valid_channels(channel: str | tuple[str, ...]) -> bool:
    return {len(key) for key in _channel_keys(channel)} in (set(), {1}, {2})


def _channel_keys(channel: str | tuple[str, ...]) -> list[bytes]:
    return [bytes.fromhex(key) for key in ([channel] if isinstance(channel, str) else channel)]


def _is_alternative(key: str) -> bool:
    return key.isdecimal() or _are_valid_channels(key)


class PayloadCondition(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """What a byte of the payload must be, under a mask: some devices send messages of another meaning in
    the same form."""

    byte: int
    mask: int = 0xFF
    equals: tuple[int, ...]

    def holds_for(self, data: bytes) -> bool:
        return self.byte < len(data) and data[self.byte] & self.mask in self.equals


class LoraPoint(PressPoint, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where the value is in a payload; without `channel`, counted from the start of the payload."""

    channel: str | tuple[str, ...] = ()
    """The two bytes before the value, such as "03 82", or one, such as "12"; or several alternatives."""
    byte_at: dict[str, int] = msgspec.field(default_factory=dict)
    """Where the value is, for the alternatives in which it is not at `byte`: by channel or, without
    `channel`, by the length of the payload."""
    ports: tuple[int, ...] = ()
    """The fPorts of messages that contain it; empty for all."""
    byte: int = 0
    type: Literal["uint8", "int8", "uint16", "int16", "uint24", "uint32", "int32"] = "uint8"
    order: Literal["little", "big"] = "little"
    length: int | tuple[int, ...] = 0
    """Bytes of the record, where the table of `records` has none or another number; without `channel`, of
    the whole payload, or several alternatives."""
    when: PayloadCondition | None = None
    """Which payloads contain it."""
    mask: int | None = None
    among: tuple[int, ...] = ()
    """The numbers that are valid for this point; with any other number the point is left out."""
    optional: bool = True
    """Messages need not contain every value."""

    CHECKS: ClassVar[Checks] = {
        "channel": (_are_valid_channels, "lorawan-channel"),
        "byte_at": (lambda places: all(map(_is_alternative, places)), "lorawan-alternative"),
        "byte": (lambda place: 0 <= place < 256, "lorawan-byte"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "bit": (lambda point: (point.bit or 0) < 8 * VALUE_BYTES[point.type], "bit-range"),
        "length": (
            lambda point: isinstance(point.length, int) or not point.channel,
            "lorawan-record-length",
        ),
    }

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of the record or payload; empty: any."""
        if isinstance(self.length, tuple):
            return self.length
        return (self.length,) if self.length else ()


def _is_payload(text: str) -> bool:
    return 0 < len(bytes.fromhex(text)) <= MAX_PAYLOAD_BYTES


class Downlink(ListenerAction, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A message to the device: `hex` on fPort `port`. If `confirmed`, the device must acknowledge it; else
    it counts as done when a LoRaWAN gateway has accepted it for sending."""

    hex: str
    port: int = 85
    confirmed: bool = False

    CHECKS: ClassVar[Checks] = {
        "hex": (_is_payload, "lorawan-hex"),
        "port": (lambda port: 0 < port < 224, "lorawan-port"),
    }


class LorawanUplink(msgspec.Struct, frozen=True):
    """A message of a device."""

    port: int
    data: bytes


class _DownlinkEvent(msgspec.Struct, rename="camel"):
    """The fields of ChirpStack's `TxAckEvent`, `AckEvent` and `LogEvent` that concern a downlink."""

    queue_item_id: str = ""
    acknowledged: bool = False
    context: dict[str, str] = {}
    code: str = ""


def decode(points: Mapping[str, LoraPoint], raw: Raw) -> dict[str, Value]:
    """Decode a message to its numbers; what it does not contain is left out."""
    uplink: LorawanUplink = original_message(raw)
    records: dict[bytes, bytes | None] = {}
    for key, value in _records_in(points, uplink):
        if len(value or b"") >= len(records.get(key) or b""):  # The last may have been cut short.
            records[key] = value
    values: dict[str, Value] = {}
    for name, point in points.items():
        if (point.ports and uplink.port not in point.ports) or not (
            point.when is None or point.when.holds_for(uplink.data)
        ):
            continue
        part = _part_of_value(point, records, uplink.data)
        if len(part) < VALUE_BYTES[point.type]:
            continue
        number = int.from_bytes(part, point.order, signed=point.type.startswith("int"))
        if point.mask is not None:
            number &= point.mask
        if not point.among or number in point.among:
            values[name] = number
    return end_presses(points, raw, values)


def _part_of_value(point: LoraPoint, records: Mapping[bytes, bytes | None], data: bytes) -> bytes:
    """The bytes of the value; too few if the message does not contain it."""
    if point.channel:
        places = {bytes.fromhex(channel): place for channel, place in point.byte_at.items()}
        key = next((key for key in _channel_keys(point.channel) if key in records), b"")
        field, place = records.get(key) or b"", places.get(key, point.byte)
    else:
        field = data if not point.lengths or len(data) in point.lengths else b""
        place = point.byte_at.get(str(len(data)), point.byte)
    return field[place : place + VALUE_BYTES[point.type]]


def _records_in(points: Mapping[str, LoraPoint], uplink: LorawanUplink) -> list[tuple[bytes, bytes | None]]:
    """Channel and type of each record, with its value, which is None for one of unknown length."""
    own: dict[bytes, int] = {}
    port = 0
    for point in points.values():
        if point.channel and (not point.ports or uplink.port in point.ports):
            port = uplink.port if point.ports else port
            for key in _channel_keys(point.channel):
                least = max(point.byte + VALUE_BYTES[point.type], record_bytes(key, port))
                own[key] = max(own.get(key, 0), *(point.lengths or (least,)))
    return list(split_records(uplink.data, own, port)) if own else []


def unknown_record(points: Mapping[str, LoraPoint], uplink: LorawanUplink) -> str:
    """Channel and type of the record at which the reading of a message ended; empty if it was read
    whole."""
    return next((key.hex(" ").upper() for key, value in _records_in(points, uplink) if value is None), "")


def parse_example(fields: Mapping[str, Any]) -> Raw:
    """A worked example: `hex = "01 75 5C"`, and where they matter `port = 1` and `over = true`."""
    uplink = LorawanUplink(fields.get("port", 85), bytes.fromhex(fields["hex"]))
    return PressEnd(uplink) if fields.get("over") else uplink


def format_raw(raw: Raw) -> str:
    uplink: LorawanUplink = original_message(raw)
    ended = " (over)" if isinstance(raw, PressEnd) else ""
    return f"fPort {uplink.port}: {uplink.data.hex(' ').upper()}{ended}"


class RecentMessages:
    """A device's latest messages, by their content: a counter may start again, or never change."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._messages: dict[tuple[str, int, int, bytes], tuple[str, str, float]] = {}
        """By address, counter, port and data: the id and the time of the latest message, and
        when it arrived, in monotonic seconds."""

    def has(self, uplink: NetworkUplink) -> bool:
        """Whether the message came before, and remember it. A broker may deliver the same event again, even
        after a long outage (QoS 1); a device sends a frame again that was not acknowledged, and a second
        LoRaWAN gateway may be late: that is another event with the same content, soon after the first."""
        content = uplink.dev_addr, uplink.counter, uplink.port, uplink.data
        event_id, received, arrived = self._messages.pop(content, ("", "", float("-inf")))
        now = self._now()
        self._messages[content] = uplink.event_id, uplink.received, now
        if len(self._messages) > MAX_REMEMBERED_MESSAGES:
            del self._messages[next(iter(self._messages))]
        if event_id and (event_id, received) == (uplink.event_id, uplink.received):
            return True
        soon = max(now - arrived, _seconds_between(received, uplink.received)) < SENT_AGAIN_WITHIN_S
        return bool(uplink.dev_addr) and soon


def _seconds_between(earlier: str, later: str) -> float:
    """Seconds between two times of RFC 3339; 0 if one of them cannot be read."""
    try:
        return abs((datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


class _SensorState:
    """A device, its recent messages and its pending downlinks."""

    def __init__(self, device: Device, application: str) -> None:
        self.name = device.name
        self.points: Mapping[str, LoraPoint] = device.points
        self.application = "" if application == ANY_APPLICATION else application
        """The id of its application; if the options do not name it, known after the first message."""
        self.pending_downlinks: dict[str, tuple[Downlink, asyncio.Future[None]]] = {}
        """Downlinks in progress, by their id in ChirpStack's queue."""
        self.recent_messages = RecentMessages()
        self._unknown_records: set[str] = set()

    def take(self, uplink: NetworkUplink | None) -> tuple[_SensorState, LorawanUplink] | None:
        """Its message; None for one that came before."""
        if uplink is None or self.recent_messages.has(uplink):
            return None
        return self, LorawanUplink(uplink.port, uplink.data)

    def update_downlink(self, event: str, progress: _DownlinkEvent) -> None:
        """Process an event about a downlink."""
        key = progress.queue_item_id or progress.context.get("queue_item_id", "")
        downlink, done = self.pending_downlinks.get(key, (None, None))
        if downlink is None or done is None or done.done():
            return
        if event == "log":
            done.set_exception(ReadFailed("lorawan-dropped", code=progress.code))
        elif event == "ack" and not progress.acknowledged:
            done.set_exception(ReadFailed("lorawan-refused"))
        elif event == "ack" or not downlink.confirmed:
            done.set_result(None)

    def log_unknown_record(self, raw: LorawanUplink) -> None:
        """Log, once, at which record the reading of a message ended."""
        record = unknown_record(self.points, raw)
        if (
            record
            and record not in self._unknown_records
            and len(self._unknown_records) < MAX_LOGGED_RECORDS
        ):
            self._unknown_records.add(record)
            log_warning(
                "lorawan-record", device=self.name, record=record, message=raw.data.hex(" ").upper()
            )


class LoraListener(Listener):
    """The devices of one network server."""

    def __init__(self, connection: Connection, options: Options, devices: tuple[Device, ...]) -> None:
        self._connection = connection
        self._application = options.application
        self._topic = options.topic
        self._has_logged_foreign = False
        self._sensors = {
            device.address.dev_eui: _SensorState(device, options.application) for device in devices
        }
        if options.topic:
            connection.subscribe(options.topic)
            return
        for device in devices:
            events = ("up", "txack", "ack", "log") if device.actions else ("up",)
            for event in events:
                connection.subscribe(self._filter(device.address.dev_eui, event))

    def _filter(self, dev_eui: str, event: str) -> str:
        return f"application/{self._application}/device/{dev_eui}/event/{event}"

    def notices(self) -> list[tuple[str, dict[str, Any]]]:
        return self._connection.notices()

    async def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        async for message in self._connection.messages():
            # A retained message is of unknown age, so it is not a reading.
            heard = None if message.retained else await self._hear(message)
            if heard is None:
                continue
            sensor, raw = heard
            if isinstance(raw, ReadFailed):
                yield sensor.name, raw
                continue
            sensor.log_unknown_record(raw)
            for reading in with_press_end(sensor.points, raw, decode(sensor.points, raw)):
                yield sensor.name, message.as_reading(reading)

    async def _hear(
        self, message: IncomingMessage
    ) -> tuple[_SensorState, LorawanUplink | ReadFailed] | None:
        """Whose message it is, and what it says; None if it is no news of a sensor."""
        if self._topic:
            return await self._hear_any(message)
        _, application, _, eui, _, event = _levels(message.topic)
        sensor = self._sensors.get(eui)
        if sensor is None:
            for topic in (message.topic, self._filter(eui, event)):
                self._connection.unsubscribe(topic)
            return None
        if message.error:
            return sensor, message.error
        if event != "up":
            _handle_downlink_event(sensor, event, message.payload)
            return None
        try:
            uplink = await read_uplink(message.payload)
            if uplink and uplink.dev_eui != eui:
                raise ReadFailed("not-uplink", reason=sentence("cause.sender", sender=uplink.dev_eui))
        except ReadFailed as failed:
            return sensor, failed
        sensor.application = application
        return sensor.take(uplink)

    async def _hear_any(
        self, message: IncomingMessage
    ) -> tuple[_SensorState, LorawanUplink | ReadFailed] | None:
        try:
            if message.error:
                raise message.error
            uplink = await read_uplink(message.payload)
            if uplink and _eui_in(message.topic, self._sensors) not in ("", uplink.dev_eui):
                raise ReadFailed("not-uplink", reason=sentence("cause.sender", sender=uplink.dev_eui))
        except ReadFailed as failed:
            if not self._has_logged_foreign:
                self._has_logged_foreign = True
                log_warning("lorawan-foreign", topic=message.topic, reason=failed)
            return None
        sensor = self._sensors.get(uplink.dev_eui) if uplink else None
        return sensor.take(uplink) if sensor else None

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Queue a downlink; return when it has been sent or, if it is `confirmed`, acknowledged."""
        downlink: Downlink | None = device.actions.get(action)
        eui: str = device.address.dev_eui
        sensor = self._sensors[eui]
        if downlink is None:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        if self._topic:
            raise ReadFailed("lorawan-no-downlink", device=device.name)
        if not sensor.application:
            raise ReadFailed("lorawan-unheard", device=device.name)
        key = str(uuid.uuid4())
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sensor.pending_downlinks[key] = downlink, done
        # After the timeout it must not be sent any more; an old ChirpStack ignores this field.
        until = datetime.now(UTC) + timedelta(seconds=device.confirm_timeout_s(action))
        command = {
            "id": key,
            "devEui": eui,
            "confirmed": downlink.confirmed,
            "fPort": downlink.port,
            "data": bytes.fromhex(downlink.hex),
            "expiresAt": until,
        }
        try:
            await self._connection.publish_command(
                f"application/{sensor.application}/device/{eui}/command/down",
                msgspec.json.encode(command),
            )
            await done
        finally:
            del sensor.pending_downlinks[key]
        return downlink.confirm


def _levels(topic: str) -> list[str]:
    """The six levels of a topic of ChirpStack, empty where it has fewer."""
    return (topic.split("/") + [""] * 6)[:6]


def _eui_in(topic: str, euis: Collection[str]) -> str:
    """Which of these devices a topic names; empty for none."""
    return next((eui for eui in re.findall("[0-9a-f]{16}", topic.lower()) if eui in euis), "")


def _handle_downlink_event(sensor: _SensorState, event: str, payload: bytes) -> None:
    """These events concern commands only: one that cannot be parsed is no failure of the sensor."""
    with contextlib.suppress(ValueError, RecursionError, ReadFailed):
        check_parts(payload, "{[", MAX_OBJECTS)
        sensor.update_downlink(event, msgspec.json.decode(payload, type=_DownlinkEvent))


@contextlib.asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[LoraListener]:
    """Connect and subscribe."""
    euis = {device.address.dev_eui for device in devices}

    def sender_of(topic: str) -> str:
        # Anybody may publish as a device of any number of applications.
        return _eui_in(topic, euis) or topic

    async with connect_mqtt(
        options, owner=bus_of(devices), keep_session=True, sender_of=sender_of
    ) as connection:
        yield LoraListener(connection, options, devices)


async def _overhear_devices(options: Options) -> AsyncIterator[OverheardDevice | ReadFailed]:
    """Report every device of the network server. Connects without a client id: with the same one the broker
    would close the other client's connection."""
    async with connect_mqtt(msgspec.structs.replace(options, client_id="")) as connection:
        connection.subscribe(options.topic or f"application/{options.application}/device/+/event/up")
        async for message in connection.messages():
            try:
                uplink = await read_uplink(message.payload)
            except ReadFailed:
                continue
            if uplink:
                identity = {"name": uplink.device_name, "profile": uplink.device_profile}
                raw = LorawanUplink(uplink.port, uplink.data) if uplink.data else None
                yield OverheardDevice(address={"dev_eui": uplink.dev_eui}, identity=identity, raw=raw)


def _candidate_buses(target: str) -> list[dict[str, Any]]:
    return [{"url": target}] if target.startswith(("mqtt://", "mqtts://")) else []


DRIVER = Driver(
    options=Options,
    address=Address,
    point=LoraPoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_raw,
    silence_s=3600,
    action=Downlink,
    can_send=lambda options: not options.topic,
    scan=Scan(
        candidate_buses=_candidate_buses,
        target_of=lambda options: options.url,
        shareable=True,
        overhear=_overhear_devices,
        identity_keys=("name", "profile"),
    ),
)
