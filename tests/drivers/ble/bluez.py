"""A BlueZ that is none, on a D-Bus of its own: what bleak asks of the real one when it scans."""

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

from dbus_fast import DBusError, PropertyAccess, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusBool, DBusDict, DBusInt16, DBusObjectPath, DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""
HCI = "/org/bluez/hci0"
Words = Annotated[list[str], DBusSignature("as")]
Bytes = Annotated[dict[int, Any], DBusSignature("a{qv}")]
READ = PropertyAccess.READ


class Adapter(ServiceInterface):
    """`org.bluez.Adapter1`: counts what it is asked."""

    def __init__(self) -> None:
        super().__init__("org.bluez.Adapter1")
        self.scans = 0
        self.refuse_stop = False

    @dbus_method()
    def SetDiscoveryFilter(self, filters: DBusDict) -> None:  # noqa: N802
        self.filters = filters

    @dbus_method()
    def StartDiscovery(self) -> None:  # noqa: N802
        self.scans += 1

    @dbus_method()
    def StopDiscovery(self) -> None:  # noqa: N802
        if self.refuse_stop:
            raise DBusError("org.bluez.Error.InProgress", "Operation already in progress")

    @dbus_property(access=READ)
    def Powered(self) -> DBusBool:  # noqa: N802
        return True

    @dbus_property(access=READ)
    def Roles(self) -> Words:  # noqa: N802
        return ["central"]


class Monitors(ServiceInterface):
    """`org.bluez.AdvertisementMonitorManager1`, which only an experimental BlueZ has."""

    def __init__(self) -> None:
        super().__init__("org.bluez.AdvertisementMonitorManager1")
        self.registered: list[str] = []

    @dbus_method()
    def RegisterMonitor(self, path: DBusObjectPath) -> None:  # noqa: N802
        self.registered.append(path)

    @dbus_method()
    def UnregisterMonitor(self, path: DBusObjectPath) -> None:  # noqa: N802
        self.registered.remove(path)


class Remote(ServiceInterface):
    """`org.bluez.Device1`, once it has been heard."""

    def __init__(self, mac: str) -> None:
        super().__init__("org.bluez.Device1")
        self.mac = mac
        self.service: dict[str, Variant] = {}
        self.maker: dict[int, Variant] = {}

    @dbus_property(access=READ)
    def Adapter(self) -> DBusObjectPath:  # noqa: N802
        return HCI

    @dbus_property(access=READ)
    def Address(self) -> DBusStr:  # noqa: N802
        return self.mac

    @dbus_property(access=READ)
    def Alias(self) -> DBusStr:  # noqa: N802
        return self.mac

    @dbus_property(access=READ)
    def RSSI(self) -> DBusInt16:  # noqa: N802
        return -60

    @dbus_property(access=READ)
    def ServiceData(self) -> DBusDict:  # noqa: N802
        return self.service

    @dbus_property(access=READ)
    def ManufacturerData(self) -> Bytes:  # noqa: N802
        return self.maker


class BlueZ:
    """The service, and the air around it."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._remotes: dict[str, Remote] = {}
        self.adapter = Adapter()

    def plug(self) -> None:
        self.adapter = Adapter()
        self._bus.export(HCI, self.adapter)

    def allow_passive(self) -> Monitors:
        monitors = Monitors()
        self._bus.export(HCI, monitors)
        return monitors

    def unplug(self) -> None:
        for path in self._remotes:
            self._bus.unexport(path)
        self._remotes.clear()
        self._bus.unexport(HCI)

    def advertise(self, mac: str, data: bytes, service: int = 0, maker: int = 0) -> None:
        """An advertisement is heard."""
        path = f"{HCI}/dev_{mac.replace(':', '_')}"
        known = path in self._remotes
        remote = self._remotes.setdefault(path, Remote(mac))
        changed: dict[str, Any] = {"RSSI": -60}
        if service:
            remote.service = {f"0000{service:04x}-0000-1000-8000-00805f9b34fb": Variant("ay", data)}
            changed["ServiceData"] = remote.service
        if maker:
            remote.maker = {maker: Variant("ay", data)}
            changed["ManufacturerData"] = remote.maker
        if known:
            remote.emit_properties_changed(changed)
        else:
            self._bus.export(path, remote)


@contextlib.contextmanager
def private_bus(folder: Path) -> Iterator[str]:
    """A D-Bus daemon of our own; gives its address."""
    config = folder / "bus.conf"
    config.write_text(CONFIG.format(path=folder / "bus"))
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout
        try:
            yield daemon.stdout.readline().strip()
        finally:
            daemon.kill()


@contextlib.asynccontextmanager
async def a_bluez() -> AsyncIterator[BlueZ]:
    """BlueZ on the bus that the environment names, with an adapter."""
    bus = await MessageBus(bus_address=os.environ["DBUS_SYSTEM_BUS_ADDRESS"]).connect()
    try:
        await bus.request_name("org.bluez")
        bluez = BlueZ(bus)
        bluez.plug()
        yield bluez
    finally:
        bus.disconnect()
        await bus.wait_for_disconnect()
