"""Reception of advertisements through bleak: from a site's devices, or from any sender."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.model import Device, Hazard, LinkDown, Listener, OverheardDevice, ReadFailed

from .formats import (
    BTHOME,
    RUUVI_COMPANY_ID,
    XIAOMI,
    BlePacket,
    decode,
    identify_sender,
    mac_to_bytes,
    parse_advertisement,
)
from .options import Options

if TYPE_CHECKING:
    from bleak import BleakScanner
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

SCAN_TIMEOUT_S = 10.0
"""For BlueZ to start or stop a scan."""
MAX_QUEUED_PACKETS = 1000
BASE_UUID = "-0000-1000-8000-00805f9b34fb"


def _read_key(file: Path | None) -> bytes | ReadFailed | None:
    if file is None:
        return None
    try:
        if file.stat().st_mode & 0o077:
            return ReadFailed("ble-key-open", file=file)
        key = bytes.fromhex(file.read_text("ascii"))
    except (OSError, ValueError) as error:
        return ReadFailed("ble-key-unreadable", file=file, reason=error)
    return key if len(key) == 16 else ReadFailed("ble-key-unreadable", file=file, reason=len(key))


class BleListener(Listener):
    """One scan."""

    def __init__(self, devices: tuple[Device, ...], silence: float) -> None:
        self._silence = silence
        self._devices = {
            device.address.mac.upper(): (device, _read_key(device.address.bindkey_file))
            for device in devices
        }
        self._last_numbers: dict[str, int | None] = {}
        self._last_failed: dict[str, object] = {}
        self._inbox: asyncio.Queue[tuple[str, BlePacket | ReadFailed] | None] = asyncio.Queue(
            MAX_QUEUED_PACKETS
        )

    def on_advertisement(self, sender: BLEDevice, advertisement: AdvertisementData) -> None:
        """Callback of bleak for every advertisement."""
        if sender.address in self._devices:
            packet_or_failure = self._parse_packet(*self._devices[sender.address], advertisement)
            if packet_or_failure is not None and not self._inbox.full():
                self._inbox.put_nowait((self._devices[sender.address][0].name, packet_or_failure))
                return
        # An unknown device, or a packet without news: it proves that the radio works.
        if self._inbox.empty():
            self._inbox.put_nowait(None)

    def _parse_packet(
        self, device: Device, key: bytes | ReadFailed | None, advertisement: AdvertisementData
    ) -> BlePacket | ReadFailed | None:
        service = _service_data(advertisement)
        try:
            if isinstance(key, ReadFailed):
                raise key
            packet = parse_advertisement(
                mac_to_bytes(device.address.mac), key, service, advertisement.manufacturer_data
            )
        except ReadFailed as failed:
            # Each packet is sent many times: that is one failure.
            again = self._last_failed.get(device.name) == service
            self._last_failed[device.name] = service
            return None if again else failed
        # For example the battery level, where no point uses it: neither a reading nor a failure.
        if packet is None or not decode(device.points, packet):
            return None
        if not packet.is_newer_than(self._last_numbers.get(device.name)):
            return None
        self._last_numbers[device.name] = packet.number
        return packet

    async def listen(self) -> AsyncIterator[tuple[str, BlePacket | ReadFailed]]:
        while True:
            try:
                async with asyncio.timeout(self._silence):
                    packet_or_failure = await self._inbox.get()
            except TimeoutError as error:
                raise LinkDown("ble-silent", seconds=round(self._silence)) from error
            if packet_or_failure is not None:
                yield packet_or_failure


def _service_data(advertisement: AdvertisementData) -> dict[int, bytes]:
    """Service data by 16-bit UUID."""
    return {
        int(uuid[4:8], 16): data
        for uuid, data in advertisement.service_data.items()
        if uuid.startswith("0000") and uuid.endswith(BASE_UUID)
    }


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[BleListener]:
    """Start a scan, and stop it on exit."""
    if any(
        point.alarm and point.alarm.hazard is Hazard.FIRE for d in devices for point in d.points.values()
    ):
        _log_warning(
            "仅靠蓝牙不能保障烟雾报警：须另有有线探测器",
            "BLE alone carries no smoke alarm: keep a wired one",
        )
    listener = BleListener(devices, options.silence)
    async with _running_scan(options, listener.on_advertisement):
        yield listener


@asynccontextmanager
async def _running_scan(
    options: Options, on_advertisement: Callable[[BLEDevice, AdvertisementData], None]
) -> AsyncIterator[None]:
    try:
        from bleak.exc import BleakError
    except ImportError as error:
        raise LinkDown("ble-missing", reason=error) from error
    failures = (BleakError, OSError, EOFError)
    try:
        scanner = await _start_scanner(options, on_advertisement, failures)
    except failures as error:
        why = str(error) or type(error).__name__
        raise LinkDown("ble-scan", adapter=options.adapter or "hci*", reason=why) from error
    try:
        yield
    finally:
        # BlueZ may refuse (InProgress), and an adapter that was pulled out cannot be stopped.
        with suppress(*failures):
            async with asyncio.timeout(SCAN_TIMEOUT_S):
                await scanner.stop()


async def _start_scanner(
    options: Options,
    on_advertisement: Callable[[BLEDevice, AdvertisementData], None],
    failures: tuple[type[Exception], ...],
) -> BleakScanner:
    from bleak import BleakScanner
    from bleak.args.bluez import BlueZScannerArgs, OrPattern, OrPatternLike
    from bleak.assigned_numbers import AdvertisementDataType

    bluez: BlueZScannerArgs = {"adapter": options.adapter} if options.adapter else {}
    if options.passive:
        service, manufacturer = (
            AdvertisementDataType.SERVICE_DATA_UUID16,
            AdvertisementDataType.MANUFACTURER_SPECIFIC_DATA,
        )
        patterns: list[OrPatternLike] = [
            OrPattern(0, kind, number.to_bytes(2, "little"))
            for kind, number in ((service, BTHOME), (service, XIAOMI), (manufacturer, RUUVI_COMPANY_ID))
        ]
        scanner = BleakScanner(
            on_advertisement, scanning_mode="passive", bluez={**bluez, "or_patterns": patterns}
        )
        try:
            async with asyncio.timeout(SCAN_TIMEOUT_S):
                await scanner.start()
        except failures as error:
            _log_warning(
                f"不能被动扫描，改为主动扫描（{error}）", f"no passive scan, so an active one ({error})"
            )
        else:
            return scanner
    scanner = BleakScanner(on_advertisement, bluez=bluez)
    async with asyncio.timeout(SCAN_TIMEOUT_S):
        await scanner.start()
    return scanner


def _log_warning(chinese: str, english: str) -> None:
    logging.getLogger("linli").warning("%s · %s", chinese, english)


async def overhear_devices(options: Options) -> AsyncIterator[OverheardDevice | ReadFailed]:
    """Report every sender of a known format. BlueZ lets several programs scan at the same time."""
    discovered: asyncio.Queue[OverheardDevice] = asyncio.Queue(MAX_QUEUED_PACKETS)

    def on_advertisement(sender: BLEDevice, advertisement: AdvertisementData) -> None:
        found = identify_sender(
            sender.address, _service_data(advertisement), advertisement.manufacturer_data
        )
        if found and not discovered.full():
            discovered.put_nowait(found)

    async with _running_scan(options, on_advertisement):
        while True:
            yield await discovered.get()
