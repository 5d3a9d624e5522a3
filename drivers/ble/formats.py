"""Parsing of advertisements: BTHome v2, Xiaomi MiBeacon, Ruuvi format 5.

They are decoded here because the usual decoders need 28 more packages (aiohttp among them) and 40 MB for
three small tables and one AES-CCM.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import msgspec

from gateway.model import Checks, OverheardDevice, Point, ReadFailed, Value

BTHOME, XIAOMI = 0xFCD2, 0xFE95
"""16-bit service UUIDs."""
RUUVI_COMPANY_ID = 0x0499
"""Bluetooth company identifier."""
SERVICE_DATA, MANUFACTURER_DATA = 0x16, 0xFF
"""Types of an advertisement's parts (Assigned Numbers, 2.3)."""

Quantity = tuple[str, int, float]
"""Name, length in bytes (negative: a signed number), and the size of its last digit."""

BTHOME_FLAGS = {
    0x0F: "generic", 0x10: "power_on", 0x11: "opening", 0x15: "battery_low", 0x16: "charging",
    0x17: "co_alarm", 0x18: "cold", 0x19: "connectivity", 0x1A: "door", 0x1B: "garage_door", 0x1C: "gas",
    0x1D: "heat", 0x1E: "light", 0x1F: "lock", 0x20: "water", 0x21: "motion", 0x22: "moving",
    0x23: "occupied", 0x24: "plug", 0x25: "presence", 0x26: "problem", 0x27: "running", 0x28: "safety",
    0x29: "smoke", 0x2A: "sound", 0x2B: "tamper", 0x2C: "vibration", 0x2D: "window",
}  # fmt: skip
BTHOME_QUANTITIES: dict[int, Quantity] = {
    0x00: ("packet", 1, 1), 0x01: ("battery", 1, 1), 0x02: ("temperature", -2, 0.01),
    0x03: ("humidity", 2, 0.01), 0x04: ("pressure", 3, 1), 0x05: ("illuminance", 3, 0.01),
    0x06: ("mass", 2, 0.01), 0x07: ("mass_lb", 2, 0.01), 0x08: ("dew_point", -2, 0.01),
    0x09: ("count", 1, 1), 0x0A: ("energy", 3, 0.001), 0x0B: ("power", 3, 0.01),
    0x0C: ("voltage", 2, 0.001), 0x0D: ("pm25", 2, 1), 0x0E: ("pm10", 2, 1), 0x12: ("co2", 2, 1),
    0x13: ("tvoc", 2, 1), 0x14: ("moisture", 2, 0.01), 0x2E: ("humidity", 1, 1), 0x2F: ("moisture", 1, 1),
    0x3A: ("button", 1, 1), 0x3C: ("dimmer", 2, 1), 0x3D: ("count", 2, 1), 0x3E: ("count", 4, 1),
    0x3F: ("rotation", -2, 0.1), 0x40: ("distance", 2, 0.001), 0x41: ("distance", 2, 0.1),
    0x42: ("duration", 3, 0.001), 0x43: ("current", 2, 0.001), 0x44: ("speed", 2, 0.01),
    0x45: ("temperature", -2, 0.1), 0x46: ("uv", 1, 0.1), 0x47: ("volume", 2, 0.1),
    0x48: ("volume", 2, 0.001), 0x49: ("flow", 2, 0.001), 0x4A: ("voltage", 2, 0.1),
    0x4B: ("gas_volume", 3, 0.001), 0x4C: ("gas_volume", 4, 0.001), 0x4D: ("energy", 4, 0.001),
    0x4E: ("volume", 4, 0.001), 0x4F: ("water_volume", 4, 0.001), 0x50: ("timestamp", 4, 1),
    0x51: ("acceleration", 2, 0.001), 0x52: ("gyroscope", 2, 0.001), 0x55: ("storage", 4, 0.001),
    0x56: ("conductivity", 2, 1), 0x57: ("temperature", -1, 1), 0x58: ("temperature", -1, 0.35),
    0x59: ("count", -1, 1), 0x5A: ("count", -2, 1), 0x5B: ("count", -4, 1), 0x5C: ("power", -4, 0.01),
    0x5D: ("current", -2, 0.001), 0x5E: ("direction", 2, 0.01), 0x5F: ("precipitation", 2, 0.1),
    0x60: ("channel", 1, 1), 0x61: ("rotational_speed", 2, 1), 0x62: ("speed", -4, 0.000001),
    0x63: ("acceleration", -4, 0.000001), 0x64: ("light_level", 1, 1), 0x65: ("revision", 1, 1),
    0xF0: ("device_type", 2, 1), 0xF1: ("firmware", 4, 1), 0xF2: ("firmware", 3, 1),
}  # fmt: skip
"""BTHome v2 object ids, in SI units as bthome.io has them, except: pressure in Pa, distance in m,
volumes in l (gas in m³)."""
BTHOME_TEXTS = (0x53, 0x54)
"""Text and raw bytes, which contain their length."""
BTHOME_COMMAND = 0x3B
"""Five bits of its second byte are the number of bytes that follow."""
BTHOME_IDS = {*BTHOME_FLAGS, *BTHOME_QUANTITIES, *BTHOME_TEXTS, BTHOME_COMMAND}
XIAOMI_OBJECTS: dict[int, tuple[Quantity, ...]] = {
    0x0003: (("motion", 1, 1),),
    0x0007: (("door_state", 1, 1),),
    0x000F: (("moving_light", 3, 1),),
    0x1001: (("button", 2, 1), ("press", 1, 1)),
    0x1004: (("temperature", -2, 0.1),),
    0x1006: (("humidity", 2, 0.1),),
    0x1007: (("illuminance", 3, 1),),
    0x100A: (("battery", 1, 1),),
    0x100D: (("temperature", -2, 0.1), ("humidity", 2, 0.1)),
    0x1014: (("water", 1, 1),),
    0x1015: (("smoke", 1, 1),),
    0x1017: (("idle", 4, 1),),
    0x1018: (("light", 1, 1),),
    0x1019: (("door_state", 1, 1),),
    0x4803: (("battery", 1, 1),),
    0x4804: (("opening_state", 1, 1),),
    0x4806: (("water", 1, 1),),
    0x480C: (("door_state", 1, 1),),
    0x4818: (("idle", 2, 1),),
    0x4A01: (("battery_low", 1, 1),),
    0x4A12: (("opening_state", 1, 1),),
    0x4A1A: (("opening_state", 1, 1),),
    0x4C02: (("humidity", 1, 1),),
    0x4C03: (("battery", 1, 1),),
    0x4E01: (("battery_low", 1, 1),),
}
"""`idle` in seconds since the last motion; `press` is 0 single, 1 double, 2 long."""
XIAOMI_FLOATS = {0x4801: "temperature", 0x4808: "humidity", 0x4C01: "temperature", 0x4C08: "humidity"}
"""Objects of four bytes with a floating-point number."""
NO_MOTION_AFTER_S = 30
"""The manufacturer's own applications report no motion after this time."""
KNOWN_FIELDS = {
    *BTHOME_FLAGS.values(),
    *(name for name, _, _ in BTHOME_QUANTITIES.values()),
    *(name for quantities in XIAOMI_OBJECTS.values() for name, _, _ in quantities),
    "acceleration_x", "acceleration_y", "acceleration_z", "movements",
}  # fmt: skip


class BlePoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`field`: a field of the packet, or several, of which the first that the packet has counts. A field
    that occurs twice is `name` and `name.2`."""

    field: str | tuple[str, ...]
    optional: bool = True

    CHECKS: ClassVar[Checks] = {
        "field": (
            lambda field: all(name.partition(".")[0] in KNOWN_FIELDS for name in _names(field)),
            "ble-field",
        ),
    }


def _names(field: str | tuple[str, ...]) -> tuple[str, ...]:
    return (field,) if isinstance(field, str) else field


class BlePacket(msgspec.Struct, frozen=True):
    """The content of one advertisement."""

    data: bytes
    fields: dict[str, Value]
    number: int | None = None
    """The device's packet counter. It is no identity: devices restart it, share it or never change it."""
    encrypted: bool = False
    unknown_object: int | None = None
    """The id at which the parsing ended, as its length is not known."""


def address_inside(service: Mapping[int, bytes]) -> str:
    """The address of the device that an advertisement says it is from, upper case; empty without one."""
    data, at = service.get(BTHOME, b""), 1
    has_address = data[:1] and data[0] >> 5 == 2 and data[0] & 0x02
    if BTHOME not in service:
        data, at = service.get(XIAOMI, b""), 5
        has_address = data[:1] and data[0] & 0x10
    address = data[at : at + 6]
    return address[::-1].hex(":").upper() if has_address and len(address) == 6 else ""


