"""Reception of advertisements through bleak: from a site's devices, or from any sender."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.model import Device, Hazard, LinkDown, Listener, OverheardDevice, ReadFailed, sentence
from gateway.wire.inbox import FairInbox
from gateway.wire.log import log_warning

from .formats import (
    BTHOME,
    RUUVI_COMPANY_ID,
    XIAOMI,
    BlePacket,
    address_inside,
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
REPEATED_WITHIN_S = 4.0
"""A packet is sent many times. The same bytes after this time are a new packet, as to the reference decoder
(bthome-ble)."""
MAX_COUNTER_AFTER_RESTART = 100
"""An encrypted packet with a lower counter than the last is somebody else's repetition, unless it is below
this: then the device was restarted (its battery was changed)."""
COUNTER_TRUSTED_S = 600.0
"""After this time without a packet that counts on, a lower counter is that of a restarted device too."""
MAX_REMEMBERED_PACKETS = 8
BASE_UUID = "-0000-1000-8000-00805f9b34fb"


def _read_key(file: Path | None) -> bytes | ReadFailed | None:
    if file is None:
        return None
    try:
        if file.stat().st_mode & 0o077:
            return ReadFailed("ble-key-open", file=file)
        key = bytes.fromhex(file.read_text("ascii"))
    except OSError as error:
        return ReadFailed("ble-key-unreadable", file=file, reason=error)
    except ValueError:
        return ReadFailed("ble-key-unreadable", file=file, reason=sentence("cause.not-hexadecimal"))
    if len(key) == 16:
        return key
    reason = sentence("cause.digits", count=2 * len(key))
    return ReadFailed("ble-key-unreadable", file=file, reason=reason)


class _Sender:
    """A device, and what was last taken from it."""

    def __init__(self, device: Device) -> None:
        self.name = device.name
        self._points = device.points
        self._mac = mac_to_bytes(device.address.mac)
        self._key = _read_key(device.address.bindkey_file)
        self._last: BlePacket | None = None
        self._taken_at = float("-inf")
        self._encrypted: deque[bytes] = deque(maxlen=MAX_REMEMBERED_PACKETS)
        """The latest encrypted packets, which a device may repeat alternately."""
        self._last_failed: object = None
        self._failed_at = float("-inf")
        self._reported_objects: set[int] = set()

    def receive(self, advertisement: AdvertisementData, now: float) -> BlePacket | ReadFailed | None:
        """The packet or failure that an advertisement is; None if it is a repetition, or without news.
        `now` in monotonic seconds."""
        service = _service_data(advertisement)
        try:
            packet = self._parse(service, advertisement.manufacturer_data)
            if packet is None or not self._is_new(packet, now):
                return None
        except ReadFailed as failed:
            return failed if self._is_new_failure(service, now) else None
        self._last, self._taken_at = packet, now
        if packet.encrypted:
            self._encrypted.append(packet.data)
        return packet

    def receive_other(self, address: str, now: float) -> ReadFailed | None:
        """The failure that its radio sends packets of another device, which is not configured; None if that
        was just said."""
        return ReadFailed("ble-address", inside=address) if self._is_new_failure(address, now) else None

    def _is_new_failure(self, cause: object, now: float) -> bool:
        """Each packet is sent many times: that is one failure."""
        if cause == self._last_failed and now - self._failed_at < REPEATED_WITHIN_S:
            return False
        self._last_failed, self._failed_at = cause, now
        return True

    def _parse(self, service: dict[int, bytes], manufacturer: dict[int, bytes]) -> BlePacket | None:
        if isinstance(self._key, ReadFailed):
            raise self._key
        packet = parse_advertisement(self._mac, self._key, service, manufacturer)
        if packet is None:
            return None
        if packet.unknown_object is not None and packet.unknown_object not in self._reported_objects:
            self._reported_objects.add(packet.unknown_object)
            log_warning("ble-object", device=self.name, id=f"0x{packet.unknown_object:02X}")
        # For example the battery level, where no point uses it: neither a reading nor a failure.
        return packet if decode(self._points, packet) else None

    def _is_new(self, packet: BlePacket, now: float) -> bool:
        """Whether this is not the last packet once more. Raises `ReadFailed` if its counter went back."""
        last, since_s = self._last, now - self._taken_at
        if last is None:
            return True
        if not packet.encrypted:
            return packet.data != last.data or since_s >= REPEATED_WITHIN_S
        if packet.data in self._encrypted:
            return False
        number, last_number = packet.number or 0, last.number or 0
        if MAX_COUNTER_AFTER_RESTART <= number < last_number and since_s < COUNTER_TRUSTED_S:
            raise ReadFailed("ble-counter", number=number, last=last_number)
        return True


class BleListener(Listener):
    """One scan."""

    def __init__(
        self, devices: tuple[Device, ...], silence: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._silence = silence
        self._now = now
        self._senders = {device.address.mac.upper(): _Sender(device) for device in devices}
        self._inbox: FairInbox[tuple[str, BlePacket | ReadFailed]] = FairInbox(MAX_QUEUED_PACKETS)
        self._heard = asyncio.Event()
        """Set by every packet: one of an unknown device, or without news, proves that the radio works."""

    def on_advertisement(self, radio: BLEDevice, advertisement: AdvertisementData) -> None:
        """Callback of bleak for every advertisement."""
        inside = address_inside(_service_data(advertisement))
        # A repeater sends the packets of others, and some devices change the address of their radio.
        sender = self._senders.get(inside or radio.address)
        news: BlePacket | ReadFailed | None = None
        if sender is not None:
            news = sender.receive(advertisement, self._now())
        elif inside and (sender := self._senders.get(radio.address)):
            news = sender.receive_other(inside, self._now())
        if sender is not None and news is not None:
            self._inbox.put(sender.name, (sender.name, news), 0)
        self._heard.set()

    async def listen(self) -> AsyncIterator[tuple[str, BlePacket | ReadFailed]]:
        while True:
            while not self._inbox:
                try:
                    async with asyncio.timeout(self._silence):
                        await self._heard.wait()
                except TimeoutError as error:
                    raise LinkDown("ble-silent", seconds=round(self._silence)) from error
                self._heard.clear()
            yield self._inbox.take()
            await asyncio.sleep(0)  # Taking what has already arrived does not yield to other tasks.


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
        log_warning("ble-fire")
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
        raise LinkDown("ble-scan", adapter=options.adapter or "hci*", reason=error) from error
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
        except failures:
            log_warning("ble-active")
        else:
            return scanner
    scanner = BleakScanner(on_advertisement, bluez=bluez)
    async with asyncio.timeout(SCAN_TIMEOUT_S):
        await scanner.start()
    return scanner


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
