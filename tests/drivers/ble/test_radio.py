from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from drivers.ble import DRIVER, Address, Options, connect
from drivers.ble.formats import BTHOME, RUUVI_COMPANY_ID, XIAOMI, BlePoint
from drivers.ble.radio import MAX_QUEUED_PACKETS, BleListener
from gateway.base.clock import SystemClock
from gateway.config import BusSpec
from gateway.field.line import Line
from gateway.model import AlarmSpec, Device, Hazard, LinkDown, Quality, ReadFailed, Sample
from tests.drivers.ble.adverts import BTHOME_KEY, FORMAT_5, KEY, MAC, raw
from tests.drivers.ble.bluez import BlueZ, a_bluez, private_bus


def device(name: str, mac: str, every: float = 60, key: Path | None = None, **points: str) -> Device:
    return Device(
        name=name,
        title={},
        kind="smoke",
        profile="",
        bus="air",
        address=Address(mac=mac, bindkey_file=key),
        points={point: BlePoint(field=field) for point, field in points.items()},
        every=every,
    )


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BlueZ]:
    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        async with a_bluez() as service:
            yield service
    # bleak keeps its connection as long as the loop lives; it ends with the bus.
    await asyncio.sleep(0.1)


class Rig:
    """A bus task in the fake air, with what it said."""

    def __init__(self, options: Options, *devices: Device) -> None:
        self.samples: list[Sample] = []
        self.task = Line(BusSpec("air", DRIVER, options), devices, SystemClock(), self._sink)

    async def _sink(self, sample: Sample) -> None:
        self.samples.append(sample)

    async def until(self, holds: Callable[[], bool], each: Callable[[], None] = lambda: None) -> None:
        async with asyncio.timeout(20):
            while not holds():
                each()
                await asyncio.sleep(0.01)

    def values(self, name: str) -> list[dict[str, Any]]:
        return [sample.values for sample in self.samples if sample.device == name and sample.values]


@contextlib.asynccontextmanager
async def running(options: Options, *devices: Device) -> AsyncIterator[Rig]:
    rig = Rig(options, *devices)
    task = asyncio.create_task(rig.task.run())
    try:
        await rig.until(lambda: rig.task.counters.is_up)
        yield rig
    finally:
        task.cancel()
        await asyncio.wait([task])


def says_smoke(bluez: BlueZ) -> Callable[[], None]:
    return lambda: bluez.advertise(MAC, b"\x40\x29\x01", service=BTHOME)


def sealed(number: int, body: bytes) -> bytes:
    """BTHome, encrypted for MAC with KEY."""
    counter = number.to_bytes(4, "little")
    data = AESCCM(raw(KEY), tag_length=4).encrypt(raw(MAC) + b"\xd2\xfc\x41" + counter, body, b"")
    return b"\x41" + data[:-4] + counter + data[-4:]


async def test_an_advertisement_becomes_a_sample_once(bluez: BlueZ) -> None:
    tag, door = (device("tag", "AA:00:00:00:00:01", t="temperature"),
                 device("door", "AA:00:00:00:00:02", opening="door", battery="battery"))  # fmt: skip
    async with running(Options(), tag, door) as rig:
        bluez.advertise("AA:00:00:00:00:09", b"\x40\x29\x01", service=BTHOME)  # a stranger
        bluez.advertise("AA:00:00:00:00:01", FORMAT_5, maker=RUUVI_COMPANY_ID)
        for data in ("40 0001 1A01", "40 0001 1A01", "40 0002 1A00", "40 0003 0255 08", "41", "", "40 1A",
                     "40 0004 0163"):  # fmt: skip
            bluez.advertise("AA:00:00:00:00:02", bytes.fromhex(data), service=BTHOME)
        await rig.until(lambda: {"battery": 99} in rig.values("door"))
    assert rig.values("tag") == [{"t": 24.3}]
    assert rig.values("door") == [{"opening": True}, {"opening": False}, {"battery": 99}]
    assert {sample.quality for sample in rig.samples} == {Quality.GOOD}