def parse_advertisement(
    mac: bytes, key: bytes | None, service: Mapping[int, bytes], manufacturer: Mapping[int, bytes]
) -> BlePacket | None:
    """Parse service data and manufacturer data, by their identifiers; None for an unknown format. Raises
    `ReadFailed` when the key is missing or wrong."""
    if BTHOME in service:
        return parse_bthome(mac, key, service[BTHOME])
    if XIAOMI in service:
        return parse_xiaomi(mac, key, service[XIAOMI])
    if RUUVI_COMPANY_ID in manufacturer:
        return parse_ruuvi(manufacturer[RUUVI_COMPANY_ID])
    return None


def parse_bthome(mac: bytes, key: bytes | None, data: bytes) -> BlePacket | None:
    """BTHome v2 (bthome.io/format, bthome.io/encryption)."""
    if not data or data[0] >> 5 != 2:
        return None
    body = data[1:]
    if data[0] & 0x02:  # The device's address, reversed.
        if len(body) < 6:
            return None
        mac, body = body[5::-1], body[6:]
    if not data[0] & 0x01:
        if key:
            raise ReadFailed("ble-unencrypted")
        fields, unknown = _bthome_fields(body)
        packet = fields.get("packet")
        return BlePacket(data, fields, int(packet) if packet is not None else None, unknown_object=unknown)
    if len(body) < 8:
        return None
    counter = body[-8:-4]
    nonce = mac + BTHOME.to_bytes(2, "little") + data[:1] + counter
    fields, unknown = _bthome_fields(_decrypt(key, nonce, body[:-8] + body[-4:], b""))
    return BlePacket(data, fields, int.from_bytes(counter, "little"), True, unknown)


def _bthome_fields(body: bytes) -> tuple[dict[str, Value], int | None]:
    """Parse the objects up to the first unknown id, whose length is unknown too. Returns the fields, and
    that id."""
    fields: dict[str, Value] = {}
    at = 0
    while at < len(body):
        kind, rest = body[at], body[at + 1 :]
        if kind in BTHOME_FLAGS and rest:
            _add_field(fields, BTHOME_FLAGS[kind], bool(rest[0]))
            at += 2
        elif (quantity := BTHOME_QUANTITIES.get(kind)) and len(rest) >= abs(quantity[1]):
            _add_field(fields, quantity[0], _scaled_number(quantity, rest))
            at += 1 + abs(quantity[1])
        elif kind in BTHOME_TEXTS and rest:
            at += 2 + rest[0]
        elif kind == BTHOME_COMMAND and len(rest) > 1:
            at += 3 + (rest[1] & 0x1F)
        else:
            return fields, None if kind in BTHOME_IDS else kind
    return fields, None


