from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.lorawan import (
    DRIVER,
    Address,
    LoraPoint,
    LorawanUplink,
    Options,
    RecentMessages,
    connect,
    decode,
    format_raw,
    parse_example,
    unknown_record,
)
from drivers.lorawan.records import split_records
from drivers.lorawan.uplinks import parse_uplink
from gateway.base.clock import SystemClock
from gateway.config import BusSpec, Mistakes, load_profile, load_site
from gateway.field.line import Line
from gateway.model import Command, Device, ReadFailed, Sample, Value
from gateway.wire.broker import BrokerOptions
from gateway.wire.codec import convert_values
from gateway.wire.mqtt import MAX_INBOX_BLOCKS
from gateway.wire.mqtt import connect as connect_mqtt
from gateway.wire.press import PressEnd
from tests.broker import Broker, hearing

PROFILES = Path(__file__).parents[2] / "config" / "profiles"
MODELS = {
    f"{file.parent.name}/{file.stem}": profile
    for file in sorted(PROFILES.glob("*/*.toml"))
    if (profile := load_profile(file)).driver is DRIVER
}
EUI = "24e124713c480123"
COUNT = itertools.count()


def read(model: str, hex_: str, port: int = 85) -> tuple[dict[str, Value], dict[str, str]]:
    points = MODELS[model].points
    return convert_values(points, decode(points, LorawanUplink(port, bytes.fromhex(hex_))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "port", "payload", "values"),
    [
        ("parking-bay/milesight-em310-udl", 85, "01755C 03824408 040001",
         {"battery": 92, "distance": 2116, "occupied": False, "tilt": True}),
        ("smoke/milesight-gs524n", 85, "221E64001C40",
         {"test": True, "low_battery": False, "battery": 100, "concentration": 0, "temperature": 28}),
        ("door-counter/milesight-vs133", 85, "03D248000000 04D2C8000000", {"in": 72, "out": 200}),
        ("door-counter/milesight-vs121", 85, "05CC02000100", {"in_period": 2, "out_period": 1}),
        ("parking-bay/bosch-tpl110", 1, "01", {"occupied": True}),
        ("parking-bay/bosch-tpl110", 2, "00F6", {"occupied": False, "temperature": -10}),
        ("parking-bay/bosch-tpl110", 3, "00" * 16 + "01", {}),
    ],
)  # fmt: skip
def test_published_messages_say_what_they_mean(
    model: str, port: int, payload: str, values: dict[str, Value]
) -> None:
    assert read(model, payload, port) == (values, {})


@pytest.mark.parametrize(
    ("payload", "values"),
    [
        ("8967520301", {"temperature": 85, "temperature_alarm": True}),
        ("8967520301 8498B80BD007C40905",
         {"temperature": 85, "temperature_alarm": True, "current": 25, "overload": True}),
        ("0498B80B 8967F6FF00", {"current": 30, "temperature": -1, "temperature_alarm": False}),
    ],
)  # fmt: skip
def test_the_alarms_of_a_transformer_are_read_together(payload: str, values: dict[str, Value]) -> None:
    assert read("electrical-fire/milesight-ct10x", payload) == (values, {})


@pytest.mark.parametrize(
    ("model", "port", "payload", "values"),
    [
        # Frames of the makers' decoders; D23-LB: its alarm limits, in the shape of its temperatures.
        ("fridge/dragino-d23-lb", 2, "0CE4002A0000 0C FF4C0051",
         {"battery": 3.3, "temperature.1": 4.2, "temperature.2": -18, "temperature.3": 8.1}),
        ("fridge/dragino-d23-lb", 2, "0CE4002AEC08 7C EC0AEC0A", {}),
        ("fridge/dragino-d23-lb", 2, "0CE4002AEC08", {}),
        ("water/dragino-lwl02", 10, "4BCE 02 00000C00000100", {"battery": 3.022, "water": True}),
        ("water/dragino-lwl02", 10, "4BCE 03 00000000000000", {"battery": 3.022, "water": True}),
        ("water/dragino-lwl02", 10, "8BCE 01 00000C00000100", {"battery": 3.022}),
        ("door-contact/dragino-lds02", 10, "8BCE 01 00000C00000100", {"battery": 3.022, "open": True}),
        ("door-contact/dragino-lds02", 10, "4BCE 02 00000C00000100", {"battery": 3.022}),
        ("water/dragino-lwl02", 2, "4C6C0200000300000000", {"battery": 3.18, "water": True}),
        ("door-contact/dragino-lds02", 2, "8C960100000200001200", {"battery": 3.222, "open": True}),
        ("fridge/milesight-em320-th", 85, "83675B0001", {"temperature": 9.1}),
        ("fridge/milesight-ts302", 85, "94675B00280000", {"temperature.2": 9.1}),
    ],
)  # fmt: skip
def test_a_message_of_another_form_or_meaning_gives_what_it_holds(
    model: str, port: int, payload: str, values: dict[str, Value]
) -> None:
    assert read(model, payload, port) == (values, {})


@pytest.mark.parametrize(
    ("port", "currents"),
    [(2, "01F4 03E8 07D0 0DAC"), (18, "01F4 03E8 07D0 0DAC"), (162, "0001F4 0003E8 0007D0 000DAC")],
)
@pytest.mark.parametrize("totals", ["", "02" + "00000001" * 4])
def test_an_overload_is_read_from_every_form_of_a_current_monitors_message(
    port: int, currents: str, totals: str
) -> None:
    values, bad = read("electrical-fire/dragino-cs01-lb", f"0CE4 {currents} 41 {totals}", port)
    assert bad == {}
    assert [values[f"overload.{number}"] for number in (1, 2, 3, 4)] == [True, False, False, True]
    # With a factor, or in another unit, the currents are not what the model says.
    assert values.get("current.4") == (35 if port == 2 else None)


@pytest.mark.parametrize(
    "others",
    [
        "FF0BFF FF0101 FF166538B2232160 0009 FF090310 FF0A0101 FF0F00",  # what the device is
        "8367220101 9367220132 0002 B36700",  # an alarm, a change, a sensor without a value
        "0B7D0102 0682FFFF 0774EB03 08D50100020003000400 10630102 0304",  # of other models
        "FE0358 02 FF3B01 F91001",  # answers to commands
        "848801020304 0506070809 F8A40102030405060708",
    ],
)
def test_records_of_the_whole_family_are_passed_over(others: str) -> None:
    data = bytes.fromhex(others)
    found = list(split_records(data + bytes.fromhex("05007F"), {}))
    if found[-1][1] is None:
        pytest.fail(f"no length of {found[-1][0].hex()}")
    assert found[-1] == (bytes.fromhex("0500"), b"\x7f")
    assert sum(2 + len(value or b"") for _, value in found) == len(data) + 3


