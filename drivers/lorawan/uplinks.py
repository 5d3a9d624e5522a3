"""Uplinks as network servers publish them: which device, which port, which bytes.

Each server has a form of its own, known by where it has the DevEUI:
- ChirpStack 4 and 3 (chirpstack.io, Event types): 3 has the DevEUI in base64 or, as "JSON v3" and in
  Milesight's gateways (milesight.com, Uplink Data), in hexadecimal;
- The Things Stack (thethingsindustries.com, Data Formats), which omits what is 0 or empty;
- LORIOT (docs.loriot.io, Uplink Data Message), Actility ThingPark (AS API, Uplink frames), MultiTech
  (multitech.net, MQTT Messages), Kerlink Wanesy (Data Up), Helium's console (docs.helium.com), The
  Things Network 2 (API Reference, Uplink Messages) and Everynet (Data API, Uplink).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re

import msgspec

from gateway.model import Raw, ReadFailed, Value, sentence
from gateway.wire.codec import value_at
from gateway.wire.json_text import MAX_OBJECTS, MAX_QUICK_BYTES, check_parts, parse_json
from gateway.wire.path import find_parts

MAX_MESSAGE_BYTES = 256 * 1024
"""A message holds at most 242 bytes of payload, what was decoded from them, and metadata."""
MAX_PAYLOAD_BYTES = 242
"""The longest payload at the best data rate (RP002)."""
MAX_ID_CHARACTERS = 64
MAX_NAME_CHARACTERS = 256
MAX_COUNTER = 2**32 - 1


class NetworkUplink(msgspec.Struct, frozen=True, kw_only=True):
    """An uplink, or another sign of life of a device, which has no data."""

    dev_eui: str
    """16 hexadecimal digits, in lower case."""
    port: int = 0
    data: bytes = b""
    counter: int = 0
    dev_addr: str = ""
    event_id: str = ""
    """The same when the server publishes the same message again."""
    received: str = ""
    """When the network received it: text in RFC 3339, or as the server has it."""
    device_name: str = ""
    device_profile: str = ""


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server's messages have what matters: paths of keys. The first that leads somewhere counts."""

    dev_eui: str
    data: str = "data"
    is_hexadecimal: bool = False
    """The data, which are in base64 otherwise."""
    port: str = "port"
    counter: str = "fcnt"
    received: tuple[str, ...]
    event_id: tuple[str, ...] = ()
    """By default the time at which the network received it."""
    signs_of_life: tuple[str, ...] = ()
    """Paths one of which a message of the device has; without any, the server speaks of itself."""
    dev_addr: str = ""
    device_name: str = ""
    device_profile: str = ""


FORMS = (
    Form(
        dev_eui="deviceInfo.devEui",
        port="fPort",
        counter="fCnt",
        received=("time",),
        event_id=("deduplicationId",),
        dev_addr="devAddr",
        device_name="deviceInfo.deviceName",
        device_profile="deviceInfo.deviceProfileName",
    ),
    Form(
        dev_eui="devEUI",
        port="fPort",
        counter="fCnt",
        received=("publishedAt", "time", "rxInfo.0.time"),
        event_id=("rxInfo.0.uplinkID", "time", "rxInfo.0.time"),
        dev_addr="devAddr",
        device_name="deviceName",
        device_profile="deviceProfileName",
    ),
    Form(
        dev_eui="end_device_ids.dev_eui",
        data="uplink_message.frm_payload",
        port="uplink_message.f_port",
        counter="uplink_message.f_cnt",
        received=("received_at",),
        signs_of_life=("uplink_message", "join_accept", "downlink_ack", "downlink_nack"),
        dev_addr="end_device_ids.dev_addr",
        device_name="end_device_ids.device_id",
        device_profile="uplink_message.version_ids.model_id",
    ),
    Form(
        dev_eui="DevEUI_uplink.DevEUI",
        data="DevEUI_uplink.payload_hex",
        is_hexadecimal=True,
        port="DevEUI_uplink.FPort",
        counter="DevEUI_uplink.FCntUp",
        received=("DevEUI_uplink.Time",),
        dev_addr="DevEUI_uplink.DevAddr",
        device_name="DevEUI_uplink.CustomerData.name",
    ),
    Form(dev_eui="EUI", is_hexadecimal=True, received=("ts",), signs_of_life=("data",)),
    Form(dev_eui="deveui", received=("time",)),
    Form(
        dev_eui="dev_eui",
        data="payload",
        received=("reported_at",),
        event_id=("uuid",),
        dev_addr="devaddr",
        device_name="name",
    ),
    Form(
        dev_eui="endDevice.devEui",
        data="payload",
        is_hexadecimal=True,
        port="fPort",
        counter="fCntUp",
        received=("recvTime",),
        event_id=("id",),
        dev_addr="endDevice.devAddr",
        signs_of_life=("fCntUp",),
    ),
    Form(
        dev_eui="hardware_serial",
        data="payload_raw",
        counter="counter",
        received=("metadata.time",),
        device_name="dev_id",
        signs_of_life=("payload_raw",),
    ),
    Form(
        dev_eui="meta.device",
        data="params.payload",
        port="params.port",
        counter="params.counter_up",
        received=("params.rx_time", "meta.time"),
        event_id=("meta.packet_id",),
        dev_addr="meta.device_addr",
        signs_of_life=("params.counter_up",),
    ),
)