def parse_xiaomi(mac: bytes, key: bytes | None, data: bytes) -> BlePacket | None:
    """MiBeacon, its version 2 and 3 only without encryption; None for frames without an object, and for
    those of a mesh."""
    if len(data) < 5:
        return None
    control = int.from_bytes(data[:2], "little")
    encrypted, has_mac, has_capability, has_object, mesh = (control >> bit & 1 for bit in range(3, 8))
    version = control >> 12
    if not 2 <= version <= 5 or (encrypted and version < 4) or not has_object or mesh:
        return None
    at = 5
    if has_mac:  # Reversed.
        if len(data) < 11:
            return None
        mac, at = data[10:4:-1], 11
    starts = [at]
    if has_capability:
        # Bit 5 means that inputs and outputs follow: two bytes in Xiaomi's document, one in some devices.
        starts = [at + 3, at + 2] if data[at : at + 1] and data[at] & 0x20 else [at + 1]
    if not encrypted:
        if key:
            raise ReadFailed("ble-unencrypted")
        start = next((start for start in starts if _are_xiaomi_objects(data[start:])), starts[0])
        return BlePacket(data, _xiaomi_fields(data[start:]), data[4])
    counter = data[-7:-4]
    nonce = mac[::-1] + data[2:5] + counter
    number = int.from_bytes(data[4:5] + counter, "little")
    wrong_key: ReadFailed | None = None
    for start in starts:
        if len(data) >= start + 7:
            try:
                plain = _decrypt(key, nonce, data[start:-7] + data[-4:], b"\x11")
            except ReadFailed as failed:
                wrong_key = failed
            else:
                return BlePacket(data, _xiaomi_fields(plain), number, encrypted=True)
    if wrong_key:
        raise wrong_key
    return None


def _are_xiaomi_objects(body: bytes) -> bool:
    """Whether objects fill these bytes exactly."""
    while len(body) >= 3:
        body = body[3 + body[2] :] if len(body) >= 3 + body[2] else b"\0"
    return not body


def _xiaomi_fields(body: bytes) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    while len(body) >= 3:
        kind, length = struct.unpack_from("<HB", body)
        rest, body = body[3 : 3 + length], body[3 + length :]
        quantities = XIAOMI_OBJECTS.get(kind, ())
        if kind in XIAOMI_FLOATS and len(rest) == length == 4:
            fields[XIAOMI_FLOATS[kind]] = round(struct.unpack("<f", rest)[0], 2)
        if len(rest) != length or sum(abs(quantity[1]) for quantity in quantities) > length:
            continue
        for quantity in quantities:
            fields[quantity[0]] = _scaled_number(quantity, rest)
            rest = rest[abs(quantity[1]) :]
    # 0 open, 1 closed, 2 open for too long; 3 means that the device was reset.
    state = fields.pop("door_state", None)
    if state in (0, 1, 2):
        fields["door"] = state != 1
    opening = fields.pop("opening_state", None)
    if opening in (1, 2):
        fields["door"] = opening == 1
    if "battery_low" in fields:
        fields["battery_low"] = bool(fields["battery_low"])
    if "moving_light" in fields:
        fields["motion"] = True
    elif (idle := fields.get("idle")) is not None:
        fields["motion"] = int(idle) <= NO_MOTION_AFTER_S
    elif "motion" in fields:
        fields["motion"] = bool(fields["motion"])
    return fields


def parse_ruuvi(data: bytes) -> BlePacket | None:
    """Ruuvi data format 5 (docs.ruuvi.com); pressure in Pa, accelerations in g. What the tag could not
    measure is left out."""
    if len(data) != 24 or data[0] != 5:
        return None
    _, temperature, humidity, pressure, x, y, z, power, movements, number = struct.unpack(
        ">BhHHhhhHBH", data[:18]
    )
    known: tuple[tuple[str, int, int, Value], ...] = (
        ("temperature", temperature, -0x8000, round(temperature * 0.005, 3)),
        ("humidity", humidity, 0xFFFF, round(humidity * 0.0025, 4)),
        ("pressure", pressure, 0xFFFF, pressure + 50_000),
        ("acceleration_x", x, -0x8000, x / 1000),
        ("acceleration_y", y, -0x8000, y / 1000),
        ("acceleration_z", z, -0x8000, z / 1000),
        ("voltage", power >> 5, 0x7FF, (1600 + (power >> 5)) / 1000),
        ("movements", movements, 0xFF, movements),
    )
    fields = {name: value for name, wire, none, value in known if wire != none}
    return BlePacket(data, fields, None if number == 0xFFFF else number)