@pytest.mark.parametrize(
    "others",
    [
        "0201 03FF00FF 040330 0501 06030A 070E32 080001 09010203040506 0A0001 0B00000001 0C00E2",
        "0D01 0E01F4 0F01 1000E200E2 1101 14000F4240 154324 160001 1700000001 180001 1900E2",
        "1A01 1B00000001 1C0001 3D00000001 13" + "10" * 65,
        "1D05 1E01 1F80 20FFFF 2102 2200D7 2303 2428 3B00 3B0312FF12 3C00112233",
    ],
)
def test_records_without_channel_are_passed_over(others: str) -> None:
    """All types of the maker's decoder: elsys.js in TheThingsNetwork/lorawan-devices, and of newer devices
    in akenza-io/device-type-library."""
    found = list(split_records(bytes.fromhex(others + "1201"), {b"\x12": 1}))
    assert found[-1] == (b"\x12", b"\x01")


@pytest.mark.parametrize(
    "others",
    [
        "00BA0E10 00D364 00FF012C 010001 020000",
        "050203E8 0602FFFF 0771000100020003 080400FF 0A0001 0B6700D2 0C0000 0D040001 0D0001",
        "0E0001 0F040001 1002FF 11020FFF 120400000001 1E0000 1F040001 220400000001 2A0000",
        "0903FFFF 06670102 0BE40001 0EE40001 11D364 0C730001",
    ],
)
def test_records_of_room_sensors_do_not_hide_the_water_after_them(others: str) -> None:
    """All records of Tektelic's room sensors (github.com/TektelicCommunications/data-converters:
    comfort-vivid 2.2, 3.1 and 4.3, breeze); 05 02 is longer in Milesight's payloads."""
    values, bad = read("water/tektelic-home-sensor", others + "0900FF", 10)
    assert bad == {}
    assert values["water"] is True


def test_the_settings_of_a_device_are_no_unknown_record() -> None:
    points: Any = MODELS["thermometer/elsys-ers"].points
    assert unknown_record(points, LorawanUplink(6, bytes.fromhex("3E3907010508"))) == ""
    assert unknown_record(points, LorawanUplink(5, bytes.fromhex("7F01"))) == "7F"


def test_a_record_that_is_cut_short_takes_nothing_from_an_earlier_one() -> None:
    assert read("water/elsys-ems", "01FFF6 1201 0100", 5) == ({"water": True, "temperature": -1}, {})


@pytest.mark.parametrize(
    ("model", "port", "payload"),
    [
        ("water/elsys-ems", 5, "017FFF 02FF 07FFFF"),
        ("thermometer/elsys-ers", 5, "018000 02FF 06FFFF 07FFFF"),
        ("thermometer/netvox-r718a", 6, "010B01 00 7FFF FFFF 000000"),
        ("water/tektelic-home-sensor", 10, "00FFFFFF 03677FFF 0468FF"),
        ("water/milesight-em500-udl", 85, "0382FFFF"),
        ("parking-bay/milesight-em310-udl", 85, "0382FDFF"),
        ("parking-bay/milesight-em400-tld", 85, "0482FFFF"),
        ("air-quality/milesight-am103", 85, "077DFFFF"),
    ],
)
def test_what_stands_for_no_value_is_none(model: str, port: int, payload: str) -> None:
    values, bad = read(model, payload, port)
    assert bad
    assert values.keys() - bad.keys() <= {"battery", "low_battery"}
    assert all(values.get(name) in (None, 0, False) for name in ("battery", "low_battery"))


def test_there_are_enough_models() -> None:
    assert len(MODELS) >= 10


@pytest.mark.parametrize(
    ("message_type", "said"),
    [
        (1, {"smoke": True}),
        (2, {"smoke": True}),
        (4, {"low_battery": True}),
        (5, {"fault": True}),
        (7, {"smoke": False, "fault": False, "low_battery": False}),
        (10, {"tamper": True}),
        (11, {"tamper": False}),
        (14, {"test": True, "low_battery": False}),
        (15, {"test": True, "low_battery": True}),
        (3, {}),
    ],
)
def test_a_smoke_detector_says_only_what_its_message_is_about(
    message_type: int, said: dict[str, Value]
) -> None:
    """That the battery is low must not end a smoke alarm."""
    body = bytes((0x22, 0x10 | message_type, 100, 0, 28))
    values, bad = read("smoke/milesight-gs524n", (body + bytes((-sum(body) % 256,))).hex())
    assert bad == {}
    told = {name: values[name] for name in ("smoke", "fault", "low_battery", "tamper") if name in values}
    assert told | {"test": values["test"]} == {"test": False} | said


def test_the_smoke_detectors_examples_have_true_checksums() -> None:
    for each in MODELS["smoke/milesight-gs524n"].examples:
        assert sum(bytes.fromhex(each["raw"]["hex"])) % 256 == 0


