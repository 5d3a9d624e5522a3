"""Advertisements as they come, heard through bleak: of a site's devices, or of anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.model import Device, Hazard, LinkDown, Listener, OverheardDevice, ReadFailed

from .formats import BTHOME, RUUVI, XIAOMI, Packet, decode, introduce, octets, read
from .options import Options

if TYPE_CHECKING:
    from bleak import BleakScanner
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

PATIENCE = 10.0
"""Seconds for BlueZ to start or end a scan."""
INBOX = 1000
BASE_UUID = "-0000-1000-8000-00805f9b34fb"


def _key(file: Path | None) -> bytes | ReadFailed | None:
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
            device.address.mac.upper(): (device, _key(device.address.bindkey_file)) for device in devices
        }
        self._last: dict[str, int | None] = {}
        self._refused: dict[str, object] = {}
        self._inbox: asyncio.Queue[tuple[str, Packet | ReadFailed] | None] = asyncio.Queue(INBOX)

    def hear(self, sender: BLEDevice, advertisement: AdvertisementData) -> None:
        """What bleak calls with every advertisement."""
        if sender.address in self._devices:
            said = self._read(*self._devices[sender.address], advertisement)
            if said is not None and not self._inbox.full():
                self._inbox.put_nowait((self._devices[sender.address][0].name, said))
                return
        # A stranger, but proof that the radio works.
        if self._inbox.empty():
            self._inbox.put_nowait(None)

    def _read(
        self, device: Device, key: bytes | ReadFailed | None, advertisement: AdvertisementData
    ) -> Packet | ReadFailed | None:
        service = _service(advertisement)
        try:
            if isinstance(key, ReadFailed):
                raise key
            packet = read(octets(device.address.mac), key, service, advertisement.manufacturer_data)
        except ReadFailed as failed:
            # A packet is sent many times: that is one failure.
            again = self._refused.get(device.name) == service
            self._refused[device.name] = service
            return None if again else failed
        # Its battery's level, say, where no point asks for it: no reading, and no failure.
        if packet is None or not decode(device.points, packet):
            return None
        if not packet.follows(self._last.get(device.name)):
            return None
        self._last[device.name] = packet.number
        return packet

    async def listen(self) -> AsyncIterator[tuple[str, Packet | ReadFailed]]:
        while True:
            try:
                async with asyncio.timeout(self._silence):
                    said = await self._inbox.get()
            except TimeoutError as error:
                raise LinkDown("ble-silent", seconds=round(self._silence)) from error
            if said is not None:
                yield said


def _service(advertisement: AdvertisementData) -> dict[int, bytes]:
    """Service data by 16-bit UUID."""
    return {
        int(uuid[4:8], 16): data
        for uuid, data in advertisement.service_data.items()
        if uuid.startswith("0000") and uuid.endswith(BASE_UUID)
    }


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[BleListener]:
    """Scan."""
    if any(
        point.alarm and point.alarm.hazard is Hazard.FIRE for d in devices for point in d.points.values()
    ):
        _tell(
            "仅靠蓝牙不能保障烟雾报警：须另有有线探测器",
            "BLE alone carries no smoke alarm: keep a wired one",
        )
    listener = BleListener(devices, options.silence)
    async with _scanning(options, listener.hear):
        yield listener


@asynccontextmanager
async def _scanning(
    options: Options, hear: Callable[[BLEDevice, AdvertisementData], None]
) -> AsyncIterator[None]:
    try:
        from bleak.exc import BleakError
    except ImportError as error:
        raise LinkDown("ble-missing", reason=error) from error
    failures = (BleakError, OSError, EOFError)
    try:
        scanner = await _scan(options, hear, failures)
    except failures as error:
        why = str(error) or type(error).__name__
        raise LinkDown("ble-scan", adapter=options.adapter or "hci*", reason=why) from error
    try:
        yield
    finally:
        # BlueZ may refuse (InProgress), and an adapter that was pulled out cannot be stopped.
        with suppress(*failures):
            async with asyncio.timeout(PATIENCE):
                await scanner.stop()


async def _scan(
    options: Options,
    hear: Callable[[BLEDevice, AdvertisementData], None],
    failures: tuple[type[Exception], ...],
) -> BleakScanner:
    from bleak import BleakScanner
    from bleak.args.bluez import BlueZScannerArgs, OrPattern, OrPatternLike
    from bleak.assigned_numbers import AdvertisementDataType

    bluez: BlueZScannerArgs = {"adapter": options.adapter} if options.adapter else {}
    if options.passive:
        service, maker = (
            AdvertisementDataType.SERVICE_DATA_UUID16,
            AdvertisementDataType.MANUFACTURER_SPECIFIC_DATA,
        )
        patterns: list[OrPatternLike] = [
            OrPattern(0, kind, number.to_bytes(2, "little"))
            for kind, number in ((service, BTHOME), (service, XIAOMI), (maker, RUUVI))
        ]
        scanner = BleakScanner(hear, scanning_mode="passive", bluez={**bluez, "or_patterns": patterns})
        try:
            async with asyncio.timeout(PATIENCE):
                await scanner.start()
        except failures as error:
            _tell(f"不能被动扫描，改为主动扫描（{error}）", f"no passive scan, so an active one ({error})")
        else:
            return scanner
    scanner = BleakScanner(hear, bluez=bluez)
    async with asyncio.timeout(PATIENCE):
        await scanner.start()
    return scanner


def _tell(chinese: str, english: str) -> None:
    logging.getLogger("linli").warning("%s · %s", chinese, english)


async def overhear(options: Options) -> AsyncIterator[OverheardDevice | ReadFailed]:
    """Everybody who speaks a format of ours. BlueZ lets several programs listen at once."""
    heard: asyncio.Queue[OverheardDevice] = asyncio.Queue(INBOX)

    def hear(sender: BLEDevice, advertisement: AdvertisementData) -> None:
        stranger = introduce(sender.address, _service(advertisement), advertisement.manufacturer_data)
        if stranger and not heard.full():
            heard.put_nowait(stranger)

    async with _scanning(options, hear):
        while True:
            yield await heard.get()