def _scaled_number(quantity: Quantity, data: bytes) -> Value:
    _, length, step = quantity
    wire = int.from_bytes(data[: abs(length)], "little", signed=length < 0)
    return wire if step == 1 else round(wire * step, 6)


def _add_field(fields: dict[str, Value], name: str, value: Value) -> None:
    again = sum(known.partition(".")[0] == name for known in fields)
    fields[f"{name}.{again + 1}" if again else name] = value


def _decrypt(key: bytes | None, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
    if key is None:
        raise ReadFailed("ble-encrypted")
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESCCM
    except ImportError as error:
        raise ReadFailed("ble-missing", reason=error) from error
    try:
        return AESCCM(key, tag_length=4).decrypt(nonce, data, associated_data)
    except InvalidTag as error:
        raise ReadFailed("ble-key-wrong") from error


def decode(points: Mapping[str, BlePoint], raw: BlePacket) -> dict[str, Value]:
    """Select the values of a packet; what it does not contain is left out."""
    found = {
        name: next((field for field in _names(point.field) if field in raw.fields), None)
        for name, point in points.items()
    }
    return {name: raw.fields[field] for name, field in found.items() if field}


def parse_example(fields: Mapping[str, Any]) -> BlePacket:
    """A worked example: `advertisement` in hex as a scanner app shows it; with `mac` and `key` if it
    is encrypted."""
    service: dict[int, bytes] = {}
    manufacturer: dict[int, bytes] = {}
    for kind, body in _split_advertisement(bytes.fromhex(fields["advertisement"])):
        if kind == SERVICE_DATA:
            service[int.from_bytes(body[:2], "little")] = body[2:]
        elif kind == MANUFACTURER_DATA:
            manufacturer[int.from_bytes(body[:2], "little")] = body[2:]
    key = bytes.fromhex(fields["key"]) if "key" in fields else None
    try:
        packet = parse_advertisement(mac_to_bytes(fields.get("mac", "")), key, service, manufacturer)
    except ReadFailed as failed:
        raise ValueError(failed) from failed
    if packet is None:
        raise ValueError(fields["advertisement"])
    return packet


def _split_advertisement(advertisement: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each part (Core Specification, vol. 3, part C, 11)."""
    while len(advertisement) >= 2:
        length = advertisement[0]
        yield advertisement[1], advertisement[2 : 1 + length]
        advertisement = advertisement[1 + length :]


def format_raw(raw: BlePacket) -> str:
    number = "" if raw.number is None else f" #{raw.number}"
    return f"{raw.data.hex(' ')}{number} {raw.fields}"


def mac_to_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def identify_sender(
    mac: str, service: Mapping[int, bytes], manufacturer: Mapping[int, bytes]
) -> OverheardDevice | None:
    """Describe the sender of an advertisement: its format, Xiaomi's product number, and the packet if it
    can be read without a key. None for an unknown format."""
    identity: dict[str, str] = {}
    mac = address_inside(service) or mac.upper()
    if BTHOME in service:
        identity["format"] = "bthome"
    elif XIAOMI in service and len(service[XIAOMI]) >= 5:
        identity |= {
            "format": "mibeacon",
            "product": f"{int.from_bytes(service[XIAOMI][2:4], 'little'):04x}",
        }
    elif RUUVI_COMPANY_ID in manufacturer:
        identity["format"] = "ruuvi"
    else:
        return None
    keys_to_fill_in = {}
    try:
        packet = parse_advertisement(mac_to_bytes(mac), None, service, manufacturer)
    except ReadFailed:
        packet, identity["encrypted"] = None, "true"
        keys_to_fill_in = {"bindkey_file": f"/etc/linli/{mac_to_bytes(mac).hex()}.key"}
    return OverheardDevice(
        address={"mac": mac}, identity=identity, raw=packet, keys_to_fill_in=keys_to_fill_in
    )