@pytest.mark.parametrize("cut", range(len("01755C03824408040001") // 2))
def test_a_message_cut_short_gives_what_it_holds_whole(cut: int) -> None:
    whole = bytes.fromhex("01755C03824408040001")
    values, bad = read("parking-bay/milesight-em310-udl", whole[:cut].hex())
    known = {name for name, end in (("battery", 3), ("distance", 7), ("occupied", 7)) if cut >= end}
    assert set(values) == known
    assert bad == {}


def test_other_records_are_passed_over_and_unknown_ones_end_the_reading() -> None:
    water = "water/milesight-em300-zld"
    known = "FF0101 FF166108123456780000 FF0F00 FF0A0110"
    assert read(water, f"{known} 050001") == ({"water": True}, {})
    assert read(water, "017564 EE0102 050001") == ({"battery": 100}, {})
    # A counter says that something stands before its lens, and what it has counted.
    counter = "door-counter/milesight-vs133"
    assert read(counter, "50FC000001 03D248000000 04D2C8000000") == ({"in": 72, "out": 200}, {})
    # The bytes of a leak inside another record are no leak.
    assert read(water, "FF08 050001050001 017564") == ({"battery": 100}, {})


def test_numbers_stand_in_either_order_under_a_mask_and_with_a_sign() -> None:
    raw = LorawanUplink(10, bytes.fromhex("CB88FFFE"))
    points = {
        "big": LoraPoint(type="uint16", order="big", mask=0x3FFF),
        "little": LoraPoint(type="uint16"),
        "signed": LoraPoint(type="int16", order="big", byte=2),
        "wide": LoraPoint(type="uint24", byte=1),
        "beyond": LoraPoint(type="uint16", byte=3),
        "elsewhere": LoraPoint(ports=(1, 2)),
        "longer": LoraPoint(length=5),
        "said": LoraPoint(byte=3, among=(0xFE,)),
        "unsaid": LoraPoint(byte=3, among=(1, 2)),
    }
    assert decode(points, raw) == {
        "big": 0x0B88, "little": 0x88CB, "signed": -2, "wide": 0xFEFF88, "said": 0xFE,
    }  # fmt: skip


def test_a_value_may_be_elsewhere_in_a_longer_payload_and_depend_on_a_byte() -> None:
    points = {"x": LoraPoint(length=(2, 4), byte=1, byte_at={"4": 3}), "y": LoraPoint(length=(2, 4))}
    assert decode(points, LorawanUplink(1, bytes.fromhex("0102"))) == {"x": 2, "y": 1}
    assert decode(points, LorawanUplink(1, bytes.fromhex("01020304"))) == {"x": 4, "y": 1}
    assert decode(points, LorawanUplink(1, bytes.fromhex("010203"))) == {}


def test_a_record_of_a_new_kind_needs_only_its_length() -> None:
    points = {"a": LoraPoint(channel="EE 01", length=3), "b": LoraPoint(channel="EE 02")}
    assert decode(points, LorawanUplink(85, bytes.fromhex("EE01070000 EE0205"))) == {"a": 7, "b": 5}


def test_a_record_may_be_shorter_than_its_type_has_elsewhere() -> None:
    points = {
        "current": LoraPoint(channel="07 C9", length=2, type="uint16"),
        "on": LoraPoint(channel="08 70"),
    }
    assert decode(points, LorawanUplink(85, bytes.fromhex("07C94A00 087001"))) == {"current": 74, "on": 1}


pieces = st.sampled_from(["0175", "0382", "05CC", "03D2", "FF16", "20CE", "00"]).map(bytes.fromhex)


@given(
    st.integers(0, 255),
    st.binary(max_size=60) | st.lists(pieces, max_size=30).map(b"".join),
    st.booleans(),
)
def test_decoding_never_raises(port: int, data: bytes, over: bool) -> None:
    uplink = LorawanUplink(port, data)
    raw = PressEnd(uplink) if over else uplink
    for profile in MODELS.values():
        values, _ = convert_values(profile.points, profile.driver.decode(profile.points, raw))
        assert set(values) <= set(profile.points)
    assert data.hex(" ").upper() in format_raw(raw)


@pytest.mark.parametrize("fields", [{}, {"hex": "0"}, {"hex": "xy"}, {"hex": 4}])
def test_an_example_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse_example(fields)


SITE = f"""
schema = "linli/site/1"

[site]
id = "here"
title = "Here"

[bus.lora]
driver = "lorawan"
url = "mqtt://127.0.0.1:1883"

[bus.plain]
driver = "mqtt_json"
url = "mqtt://127.0.0.1:1883"

[device.cellar]
profile = "water/milesight-em300-zld"
bus = "lora"
dev_eui = "{EUI.upper()}"
every = 3600
"""


TWIN = f"""
[device.twin]
profile = "water/milesight-ws303"
bus = "lora"
dev_eui = "{EUI}"
"""


def test_a_site_names_its_sensors_by_their_labels(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(SITE)
    site = load_site(file)
    assert site.devices["cellar"].address == Address(dev_eui=EUI)
    assert site.buses["lora"].options.application == "+"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (EUI.upper(), "24E124713C48012", "lorawan-eui"),
        (EUI.upper(), "24E124713C48012+", "lorawan-eui"),
        ('driver = "lorawan"', 'driver = "lorawan"\napplication = "a/#"', "lorawan-application"),
        ('driver = "lorawan"', 'driver = "lorawan"\ntopic = "a#"', "lorawan-topic"),
        ('driver = "lorawan"', 'driver = "lorawan"\ntopic = "a/#/b"', "lorawan-topic"),
        ("mqtt://127.0.0.1:1883", "http://127.0.0.1", "mqtt-url"),
        ("every = 3600\n", TWIN, "address-twice"),
    ],
)
def test_a_mistake_in_a_site_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    file = tmp_path / "site.toml"
    assert old in SITE
    file.write_text(SITE.replace(old, new))
    with pytest.raises(Mistakes) as wrong:
        load_site(file)
    assert key in [mistake.key for mistake in wrong.value.mistakes]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"05 00"', '"05 00 01"', "lorawan-channel"),
        ('"05 00"', '["05 00", "05"]', "lorawan-channel"),
        ('"05 00"', '"0x 00"', "lorawan-channel"),
        ('"05 00"', '["05 00", ""]', "lorawan-channel"),
        ('"05 00"', '"05 00"\nbyte = -1', "lorawan-byte"),
        ('"05 00"', '"05 00"\nbyte_at = { longer = 4 }', "lorawan-alternative"),
        ('"05 00"', '"05 00"\nlength = [1, 2]', "lorawan-record-length"),
        ('"05 00"', '"05 00"\nwhen = { byte = 1, equal = [2] }', "key-unknown-within"),
        ('"05 00"', '"05 00"\ntype = "word"', "value-choice"),
    ],
)
def test_a_mistake_in_a_model_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    text = (PROFILES / "water" / "milesight-em300-zld.toml").read_text("utf-8")
    assert old in text
    file = tmp_path / "wrong.toml"
    file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(Mistakes) as wrong:
        load_profile(file)
    assert [mistake.key for mistake in wrong.value.mistakes] == [key]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"FF 61 2C 01"', '"FF 6"', "lorawan-hex"),
        ('"FF 61 2C 01"', '""', "lorawan-hex"),
        ('"FF 61 2C 01"', f'"{"00" * 243}"', "lorawan-hex"),
        ('"FF 61 2C 01"', '"FF 61 2C 01"\nport = 224', "lorawan-port"),
        ("valve = false", "valves = false", "point-unknown"),
        ('"FF 61 2C 01"', '"FF 61 2C 01"\nconfirm_within = -1.0', "confirm-range"),
    ],
)
def test_a_mistake_in_an_action_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    text = (PROFILES / "gas" / "milesight-gs101.toml").read_text("utf-8")
    assert old in text
    file = tmp_path / "wrong.toml"
    file.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(Mistakes) as wrong:
        load_profile(file)
    assert [mistake.key for mistake in wrong.value.mistakes] == [key]


def uplink(payload: str | bytes, eui: str = EUI, **fields: Any) -> bytes:
    """What ChirpStack publishes of a message, in full."""
    number = next(COUNT)
    data = payload if isinstance(payload, bytes) else base64.b64encode(bytes.fromhex(payload))
    return json.dumps(
        {
            "deduplicationId": f"3ac7e3c4-4401-4b8d-9386-{number:012}",
            "time": "2026-06-01T08:00:00.000000+00:00",
            "deviceInfo": {"tenantName": "ChirpStack", "applicationId": "a1", "devEui": eui, "tags": {}},
            "devAddr": "00189440",
            "adr": True,
            "dr": 1,
            "fCnt": number,
            "fPort": 85,
            "confirmed": True,
            "data": data.decode(),
            "object": {"battery": 1},
            "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -36, "snr": 10.5}],
            "txInfo": {"frequency": 868100000},
        }
        | fields
    ).encode()


async def publish(broker: Broker, message: bytes, *flags: str, eui: str = EUI, event: str = "up") -> None:
    """With mosquitto's own client, as if it were ChirpStack."""
    topic = f"application/a1/device/{eui}/event/{event}"
    process = await asyncio.create_subprocess_exec(
        "mosquitto_pub", "-p", str(broker.port), "-t", topic, "-q", "1", "-s", *flags, stdin=subprocess.PIPE
    )
    await process.communicate(message)
    assert process.returncode == 0