async def test_an_encrypted_device(bluez: BlueZ, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    file.chmod(0o600)
    async with running(Options(), device("smoke", MAC, key=file, smoke="smoke")) as rig:
        for data in (sealed(500, b"\x29\x01"), sealed(499, b"\x29\x00"), b"\x40\x29\x00",
                     sealed(500, b"\x29\x01"), sealed(501, b"\x29\x00")):  # fmt: skip
            bluez.advertise(MAC, data, service=BTHOME)
        await rig.until(lambda: {"smoke": False} in rig.values("smoke"))
    assert rig.values("smoke") == [{"smoke": True}, {"smoke": False}]


@pytest.mark.parametrize(
    ("text", "mode", "error"),
    [(KEY, 0o644, "ble-key-open"), (KEY[:-2], 0o600, "ble-key-unreadable"),
     ("key", 0o600, "ble-key-unreadable"), (BTHOME_KEY, 0o600, "ble-key-wrong")],
)  # fmt: skip
async def test_a_key_that_does_not_serve_makes_its_device_offline_and_no_other(
    bluez: BlueZ, tmp_path: Path, text: str, mode: int, error: str
) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(mode)
    other = device("other", "AA:00:00:00:00:02", opening="door")
    async with running(Options(), device("smoke", MAC, key=file, smoke="smoke"), other) as rig:
        for number in (1, 1, 1, 1, 2):
            bluez.advertise(MAC, sealed(number, b"\x29\x01"), service=BTHOME)
        await rig.until(lambda: rig.task.counters.failures == 2)
        assert rig.samples == []
        bluez.advertise(MAC, sealed(3, b"\x29\x01"), service=BTHOME)
        bluez.advertise("AA:00:00:00:00:02", b"\x40\x1a\x01", service=BTHOME)
        await rig.until(lambda: bool(rig.values("other")))
    (failed,) = (sample for sample in rig.samples if sample.device == "smoke")
    assert failed.error == error
    assert not isinstance(failed.facts.get("reason"), Exception | int)


async def test_a_radio_that_hears_nobody_is_begun_anew(bluez: BlueZ) -> None:
    async with running(Options(silence=0.3), device("a", MAC, smoke="smoke")) as rig:
        bluez.adapter.refuse_stop = True
        await rig.until(lambda: bool(rig.samples))
        assert rig.samples[0].error == "ble-silent"
        await rig.until(lambda: {"smoke": True} in rig.values("a"), says_smoke(bluez))
        assert bluez.adapter.scans >= 2


async def test_a_flood_of_one_sender_costs_no_packet_of_another() -> None:
    """Whoever uses the address of a device that is not encrypted can flood its packets."""
    other = "AA:00:00:00:00:02"
    listener = BleListener(
        (device("flooded", MAC, smoke="smoke"), device("smoke", other, smoke="smoke")), 5
    )

    def advertise(mac: str, number: int) -> None:
        data = bytes((0x40, 0x00, number % 256, 0x29, number // 256 % 2))
        uuid = f"0000{BTHOME:04x}-0000-1000-8000-00805f9b34fb"
        advertisement = AdvertisementData(None, {}, {uuid: data}, [], None, -60, ())
        listener.on_advertisement(BLEDevice(mac, None, None), advertisement)

    for number in range(MAX_QUEUED_PACKETS + 50):
        advertise(MAC, number)
    advertise(other, 1)
    names = [name async for name, _ in _first(listener, 2)]
    assert names == ["flooded", "smoke"]


async def _first(listener: BleListener, count: int) -> AsyncIterator[tuple[str, Any]]:
    async with asyncio.timeout(5):
        async for message in listener.listen():
            yield message
            count -= 1
            if not count:
                return


async def test_strangers_show_that_the_radio_works(bluez: BlueZ) -> None:
    numbers = iter(range(10_000))
    async with connect(Options(silence=0.6), (device("a", MAC, smoke="smoke"),)) as listener:
        heard = asyncio.ensure_future(anext(aiter(listener.listen())))
        until = asyncio.get_running_loop().time() + 1.2
        while asyncio.get_running_loop().time() < until:
            bluez.advertise("AA:00:00:00:00:09", next(numbers).to_bytes(2), maker=0x4C)
            await asyncio.sleep(0.02)
        assert not heard.done()
        with pytest.raises(LinkDown, match="ble-silent"):
            await heard


async def test_an_adapter_that_was_pulled_out_and_put_back(bluez: BlueZ) -> None:
    async with running(Options(silence=0.3), device("a", MAC, smoke="smoke")) as rig:
        bluez.unplug()
        await rig.until(lambda: any(sample.error == "ble-scan" for sample in rig.samples))
        assert not rig.task.counters.is_up
        bluez.plug()
        await rig.until(lambda: {"smoke": True} in rig.values("a"), says_smoke(bluez))


async def test_where_passive_scans_are_not_possible_it_says_so_and_scans_actively(
    bluez: BlueZ, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "linli"):
        async with connect(Options(passive=True, adapter="hci0"), ()):
            assert bluez.adapter.scans == 1
    assert "[ble-active]" in caplog.text


async def test_a_passive_scan(bluez: BlueZ) -> None:
    monitors = bluez.allow_passive()
    async with running(Options(passive=True), device("a", MAC, smoke="smoke")) as rig:
        assert len(monitors.registered) == 1
        bluez.advertise(MAC, b"\x40\x29\x01", service=BTHOME)
        await rig.until(lambda: rig.values("a") == [{"smoke": True}])
    assert (bluez.adapter.scans, monitors.registered) == (0, [])


async def test_without_an_adapter_or_bluez_the_line_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    with pytest.raises(LinkDown, match="ble-scan"):
        async with connect(Options(), ()):
            pass
    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        with pytest.raises(LinkDown, match="ble-scan"):
            async with connect(Options(), ()):
                pass


async def test_without_its_library_the_line_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bleak.exc", None)
    with pytest.raises(LinkDown, match="ble-missing"):
        async with connect(Options(), ()):
            pass


async def test_who_relies_on_bluetooth_for_fire_is_warned(
    bluez: BlueZ, caplog: pytest.LogCaptureFixture
) -> None:
    point = BlePoint(field="smoke", alarm=AlarmSpec(hazard=Hazard.FIRE))
    smoke = device("a", MAC)
    smoke.points["smoke"] = point
    async with connect(Options(), (smoke,)):
        assert "[ble-fire]" in caplog.text


class Air:
    """A listener that is given advertisements at given times."""

    def __init__(self, *devices: Device) -> None:
        self.now = 1000.0
        end = device("end", "AA:00:00:00:00:FF", end="count")
        self.listener = BleListener((*devices, end), 60, now=lambda: self.now)
        self._ends = itertools.count()

    async def hear(self, mac: str, data: str | bytes, service: int = BTHOME, after: float = 0.1) -> None:
        self.now += after
        content = data if isinstance(data, bytes) else bytes.fromhex(data)
        uuid = f"0000{service:04x}-0000-1000-8000-00805f9b34fb"
        self.listener.on_advertisement(
            BLEDevice(mac, None, None), AdvertisementData(None, {}, {uuid: content}, [], None, -60, ())
        )

    async def said(self) -> list[tuple[str, Any]]:
        """Device, and fields or error, of what was heard until now."""
        await self.hear("AA:00:00:00:00:FF", f"4009{next(self._ends):02X}")
        heard: list[tuple[str, Any]] = []
        async for name, packet in self.listener.listen():
            if name != "end":
                heard.append((name, packet.key if isinstance(packet, ReadFailed) else packet.fields))
            if not self.listener._inbox:
                return heard
        raise AssertionError


DOOR = "AA:BB:CC:00:00:01"


async def test_one_packet_id_for_different_data() -> None:
    air = Air(device("door", DOOR, opening="opening", battery="battery"))
    for data in ("4000b00151028d0a038d11", "4000b00151028d0a038d11", "4000b00c200b10001101"):
        await air.hear(DOOR, data)
    assert [name for name, _ in await air.said()] == ["door", "door"]
    for number, data in enumerate(("1A00", "1A01", "1A00", "1A01")):
        await air.hear(DOOR, f"400000{data}".replace("1A", "11"), after=0.1 * number)
    assert [packet["opening"] for _, packet in await air.said()] == [False, True, False, True]


async def test_a_packet_once_more_within_a_short_time_is_a_repetition() -> None:
    air = Air(device("count", DOOR, count="count", button="button"))
    for after in (0.1, 1, 2.8, 0.2, 3.9, 0.2):
        await air.hear(DOOR, "40000709023A01", after=after)
    assert len(await air.said()) == 3
    await air.hear(DOOR, "4009023A01")
    for _ in range(3):  # Without an id it is no different.
        await air.hear(DOOR, "4009023A01")
    assert len(await air.said()) == 1


async def test_mibeacons_that_share_a_frame_counter() -> None:
    air = Air(device("door", DOOR, door="door", battery="battery"))
    for objects in ("19100100", "19100101", "19100101", "19100100", "0A100155"):
        await air.hear(DOOR, f"4050970905{objects}", XIAOMI)
    assert [packet for _, packet in await air.said()] == [
        {"door": True}, {"door": False}, {"door": True}, {"battery": 85},
    ]  # fmt: skip


async def test_an_address_inside_says_whose_packet_it_is() -> None:
    repeater = device("repeater", MAC, smoke="smoke", battery="battery")
    air = Air(repeater, device("behind", DOOR, smoke="smoke", battery="battery"))
    await air.hear(MAC, "42 010000CCBBAA 0164")
    await air.hear(MAC, "42 BC9CE344EF54 0163")
    await air.hear("11:22:33:44:55:66", "42 010000CCBBAA 0162")  # A changing address of its own.
    await air.hear("11:22:33:44:55:66", "42 090000CCBBAA 0161")  # A stranger.
    assert await air.said() == [
        ("behind", {"battery": 100}), ("repeater", {"battery": 99}), ("behind", {"battery": 98}),
    ]  # fmt: skip
    for _ in range(3):
        await air.hear(MAC, "42 290100CCBBAA 2901")
        await air.hear(MAC, "50509709 01 290100CCBBAA 15100101", XIAOMI)
    assert await air.said() == [("repeater", "ble-address")]
    # A fault that lasts is a failure again, so that the device is soon offline for this reason.
    await air.hear(MAC, "42 290100CCBBAA 2901", after=5)
    assert await air.said() == [("repeater", "ble-address")]


async def test_an_encrypted_device_whose_counter_starts_again(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    air = Air(device("smoke", MAC, key=file, smoke="smoke", battery="battery"))

    async def send(number: int, body: str, after: float = 0.1) -> None:
        await air.hear(MAC, sealed(number, bytes.fromhex(body)), after=after)

    # Low numbers: the battery was changed, early or late.
    await send(50, "0164")
    await send(0, "2901")
    await send(7000, "2900")
    await send(3, "2901")
    assert [packet for _, packet in await air.said()] == [
        {"battery": 100}, {"smoke": True}, {"smoke": False}, {"smoke": True},
    ]  # fmt: skip
    # Two packets that alternate, under numbers of their own or one.
    await send(7001, "0164")
    for _ in range(3):
        for number, body in ((7001, "2900"), (7002, "0163"), (7001, "2900"), (7001, "0164")):
            await send(number, body, after=5)
    assert [packet for _, packet in await air.said()] == [
        {"battery": 100},
        {"smoke": False},
        {"battery": 99},
    ]
    # An old packet that was never heard: refused and told once, until the device has been silent for long.
    for _ in range(3):
        await send(6000, "2900")
    assert await air.said() == [("smoke", "ble-counter")]
    await send(6001, "2901", after=600)
    await send(6002, "2900")
    assert [packet for _, packet in await air.said()] == [{"smoke": True}, {"smoke": False}]


async def test_an_unknown_object_is_told_once_and_what_precedes_it_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    air = Air(device("smoke", DOOR, smoke="smoke"))
    with caplog.at_level(logging.WARNING, "linli"):
        for number in range(3):
            await air.hear(DOOR, f"40 2901 EF {number:02X}")
    assert [packet for _, packet in await air.said()] == [{"smoke": True}] * 3
    assert caplog.text.count("[ble-object") == 1
    assert "0xEF" in caplog.text