async def read_uplink(payload: bytes) -> NetworkUplink | None:
    """As `parse_uplink`; a long message is parsed beside the event loop."""
    if len(payload) > MAX_QUICK_BYTES:
        return await asyncio.to_thread(parse_uplink, payload)
    return parse_uplink(payload)


def parse_uplink(payload: bytes) -> NetworkUplink | None:
    """The uplink in a message; None for one in which the server speaks of itself.

    Raises `ReadFailed` for what is none.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ReadFailed("uplink-large", kilobytes=MAX_MESSAGE_BYTES >> 10)
    check_parts(payload, "{[", MAX_OBJECTS)
    try:
        message = parse_json(payload)
    except ReadFailed as failed:
        raise ReadFailed("not-uplink", reason=failed) from failed
    form = next((form for form in FORMS if isinstance(value_at(message, form.dev_eui), str)), None)
    if form is None:
        raise ReadFailed("not-uplink", reason=sentence("cause.no-deveui"))
    if form.signs_of_life and not any(find_parts(message, path) for path in form.signs_of_life):
        return None
    port = _number(message, form.port)
    return NetworkUplink(
        dev_eui=parse_eui(_text(message, form.dev_eui)),
        port=port if 0 <= port < 256 else 0,
        data=_data(value_at(message, form.data), form.is_hexadecimal),
        counter=_number(message, form.counter),
        dev_addr=_text(message, form.dev_addr)[:MAX_ID_CHARACTERS],
        event_id=_text(message, *(form.event_id or form.received))[:MAX_ID_CHARACTERS],
        received=_text(message, *form.received)[:MAX_ID_CHARACTERS],
        device_name=_text(message, form.device_name)[:MAX_NAME_CHARACTERS],
        device_profile=_text(message, form.device_profile)[:MAX_NAME_CHARACTERS],
    )


def parse_eui(text: str) -> str:
    """A DevEUI as 16 hexadecimal digits in lower case: from hexadecimal, with or without separators, or
    base64. Raises `ReadFailed`."""
    digits = re.sub("[-: ]", "", text[:MAX_ID_CHARACTERS])
    if re.fullmatch("[0-9A-Fa-f]{16}", digits):
        return digits.lower()
    try:
        eui = base64.b64decode(text[:MAX_ID_CHARACTERS], validate=True)
    except ValueError:
        eui = b""
    if len(eui) != 8:
        raise ReadFailed("not-uplink", reason=sentence("cause.sender", sender=text[:MAX_ID_CHARACTERS]))
    return eui.hex()


def _text(message: Raw, *paths: str) -> str:
    """The first value that there is, as text."""
    values = (value_at(message, path) for path in paths)
    return next((str(value) for value in values if value not in (None, "")), "")


def _number(message: Raw, path: str) -> int:
    """A number or a text that is one; 0 if it is omitted, or -1 for that. Raises `ReadFailed`."""
    text = _text(message, path) or "0"
    if text == "-1":
        return 0
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > MAX_COUNTER:
        raise ReadFailed("not-uplink", reason=f"{path} = {text[:MAX_ID_CHARACTERS]}")
    return int(text)


def _data(value: Value | None, is_hexadecimal: bool) -> bytes:
    """The bytes of the payload; none if there are none. Raises `ReadFailed`."""
    try:
        if value is None:
            data = b""
        elif not isinstance(value, str):
            raise ValueError(value)
        else:
            data = bytes.fromhex(value) if is_hexadecimal else base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ReadFailed("not-uplink", reason=f"data = {str(value)[:MAX_ID_CHARACTERS]}") from error
    if len(data) > MAX_PAYLOAD_BYTES:
        raise ReadFailed("not-uplink", reason=f"data: {len(data)} > {MAX_PAYLOAD_BYTES}")
    return data