def sensor(model: str, name: str = "sensor", eui: str = EUI, every: float = 3600.0) -> Device:
    profile = MODELS[model]
    return Device(
        name=name, title={}, kind=profile.kind, profile=model, bus="lora",
        address=Address(dev_eui=eui), points=profile.points, every=every,
        actions=profile.actions,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def heard(broker: Broker, *devices: Device, application: str = "+") -> AsyncIterator[list[Any]]:
    """What is heard from now on."""
    async with heard_from_the_start(broker, *devices, application=application) as said:
        await subscribed(broker, said)
        yield said


@contextlib.asynccontextmanager
async def heard_from_the_start(
    broker: Broker, *devices: Device, application: str = "+"
) -> AsyncIterator[list[Any]]:
    said: list[Any] = []

    async def hear() -> None:
        async with connect(Options(url=broker.url, application=application), devices) as listener:
            async for name, raw in listener.listen():
                said.append((name, raw))

    task = asyncio.create_task(hear())
    try:
        yield said
    finally:
        task.cancel()
        await asyncio.wait([task])


async def subscribed(broker: Broker, said: list[Any]) -> None:
    """What is published before the subscription stands is lost: try until something arrives. Then all that
    was tried has arrived once something else does."""
    async with asyncio.timeout(10):
        while not said:
            await publish(broker, b"{")
            await asyncio.sleep(0.05)
    await publish(broker, b"{}")
    await eventually(lambda: not isinstance(said[-1][1].facts["reason"], ReadFailed))
    said.clear()


async def eventually(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)


LAST = "01 75 01"
END = ("sensor", LorawanUplink(85, bytes.fromhex(LAST)))
WATER = "water/milesight-em300-zld"


async def test_an_uplink_is_heard_once_however_often_it_comes(broker: Broker) -> None:
    async with heard(broker, sensor(WATER)) as said:
        wet, dry = uplink("050001"), uplink("050000")
        for message in (wet, wet, dry, wet):
            await publish(broker, message)
        # The same frame, received once more: another id, but the same count.
        await publish(broker, uplink("050000", fCnt=json.loads(dry)["fCnt"]))
        # A device that has joined anew counts from nought again.
        await publish(broker, uplink("050001", fCnt=json.loads(dry)["fCnt"], devAddr="01020304"))
        await publish(broker, uplink(LAST))
        await eventually(lambda: END in said)
    assert [raw.data.hex() for _, raw in said[:-1]] == ["050001", "050000", "050001"]


async def test_a_counter_that_starts_again_costs_no_message(broker: Broker) -> None:
    """An ABP device without power: TheThingsNetwork/lorawan-stack 4502, chirpstack-network-server 133."""
    async with heard(broker, sensor(WATER)) as said:
        for number, payload in ((1, "050000"), (2, "050000"), (0, "050001"), (1, "050001"), (2, "050001")):
            await publish(broker, uplink(payload, fCnt=number))
        await publish(broker, uplink(LAST))
        await eventually(lambda: END in said)
    assert [raw.data.hex() for _, raw in said[:-1]] == ["050000"] * 2 + ["050001"] * 3


class Network:
    """Uplinks of a device, as a network server with its own times sends them, and whether each is new."""

    def __init__(self) -> None:
        self.now = 0.0
        self.recent = RecentMessages(lambda: self.now)

    def is_new(self, payload: str = "05CC02000100", **fields: Any) -> bool:
        at = datetime.fromtimestamp(1.8e9 + self.now, UTC).isoformat()
        message = parse_uplink(uplink(payload, **{"time": at, "fCnt": 7} | fields))
        return message is not None and not self.recent.has(message)


def test_the_same_event_is_a_repetition_however_late_it_is() -> None:
    network = Network()
    first = {"deduplicationId": "a", "time": "2026-06-01T08:00:00.123456789Z"}
    assert network.is_new(**first)
    network.now += 7200
    assert not network.is_new(**first)
    # A server whose ids do not change.
    assert network.is_new(deduplicationId="a")


@pytest.mark.parametrize("fields", [{}, {"time": None}, {"time": 7}, {"time": "x"},
                                    {"time": "2026-06-01T08:00:00"}])  # fmt: skip
def test_a_frame_that_is_sent_again_soon_counts_once(fields: dict[str, Any]) -> None:
    network = Network()
    assert network.is_new()
    for _ in range(15):
        network.now += 5
        assert not network.is_new(**fields)
    network.now += 600
    assert network.is_new(**fields), "a device whose counter does not change, or started again"


def test_what_differs_is_never_a_repetition() -> None:
    network = Network()
    assert network.is_new()
    assert network.is_new("05CC03000100")
    assert network.is_new(fCnt=8)
    assert network.is_new(fCnt=65535)
    assert network.is_new(fCnt=0)
    assert network.is_new(devAddr="01aa0002")
    assert network.is_new(fPort=86)
    # Without an address nothing says that two events are one.
    assert network.is_new(devAddr="")
    assert network.is_new(devAddr="")
    assert network.is_new(devAddr="", deduplicationId="")
    assert network.is_new(devAddr="", deduplicationId="")


def test_messages_that_waited_for_the_connection_are_as_old_as_they_say() -> None:
    network = Network()
    for minute in range(10):
        assert network.is_new(time=f"2026-06-01T08:{10 + 5 * minute}:00Z")


async def test_a_retained_message_is_no_reading(broker: Broker) -> None:
    await publish(broker, uplink("050001"), "-r")
    options = Options(url=broker.url)
    async with connect(options, (sensor(WATER),)) as listener, connect_mqtt(options) as sender:
        topic = f"application/a1/device/{EUI}/event/up"
        async with asyncio.timeout(10):
            while True:  # until the subscription stands
                with contextlib.suppress(ReadFailed):
                    await sender.publish_command(topic, uplink(LAST))
                    break
            assert await anext(aiter(listener.listen())) == END


async def test_what_is_no_present_reading_is_a_sign_of_life_and_no_value(broker: Broker) -> None:
    await publish(broker, uplink("050001"), "-r")
    async with heard(broker, sensor(WATER)) as said:
        await publish(broker, uplink("050001", eui="24e124713c489999"), eui="24e124713c489999")
        await publish(broker, uplink("050001"), event="join")
        await publish(broker, uplink("", fPort=0))
        await publish(broker, uplink("", data=None))
        await publish(broker, uplink("20CE9E74466310015D01"))
        await publish(broker, uplink(LAST))
        await eventually(lambda: END in said)
    points = MODELS[WATER].points
    assert [decode(points, raw) for _, raw in said[:-1]] == [{}, {}, {}]


async def test_what_is_wrong_is_said_of_the_device_it_came_from(broker: Broker) -> None:
    wrong = [
        b" ", b"{", b"\xff", b"[]", b"{}", b"[" * 2000, b'{"deviceInfo": null}', uplink(b"!!!"),
        uplink(b"AQ"), uplink("050001", data=7), uplink("050001", fPort="x"),
        uplink("050001", eui="24e124713c489999"),
    ]  # fmt: skip
    async with heard(broker, sensor(WATER)) as said:
        for message in wrong:
            await publish(broker, message)
        await publish(broker, uplink(LAST))
        await eventually(lambda: END in said)
    assert [raw.key for _, raw in said[:-1] if isinstance(raw, ReadFailed)] == ["not-uplink"] * len(wrong)


async def publish_at(broker: Broker, topic: str, message: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        "mosquitto_pub", "-p", str(broker.port), "-t", topic, "-q", "1", "-s", stdin=subprocess.PIPE
    )
    await process.communicate(message)
    assert process.returncode == 0


CHIRPSTACK_3 = (
    b'{"applicationID":"2","applicationName":"newapp","deviceName":"ldds75","devEUI":"qEBBTWGC4Ig=",'
    b'"rxInfo":[{"gatewayID":"dP5I//5MnTc=","time":"2021-08-15T12:06:41.391514Z","timeSinceGPSEpoch":null,'
    b'"rssi":-56,"loRaSNR":9.5,"uplinkID":"ZRepk5N3QNWwfHYQQeBenQ=="}],"txInfo":{"frequency":867100000},'
    b'"adr":true,"dr":0,"fCnt":33,"fPort":2,"data":"DQgA+QA=",'
    b'"objectJSON":"{\\"Bat\\":3.336,\\"Distance\\":249}","tags":{},"confirmedUplink":false,'
    b'"devAddr":"AFOWqg==","publishedAt":"2021-08-15T12:06:41.521032244Z"}'
)
CHIRPSTACK_3_JSON_V3 = (
    b'{"applicationID":"123","applicationName":"temperature-sensor","deviceName":"garden-sensor",'
    b'"devEUI":"0202020202020202","rxInfo":[{"gatewayID":"0303030303030303",'
    b'"time":"2016-11-25T16:24:37.295915988Z","rssi":-57,"loRaSNR":10}],'
    b'"txInfo":{"frequency":868100000,"dr":5},"adr":false,"fCnt":10,"fPort":5,"data":"AXVc"}'
)
MILESIGHT_GATEWAY = (
    b'{"applicationID":1,"applicationName":"server1","devEUI":"24e124527f418093","deviceID":22,'
    b'"deviceName":"WT102","fCnt":84,"fPort":85,"gatewaySN":"6438F39254820003",'
    b'"gatewayTime":"2026-03-23T15:45:04+08:00","data":"DgPrCgDQBzxk",'
    b'"rxInfo":[{"altitude":0,"loRaSNR":12.2,"mac":"c0ba1ffffe00733d","rssi":-57,'
    b'"time":"2026-03-23T07:45:04.526398Z"}],"time":"2026-03-23T07:45:04.526398Z",'
    b'"txInfo":{"adr":true,"frequency":868100000}}'
)
THINGS_STACK_DEVICE = (
    b'"end_device_ids":{"device_id":"door","application_ids":{"application_id":"piegn"},'
    b'"dev_eui":"A8404146C184579B","join_eui":"A840410000000100","dev_addr":"260BA38C"},'
    b'"correlation_ids":["as:up:01GBMCXVYBMZZFHZHFGKDCKSQ3"],"received_at":"2022-08-29T08:54:12.171174729Z"'
)
THINGS_STACK = (
    b"{" + THINGS_STACK_DEVICE + b',"uplink_message":{"session_key_id":"AYJyW27X6QEJiBQt2m4Ifg==",'
    b'"f_port":5,"f_cnt":1702,"frm_payload":"CQEAAQAL7g==","decoded_payload":{"Bat_mV":3054},'
    b'"rx_metadata":[{"gateway_ids":{"gateway_id":"piegn-1"},"rssi":-99,"snr":11}],'
    b'"settings":{"frequency":"868100000"},"received_at":"2022-08-29T08:54:11.965Z"}}'
)
THINGS_STACK_FIRST = (
    b"{" + THINGS_STACK_DEVICE + b',"uplink_message":{"session_key_id":"AYJyW27X6QEJiBQt2m4Ifg=="}}'
)
THINGS_STACK_JOIN = b"{" + THINGS_STACK_DEVICE + b',"join_accept":{"session_key_id":"AXf4hQ=="}}'
LORIOT = (
    b'{"cmd":"rx","seqno":1854,"EUI":"BE7A0000000014E2","ts":1470850675433,"fcnt":1,"port":2,'
    b'"freq":867500000,"rssi":-21,"snr":10,"toa":61,"dr":"SF7 BW125 4/5","ack":false,"bat":255,'
    b'"data":"01755c"}'
)
THINGPARK = (
    b'{"DevEUI_uplink":{"Time":"2023-02-21T14:03:11.361+01:00","DevEUI":"70B3D5E75E0141F4","FPort":85,'
    b'"FCntUp":7011,"MType":2,"payload_hex":"01755c","DevAddr":"0E021E93",'
    b'"CustomerData":{"name":"Cellar"}}}'
)
MULTITECH = (
    b'{"chan":0,"cls":0,"codr":"4/5","data":"AXVc","datr":"SF10BW125","freq":"902.3","lsnr":"7",'
    b'"mhdr":"4000000000800a00","modu":"LORA","opts":"","port":1,"rssi":-40,"seqn":10,"fcnt":10,"size":3,'
    b'"timestamp":"2018-10-26T14:05:52Z","time":"2018-10-26T14:05:52Z","tmst":3219211908,'
    b'"deveui":"00-80-00-00-04-00-12-34"}'
)
WANESY = (
    b'{"fCntUp":0,"fCntDown":0,"adr":true,"gwCnt":1,"endDevice":{"devEui":"0000000000006D31",'
    b'"devAddr":"020DC496","cluster":{"id":359}},"payload":"01755c","ulFrequency":867.5,'
    b'"recvTime":1580303319712,"modulation":"LORA","id":"5e3183d822697b0001e62549","confirmed":true,'
    b'"encrypted":false,"encodingType":"HEXA","fPort":3,"dataRate":"SF9BW125"}'
)
THINGS_NETWORK_2 = (
    b'{"app_id":"my-app-id","dev_id":"my-dev-id","hardware_serial":"0102030405060708","port":1,"counter":2,'
    b'"payload_raw":"AXVc","payload_fields":{},"metadata":{"time":"1970-01-01T00:00:00Z"}}'
)
EVERYNET = (
    b'{"meta":{"network":"75697b95","packet_hash":"889a72ab34a647f504ef37d598589431",'
    b'"application":"70b3d54b17db0106","device_addr":"36c365b4","time":1504806725.252493,'
    b'"device":"faa73111a2aead2c","packet_id":"bfa4be139911fe8ff80bc0afbf110fa3",'
    b'"gateway":"7c95bd79864622a4"},"params":{"rx_time":1504806725.245682,"port":55,"counter_up":118,'
    b'"payload":"AXVc","encrypted_payload":"ehMc"},"type":"uplink"}'
)


@pytest.mark.parametrize(
    ("topic", "at", "message", "eui", "port", "data"),
    [
        ("", "application/2/device/a840414d6182e088/event/up", CHIRPSTACK_3,
         "a840414d6182e088", 2, "0d0800f900"),
        ("", "application/123/device/0202020202020202/event/up", CHIRPSTACK_3_JSON_V3,
         "0202020202020202", 5, "01755c"),
        ("application/+/device/+/rx", "application/123/device/0202020202020202/rx", CHIRPSTACK_3_JSON_V3,
         "0202020202020202", 5, "01755c"),
        ("milesight/up", "milesight/up", MILESIGHT_GATEWAY, "24e124527f418093", 85, "0e03eb0a00d0073c64"),
        ("v3/+/devices/+/up", "v3/piegn@ttn/devices/door/up", THINGS_STACK,
         "a8404146c184579b", 5, "09010001000bee"),
        ("v3/piegn@ttn/devices/#", "v3/piegn@ttn/devices/door/up", THINGS_STACK_FIRST,
         "a8404146c184579b", 0, ""),
        ("v3/piegn@ttn/devices/#", "v3/piegn@ttn/devices/door/join", THINGS_STACK_JOIN,
         "a8404146c184579b", 0, ""),
        ("loriot/#", "loriot/app", LORIOT, "be7a0000000014e2", 2, "01755c"),
        ("thingpark/uplink", "thingpark/uplink", THINGPARK, "70b3d5e75e0141f4", 85, "01755c"),
        ("lora/+/up", "lora/00-80-00-00-04-00-12-34/up", MULTITECH, "0080000004001234", 1, "01755c"),
        ("wanesy/up", "wanesy/up", WANESY, "0000000000006d31", 3, "01755c"),
        ("+/devices/+/up", "my-app-id/devices/my-dev-id/up", THINGS_NETWORK_2,
         "0102030405060708", 1, "01755c"),
        ("everynet/uplink", "everynet/uplink", EVERYNET, "faa73111a2aead2c", 55, "01755c"),
    ],
)  # fmt: skip
async def test_every_network_server_is_heard(
    broker: Broker, topic: str, at: str, message: bytes, eui: str, port: int, data: str
) -> None:
    """Messages of public programs and manuals: github.com/diwise, chirpstack.io, milesight.com,
    thethingsindustries.com, docs.loriot.io, docs.thingpark.com, multitech.net, github.com/icra/wanesy-read,
    thethingsnetwork.org."""
    said: list[Any] = []
    options = Options(url=broker.url, topic=topic)

    async def hear() -> None:
        async with connect(options, (sensor(WATER, eui=eui),)) as listener:
            async for name, raw in listener.listen():
                said.append((name, raw))

    task = asyncio.create_task(hear())
    async with asyncio.timeout(20):
        while not said:  # What is published before the subscription stands is lost.
            await publish_at(broker, at, message)
        await publish_at(broker, at, message)
        sentinel = f"application/a1/device/{eui}/event/up" if not topic else at
        await publish_at(broker, sentinel, uplink(LAST, eui=eui))
        await eventually(lambda: said[-1] == END)
    task.cancel()
    await asyncio.wait([task])
    once = [("sensor", LorawanUplink(port, bytes.fromhex(data)))]
    assert said[:-1] == once, "the same message again is no news"


@pytest.mark.parametrize("other", [
    b'{"end_device_ids":{"dev_eui":"%s"},"downlink_queued":{"f_port":1}}',
    b'{"end_device_ids":{"dev_eui":"%s"},"location_solved":{"service":"x"}}',
    b'{"cmd":"txd","EUI":"%s","seqdn":1}',
    b'{"endDevice":{"devEui":"%s"},"status":"SENT"}',
])  # fmt: skip
def test_what_a_server_says_of_itself_is_no_sign_of_life(other: bytes) -> None:
    assert parse_uplink(other % EUI.encode()) is None


@pytest.mark.parametrize("message", [
    b"{}", b"7", b"on", b"[]", b'{"devEUI":"AgICAgI=","data":"AQ=="}', b'{"devEUI":"","data":"AQ=="}',
    b'{"EUI":"0202020202020202","data":"xyz"}', b'{"devEUI":"0202020202020202","fCnt":-2}',
    b'{"devEUI":"0202020202020202","fCnt":1e99}',
    b'{"devEUI":"0202020202020202","fCnt":"%s"}' % (b"0" * 5000),
    b'{"devEUI":"0202020202020202","fPort":"%s"}' % (b"0" * 11 + b"9" * 400),
    '{"devEUI":"0202020202020202","fCnt":"٣"}'.encode(),
    b'{"devEUI":"0202020202020202","fCnt":4294967296}',
    b'{"devEUI":"0202020202020202","data":"%s"}' % (b"AAAA" * 90),
])  # fmt: skip
def test_what_is_no_uplink_is_refused(message: bytes) -> None:
    with pytest.raises(ReadFailed) as failed:
        parse_uplink(message)
    assert failed.value.key == "not-uplink"


KEYS = ["devEUI", "data", "EUI", "fCnt", "fPort", "end_device_ids", "dev_eui", "rxInfo", "deviceInfo"]


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.builds(str.__mul__, st.sampled_from("09 -"), st.sampled_from([1, 10, 11, 5000])),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner) | st.lists(inner, max_size=2),
))  # fmt: skip
def test_a_foreign_message_is_read_or_refused(message: Any) -> None:
    with contextlib.suppress(ReadFailed):
        found = parse_uplink(json.dumps(message).encode())
        assert found is None or len(bytes.fromhex(found.dev_eui)) == 8


async def test_a_topic_with_foreign_messages_is_told_once(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[Any] = []

    async def hear() -> None:
        async with connect(Options(url=broker.url, topic="lora/#"), (sensor(WATER),)) as listener:
            async for name, raw in listener.listen():
                said.append((name, raw))

    task = asyncio.create_task(hear())
    async with asyncio.timeout(20):
        while END not in said:  # What is published before the subscription stands is lost.
            await publish_at(broker, "lora/up", uplink(LAST))
        heard_before = len(said)
        for _ in range(2):
            await publish_at(broker, "lora/state", b"online")
        await publish_at(broker, "lora/up", uplink("050001", eui="24e124713c489999"))
        await publish_at(broker, "lora/up", uplink(LAST))
        await eventually(lambda: len(said) > heard_before)
    task.cancel()
    await asyncio.wait([task])
    assert set(said) == {END}
    assert caplog.text.count("lorawan-foreign") == 1


async def test_a_topic_of_one_device_carries_no_message_of_another(broker: Broker) -> None:
    said: list[Any] = []
    devices = sensor(WATER), sensor(WATER, "other", "24e124713c489999")

    async def hear() -> None:
        async with connect(Options(url=broker.url, topic="lora/#"), devices) as listener:
            async for name, raw in listener.listen():
                said.append((name, raw))

    task = asyncio.create_task(hear())
    async with asyncio.timeout(20):
        while not said:  # What is published before the subscription stands is lost.
            await publish_at(broker, f"lora/{EUI.upper()}/up", uplink(LAST))
        before = len(said)
        await publish_at(broker, "lora/eui-24e124713c489999/up", uplink("050001"))
        await publish_at(broker, "lora/24e124ffff000000/up", uplink(LAST))
        await eventually(lambda: len(said) > before)
    task.cancel()
    await asyncio.wait([task])
    assert set(said) == {END}


async def test_nothing_is_sent_where_only_uplinks_are_known(broker: Broker) -> None:
    device = sensor("gas/milesight-gs101")
    async with connect(Options(url=broker.url, topic="lora/#"), (device,)) as listener:
        with pytest.raises(ReadFailed) as failed:
            await listener.write(device, next(iter(device.actions)), {})
    assert failed.value.key == "lorawan-no-downlink"


async def test_a_retained_uplink_is_no_reading(broker: Broker) -> None:
    await publish(broker, uplink("050001"), "-r")
    async with heard_from_the_start(broker, sensor(WATER)) as said, asyncio.timeout(10):
        while not said:  # What is retained comes first, as soon as the subscription stands.
            await publish(broker, uplink(LAST))
            await asyncio.sleep(0.05)
    assert set(said) == {END}


async def test_only_the_named_application_is_heard(broker: Broker) -> None:
    async with heard(broker, sensor(WATER), application="a1") as said:
        process = await asyncio.create_subprocess_exec(
            "mosquitto_pub", "-p", str(broker.port), "-t", f"application/b2/device/{EUI}/event/up",
            "-q", "1", "-m", uplink("050001").decode(),
        )  # fmt: skip
        assert await process.wait() == 0
        await publish(broker, uplink(LAST))
        await eventually(lambda: said)
    assert said == [END]


@contextlib.asynccontextmanager
async def supervised(broker: Broker, *devices: Device) -> AsyncIterator[list[Sample]]:
    samples: list[Sample] = []

    async def sink(sample: Sample) -> None:
        samples.append(sample)

    spec = BusSpec("lora", DRIVER, Options(url=broker.url))
    bus = Line(spec, devices, SystemClock(), sink)
    task = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(10):
            while not bus.counters.polls:
                await publish(broker, b"{")
                await asyncio.sleep(0.05)
        yield samples
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_samples_hold_what_the_message_said_and_nothing_counts_as_bad(broker: Broker) -> None:
    bay, eui = sensor("parking-bay/bosch-tpl110", "bay", "000d6f0000000001"), "000d6f0000000001"
    async with supervised(broker, sensor(WATER), bay) as samples:
        await publish(broker, uplink("01755C 03673401 046865 050000"))
        await publish(broker, uplink("050001"))
        await publish(broker, uplink("00" * 16 + "01", eui=eui, fPort=3), eui=eui)
        await publish(broker, uplink("01F6", eui=eui, fPort=2), eui=eui)
        await publish(broker, uplink("00", eui=eui, fPort=1), eui=eui)
        await publish(broker, uplink("03670F27"))
        await publish(broker, uplink("0175C8 050000"))
        await eventually(lambda: len(samples) == 6)
    assert [(each.device, each.values, each.bad, each.error) for each in samples] == [
        ("sensor", {"battery": 92, "temperature": 30.8, "humidity": 50.5, "water": False}, {}, ""),
        ("sensor", {"water": True}, {}, ""),
        ("bay", {"occupied": True, "temperature": -10}, {}, ""),
        ("bay", {"occupied": False}, {}, ""),
        ("sensor", {}, {"temperature": "out-of-range"}, ""),
        ("sensor", {"water": False}, {"battery": "out-of-range"}, ""),
    ]


async def test_a_press_is_over_as_soon_as_it_is_told(broker: Broker) -> None:
    """So that the next one, after somebody has acknowledged it, is an alarm again."""
    async with supervised(broker, sensor("sos/milesight-ws101")) as samples:
        await publish(broker, uplink("017510 FF2E01"))
        await publish(broker, uplink("017510"))
        await publish(broker, uplink("FF2E03"))
        await eventually(lambda: len(samples) == 5)
    assert [each.values for each in samples] == [
        {"battery": 16, "sos": True}, {"sos": False}, {"battery": 16}, {"sos": True}, {"sos": False},
    ]  # fmt: skip


async def test_a_sensor_that_falls_silent_is_offline_until_it_speaks(broker: Broker) -> None:
    async with supervised(broker, sensor(WATER, every=0.3)) as samples:
        await eventually(lambda: samples)
        assert samples[-1].error == "silent"
        await publish(broker, uplink("050000"))
        await eventually(lambda: {"water": False} in [each.values for each in samples])


class ChirpStack:
    """The network server's side of a downlink, played with mosquitto's own clients."""

    def __init__(self, broker: Broker, output: asyncio.StreamReader) -> None:
        self._broker = broker
        self._output = output

    async def downlink(self) -> tuple[str, dict[str, Any]]:
        """The next command that arrives: its topic, and what it says."""
        async with asyncio.timeout(10):
            topic, _, payload = (await self._output.readline()).decode().partition(" ")
        return topic, json.loads(payload)

    async def say(self, event: str, **fields: Any) -> None:
        body = {"deviceInfo": {"applicationId": "a1", "devEui": EUI}, **fields}
        await publish(self._broker, json.dumps(body).encode(), event=event)


@contextlib.asynccontextmanager
async def chirpstack(broker: Broker) -> AsyncIterator[ChirpStack]:
    async with hearing(broker, "application/+/device/+/command/down") as output:
        yield ChirpStack(broker, output)


@contextlib.asynccontextmanager
async def commanded(broker: Broker, device: Device) -> AsyncIterator[tuple[Line, list[Sample]]]:
    """A supervised bus whose device has spoken once."""
    samples: list[Sample] = []

    async def sink(sample: Sample) -> None:
        samples.append(sample)

    bus = Line(BusSpec("lora", DRIVER, Options(url=broker.url)), (device,), SystemClock(), sink)
    task = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(10):
            while not samples:
                await publish(broker, uplink("017564 058E00 060101"))
                await asyncio.sleep(0.05)
        yield bus, samples
    finally:
        task.cancel()
        await asyncio.wait([task])


def command(action: str, seconds: float = 10) -> Command:
    at = SystemClock().now()
    expires = at.wall_ms + int(seconds * 1000)
    return Command(id="1", at=at, device="sensor", action=action, expires=expires, origin="console")


GAS = "gas/milesight-gs101"


async def test_a_confirmed_downlink_is_done_when_the_device_acknowledges(broker: Broker) -> None:
    async with chirpstack(broker) as server, commanded(broker, sensor(GAS, every=600)) as (bus, samples):
        muting = asyncio.create_task(bus.execute(command("mute-detector")))
        topic, said = await server.downlink()
        key, expires = said.pop("id"), datetime.fromisoformat(said.pop("expiresAt"))
        assert topic == f"application/a1/device/{EUI}/command/down"
        assert said == {"devEui": EUI, "confirmed": True, "fPort": 85, "data": "/2EsAQ=="}
        assert base64.b64decode(said["data"]) == bytes.fromhex("FF612C01")
        assert 1700 < (expires - datetime.now(UTC)).total_seconds() <= 1800
        await server.say("txack", queueItemId=key, fCntDown=3)
        await server.say("ack", queueItemId="another", acknowledged=True)
        await publish(broker, b"[]", event="ack")
        await publish(broker, uplink("060100"))
        await eventually(lambda: samples[-1].values == {"valve": False})
        assert not muting.done(), "what came before the uplink was not taken for the answer"
        await server.say("ack", queueItemId=key, acknowledged=True, fCntDown=3)
        async with asyncio.timeout(10):
            await muting


@pytest.mark.parametrize(
    ("event", "fields", "error"),
    [
        ("ack", {"queueItemId": "key", "acknowledged": False}, "lorawan-refused"),
        ("log", {"code": "DOWNLINK_PAYLOAD_SIZE", "context": {"queue_item_id": "key"}}, "lorawan-dropped"),
    ],
)
async def test_what_the_network_or_the_device_turns_down_has_failed(
    broker: Broker, event: str, fields: dict[str, Any], error: str
) -> None:
    async with chirpstack(broker) as server, commanded(broker, sensor(GAS)) as (bus, _):
        muting = asyncio.create_task(bus.execute(command("mute-detector")))
        _, said = await server.downlink()
        await server.say(event, **json.loads(json.dumps(fields).replace("key", said["id"])))
        async with asyncio.timeout(10):
            with pytest.raises(ReadFailed, match=error):
                await muting


async def test_a_valve_is_shut_when_it_says_so_and_its_state_is_heard_meanwhile(broker: Broker) -> None:
    async with chirpstack(broker) as server, commanded(broker, sensor(GAS)) as (bus, samples):
        shutting = asyncio.create_task(bus.execute(command("close-valve")))
        _, said = await server.downlink()
        assert base64.b64decode(said["data"]) == bytes.fromhex("060000FF")
        assert said["confirmed"] is False
        await publish(broker, uplink("060101"))
        await eventually(lambda: samples[-1].values == {"valve": True})
        await server.say("txack", queueItemId=said["id"], fCntDown=3)
        await publish(broker, uplink("060101 058E01"))
        await eventually(lambda: samples[-1].values == {"valve": True, "gas": True})
        assert not shutting.done()
        await publish(broker, uplink("060100 058E00"))
        async with asyncio.timeout(10):
            await shutting
    assert samples[-1].values == {"valve": False, "gas": False}


async def test_a_downlink_without_an_answer_is_unconfirmed_and_sent_once(broker: Broker) -> None:
    async with chirpstack(broker) as server, commanded(broker, sensor(GAS, every=0.5)) as (bus, _):
        with pytest.raises(ReadFailed, match="unconfirmed"):
            await bus.execute(command("reboot"))
        await server.downlink()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.downlink(), 0.3)


async def test_a_downlink_that_nobody_would_take_has_failed(broker: Broker) -> None:
    async with commanded(broker, sensor(GAS)) as (bus, _):
        with pytest.raises(ReadFailed, match="nobody-subscribed"):
            await bus.execute(command("reboot"))
        assert bus.counters.is_up


async def test_a_device_that_has_never_spoken_has_no_address(broker: Broker) -> None:
    device = sensor(GAS)
    async with connect(Options(url=broker.url), (device,)) as listener:
        with pytest.raises(ReadFailed, match="lorawan-unheard"):
            await listener.write(device, "mute-detector", {})
        with pytest.raises(ReadFailed, match="action-unknown"):
            await listener.write(device, "dance", {})
    async with connect(Options(url=broker.url, application="a1"), (device,)) as listener:
        with pytest.raises(ReadFailed, match="nobody-subscribed"):
            await listener.write(device, "mute-detector", {})


async def test_a_record_that_nobody_knows_is_told_once_and_what_came_before_counts(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async with heard(broker, sensor(WATER)) as said:
        for counter in range(3):
            await publish(broker, uplink(f"0175{60 + counter} EE01 02 050001", fCnt=counter))
        await publish(broker, uplink(LAST))
        await eventually(lambda: END in said)
    assert [decode(MODELS[WATER].points, raw) for _, raw in said[:-1]] == [
        {"battery": 0x60 + counter} for counter in range(3)
    ]
    assert unknown_record(MODELS[WATER].points, said[0][1]) == "EE 01"
    assert sum("[lorawan-record " in record.getMessage() for record in caplog.records) == 1


async def test_a_flood_as_many_applications_costs_no_message_of_another_device(broker: Broker) -> None:
    """Anybody may publish as one of any number of applications."""
    devices = sensor(WATER, "honest"), sensor(WATER, "flooder", "24e124713c489999")
    options = Options(url=broker.url)
    async with connect_mqtt(options) as sender, connect(options, devices) as listener:
        honest = f"application/a1/device/{EUI}/event/up"
        while True:
            with contextlib.suppress(ReadFailed):
                await sender.publish_command(honest, uplink(LAST))
                break
        for start in range(0, MAX_INBOX_BLOCKS + 100, 100):
            applications = range(start, start + 100)
            topics = (f"application/{each}/device/24e124713c489999/event/up" for each in applications)
            await asyncio.gather(*(sender.publish(topic, b"{}") for topic in topics))
        async with asyncio.timeout(10), contextlib.aclosing(listener.listen()) as messages:
            assert "honest" in [(await anext(messages))[0] for _ in range(2)]


@pytest.mark.parametrize(
    ("honest", "flooded"),
    [
        (f"lora/{EUI}/up", "lora/24e124713c489999/up"),
        (f"lora/{EUI}/up", "lora/state"),
        ("lora/gateway-1", "lora/gateway-2"),
        (f"{EUI}", "lora/a/24E124713C489999/{number}"),
    ],
)
async def test_a_flood_on_one_topic_costs_no_message_on_another(
    broker: Broker, honest: str, flooded: str
) -> None:
    devices = sensor(WATER, "honest"), sensor(WATER, "flooder", "24e124713c489999")
    options = Options(url=broker.url, topic="#")
    flood = uplink(LAST, eui="24e124713c489999")
    async with connect_mqtt(BrokerOptions(url=broker.url)) as sender, connect(options, devices) as listener:
        while True:
            with contextlib.suppress(ReadFailed):
                await sender.publish_command(honest, uplink(LAST))
                break
        for start in range(0, MAX_INBOX_BLOCKS + 100, 100):
            topics = (flooded.format(number=start + each) for each in range(100))
            await asyncio.gather(*(sender.publish(topic, flood) for topic in topics))
        async with asyncio.timeout(10), contextlib.aclosing(listener.listen()) as messages:
            assert "honest" in [(await anext(messages))[0] for _ in range(2)]
