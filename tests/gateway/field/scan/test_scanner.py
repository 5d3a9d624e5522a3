"""Scans on real wires. What is found passes `linli check`, and nothing is ever written to anybody."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import inspect
import json
import os
import subprocess
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.lockboard import DIALECTS
from gateway.field.scan.ports import port_users
from gateway.model import GatewayError, LinkDown
from gateway.simulate.modbus import MBAP_HEADER, build_response, crc16, exception_response
from tests.broker import Broker
from tests.drivers.ble.bluez import BlueZ, a_bluez, private_bus
from tests.drivers.conftest import Line, new_line
from tests.drivers.gb26875.frames import PUBLISHED
from tests.drivers.modbus.lines import chain
from tests.drivers.test_lockboard import NAMES, Board
from tests.gateway.field.scan.conftest import DRIVERS, SMOKE, HeldClock, Rig, units
from tests.ports import free_port

READS = {1, 2, 3, 4}


@contextlib.asynccontextmanager
async def listening(rig: Rig, scan: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """A scan that listens until the end of the block, and then goes on to its own."""
    rig.clock = clock = HeldClock()
    task = asyncio.ensure_future(scan())
    try:
        yield
        clock.release()
        await task
    finally:
        task.cancel()


async def repeat(action: Callable[[], object], until: Callable[[], object]) -> None:
    """What is sent before somebody listens is lost: try until it has arrived."""
    async with asyncio.timeout(20):
        while not until():
            if inspect.isawaitable(done := action()):
                await done
            await asyncio.sleep(0.02)


def requests(line: Line) -> list[bytes]:
    """The sound Modbus requests on a line."""
    return [r for r in line.requests if len(r) >= 4 and crc16(r[:-2]) == r[-2:]]


async def test_units_on_a_serial_line_become_tables_that_pass(line: Line, rig: Rig) -> None:
    line.answer = units({7: SMOKE, 9: {}, 12: {2: (1,), 4: (612, 93)}})
    await rig.scanner(numbers=range(5, 15)).scan_ports([line.path])
    assert [met.address["unit"] for met in rig.found] == [7, 9, 12]
    smoke = next(fit for fit in rig.found[0].matches if fit.profile == "smoke/generic-rs485")
    assert smoke.values["smoke"] is True
    assert rig.found[1].matches == []
    assert rig.found[2].matches[0].profile == "parking-bay/generic-ultrasonic"
    site = rig.pasted("smoke/generic-rs485")
    (bus,) = site.buses.values()
    assert (bus.options.url, bus.options.baud, bus.options.parity) == (f"rtu:{line.path}", 9600, "N")
    assert [(d.profile, d.address.unit) for d in site.devices.values()] == [
        ("smoke/generic-rs485", 7),
        ("parking-bay/generic-ultrasonic", 12),
    ]
    assert site.devices["device-7"].title == {"zh": "设备 7", "en": "Device 7"}
    assert site.devices["parking-bay-12"].title == {"zh": "车位检测器 12", "en": "Parking bay 12"}
    assert {request[1] for request in requests(line)} <= READS


async def test_the_speed_of_a_line_is_found(line: Line, rig: Rig) -> None:
    """A pty has no speed of its own: the device looks at what the port is set to. Nor has it parity, so
    here those lines cannot be opened, which does not end the scan."""
    reply = units({3: SMOKE})
    with Path(line.path).open("rb", buffering=0) as far:
        line.answer = lambda request: reply(request) if termios.tcgetattr(far)[4] == termios.B19200 else []
        await rig.scanner(numbers=[3]).scan_ports([line.path])
    assert rig.only().bus_table == {"url": f"rtu:{line.path}", "baud": 19200, "parity": "N"}
    rig.pasted()
    # The user is told how long it may take: 14 Modbus lines and five of lock boards.
    begun = dict(rig.said)["scan.begin"]
    assert (begun["lines"], begun["seconds"]) == (19, round(19 * 0.15))


@pytest.mark.parametrize("name", NAMES)
async def test_a_lock_board_is_found_and_never_opened(line: Line, rig: Rig, name: str) -> None:
    board = Board(name, 3)
    line.answer = board.answer
    await rig.scanner(numbers=range(1, 5)).scan_ports([line.path])
    assert rig.only().address == {"board": 3}
    assert rig.only().matches[0].profile.rpartition("-")[2] == name
    assert board.doors == set()
    dialect = DIALECTS[name]
    opening = {
        dialect.add_checksum(dialect.open_request(b, lock)) for b in range(5) for lock in range(1, 17)
    }
    assert not opening & set(line.requests)
    (bus,) = rig.pasted().buses.values()
    assert bus.options.dialect == name


def test_no_question_of_a_scan_is_an_order_in_another_protocol() -> None:
    """Whatever is on the line hears every question, at whatever it takes it for."""
    polls = [
        d.add_checksum(d.status_request(board)) for d in DIALECTS.values() for board in range(d.max_boards)
    ]
    assert [poll for poll in polls if len(poll) >= 4 and crc16(poll[:-2]) == poll[-2:]] == []
    probes = [(p := bytes((unit, 3, 0, 0, 0, 1))) + crc16(p) for unit in range(1, 248)]
    orders = {
        d.add_checksum(d.open_request(board, lock))
        for d in DIALECTS.values()
        for board in range(d.max_boards)
        for lock in range(1, d.max_locks + 1)
    }
    parts = {p[i:j] for p in [*probes, *polls] for i in range(len(p)) for j in range(i, len(p) + 1)}
    assert not parts & orders


async def test_a_fire_device_that_speaks_is_heard_and_not_answered(line: Line, rig: Rig) -> None:
    async with listening(rig, lambda: rig.scanner().scan_ports([line.path])):
        await repeat(lambda: line.say(PUBLISHED), until=lambda: rig.found)
    assert rig.only().address == {"source": "00:00:00:00:00:00"}
    assert line.requests == []
    assert "scan.spoken" in rig.told()
    (device,) = rig.pasted().devices.values()
    assert device.profile == "fire-panel/gb26875"


async def test_a_line_on_which_somebody_speaks_is_left_alone(line: Line, rig: Rig) -> None:
    """Another master's requests, say."""
    line.answer = units({1: SMOKE})
    gb26875 = DRIVERS["gb26875"]
    assert gb26875.scan
    overhear, taken = gb26875.scan.overhear, asyncio.Event()

    async def overhear_and_tell(options: Any) -> AsyncIterator[Any]:
        assert overhear
        async for overheard in overhear(options):
            yield overheard
            taken.set()

    told = msgspec.structs.replace(gb26875.scan, overhear=overhear_and_tell)
    drivers = {**DRIVERS, "gb26875": msgspec.structs.replace(gb26875, scan=told)}
    async with listening(rig, lambda: rig.scanner(drivers=drivers).scan_ports([line.path])):
        await repeat(lambda: line.say(bytes.fromhex("01030000000A C5CD")), until=taken.is_set)
    assert (rig.found, line.requests) == ([], [])
    assert rig.told()[-1] == "scan.spoken"


async def test_a_port_that_another_process_has_open_is_named_and_left_alone(line: Line, rig: Rig) -> None:
    port = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
    with subprocess.Popen(["sleep", "60"], stdin=port) as other:
        os.close(port)
        try:
            assert port_users(line.path) == [f"{other.pid} (sleep)"]
            await rig.scanner().scan_ports([line.path])
        finally:
            other.kill()
    assert rig.said == [("scan.held", {"place": line.path, "users": f"{other.pid} (sleep)"})]
    assert line.requests == []


async def test_a_port_that_is_locked_or_missing_does_not_end_the_scan(rig: Rig, tmp_path: Path) -> None:
    with new_line() as first, new_line() as second:
        second.answer = units({1: SMOKE})
        holder = os.open(first.path, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(holder, fcntl.LOCK_EX)
        ports = [first.path, str(tmp_path / "none"), second.path]
        await rig.scanner(numbers=[1]).scan_ports(ports)
        os.close(holder)
        assert first.requests == []
    refused = [str(facts["url"]) for key, facts in rig.said if key == "error.line-open"]
    assert refused == ports[:2]
    assert rig.only().target == ports[2]


async def test_ports_are_known_by_their_lasting_names(line: Line, rig: Rig, tmp_path: Path) -> None:
    by_id = tmp_path / "dev/serial/by-id"
    await rig.scanner().scan_ports([], tmp_path)
    assert rig.said == [("scan.ports-none", {})]
    by_id.mkdir(parents=True)
    (by_id / "usb-FTDI_1").symlink_to(line.path)
    line.answer = units({1: SMOKE})
    for named in ([], [line.path]):
        rig.found.clear()
        await rig.scanner(numbers=[1]).scan_ports(named, tmp_path)
        assert rig.only().bus_table["url"] == f"rtu:{by_id}/usb-FTDI_1"


async def test_what_is_configured_is_shown_and_not_suggested(line: Line, rig: Rig) -> None:
    rig.write(
        f"""
        [bus.modbus]
        driver = "modbus"
        url = "rtu:{line.path}"
        [device.smoke-8]
        profile = "smoke/generic-rs485"
        bus = "modbus"
        unit = 7
        """
    )
    line.answer = units({7: SMOKE, 8: SMOKE})
    await rig.scanner(numbers=[7, 8]).scan_ports([line.path])
    assert [(met.configured_as, met.bus) for met in rig.found] == [("smoke-8", "modbus"), ("", "modbus")]
    site = rig.pasted("smoke/generic-rs485")
    assert {name: device.address.unit for name, device in site.devices.items()} == {
        "smoke-8": 7,
        "device-8": 8,
    }
    assert list(site.buses) == ["modbus"]


async def test_a_slave_of_another_make_on_a_serial_line(
    foreign_rtu: Path, tmp_path: Path, rig: Rig
) -> None:
    with chain(tmp_path, foreign_rtu, 17) as path:
        # Of its own unit only: libmodbus takes whatever follows a request to another for the answer to it.
        await rig.scanner(numbers=[17], timeout_s=1.0).scan_ports([str(path)])
    assert rig.only().address == {"unit": 17}
    # It grants every range and shows the addresses as values.
    assert "door-counter/generic-ir2" in [fit.profile for fit in rig.only().matches]
    rig.pasted()


class Tcp:
    """A Modbus TCP_TIMEOUT_S server of the simulated centre's making, with what was asked of whom."""

    def __init__(self, known: dict[int, Any], *, everywhere: bool = False, silent: bool = False) -> None:
        self._known = known
        self._everywhere = everywhere
        self._silent = silent
        """Whether it says nothing of who is absent."""
        self.asked: list[tuple[int, bytes]] = []
        self.connections = 0

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        async with server:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
            while head := await reader.readexactly(MBAP_HEADER.size):
                number, _, length, unit = MBAP_HEADER.unpack(head)
                request = await reader.readexactly(length - 1)
                self.asked.append((unit, request))
                tables = self._known.get(1 if self._everywhere else unit)
                if tables is None and self._silent:
                    continue
                pdu = (
                    exception_response(request[0], 0x0B)
                    if tables is None
                    else build_response(tables, request)
                )
                writer.write(MBAP_HEADER.pack(number, 0, len(pdu) + 1, unit) + pdu)


async def test_units_behind_a_tcp_gateway(rig: Rig) -> None:
    tcp = Tcp({4: SMOKE, 200: SMOKE})
    async with tcp.serve() as place:
        await rig.scanner(timeout_s=1.0).scan_hosts([place])
    assert [met.address for met in rig.found] == [{"unit": 4}, {"unit": 200}]
    # Reads, and the identification by function 43.
    assert {request[0] for _, request in tcp.asked} <= {*READS, 43}
    assert [bus.options.url for bus in rig.pasted().buses.values()] == [f"tcp://{place}"]


async def test_a_device_that_answers_by_any_unit_id_is_one(rig: Rig) -> None:
    tcp = Tcp({1: SMOKE}, everywhere=True)
    async with tcp.serve() as place:
        await rig.scanner(timeout_s=1.0).scan_hosts([place])
    assert rig.only().address == {"unit": 1}
    assert "scan.any" in rig.told()


async def test_rtu_over_tcp(rig: Rig) -> None:
    reply = units({2: SMOKE})
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while request := await reader.read(256):
                heard.append(request)
                writer.writelines(data for _, data in reply(request))

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await rig.scanner(numbers=[1, 2, 3]).scan_hosts([f"127.0.0.1:{port}"])
    assert rig.only().bus_table == {"url": f"rtu+tcp://127.0.0.1:{port}"}
    rig.pasted()


async def test_a_server_of_another_make_introduces_itself(
    foreign_tcp: Callable[[dict[str, Any]], int], rig: Rig
) -> None:
    port = foreign_tcp({"holding": {"0": 1, "1": 1250, "2": 391, "3": 2987}})
    await rig.scanner(numbers=[6, 7], timeout_s=1.0).scan_hosts([f"127.0.0.1:{port}"])
    assert rig.only().identity == {"vendor": "linli", "product": "modbus-serial", "revision": "1.0"}
    assert "smoke/generic-rs485" in [fit.profile for fit in rig.only().matches]


async def test_a_network_is_looked_through_without_stopping_at_anybody(rig: Rig) -> None:
    modbus = DRIVERS["modbus"]
    assert modbus.scan
    scan = msgspec.structs.replace(modbus.scan, tcp_port=free_port())
    drivers = {**DRIVERS, "modbus": msgspec.structs.replace(modbus, scan=scan)}
    await rig.scanner(drivers=drivers).scan_hosts(["127.1.0.0/28"])
    assert rig.said == [("scan.network", {"hosts": 14, "seconds": 0})]
    assert rig.found == []
    for wrong in ("10.0.0.0/8", "10.0.0.0/99", "host:port", ":502"):
        with pytest.raises(GatewayError, match="scan-"):
            await rig.scanner().scan_hosts([wrong])


LORA = {
    "deduplicationId": "1",
    "deviceInfo": {
        "devEui": "24E124713C480123",
        "deviceName": "地下室 \"1\"",
        "deviceProfileName": "Milesight EM300-ZLD",
    },
    "fPort": 85,
    "data": "AXVcA2cKAQRocAUAAQ==",
}  # fmt: skip


BRIDGE_DEVICES = [
    {"ieee_address": "0x00", "type": "Coordinator", "friendly_name": "Coordinator", "definition": None},
    {
        "ieee_address": "0x01",
        "type": "EndDevice",
        "friendly_name": "地下室",
        "definition": {"model": "SJCGQ11LM", "vendor": "Aqara", "description": "Water leak sensor"},
    },
    {"ieee_address": "0x02", "type": "EndDevice", "friendly_name": "odd", "definition": {"model": 3}},
]
"""As zigbee2mqtt publishes it (zigbee2mqtt.io, MQTT topics and messages, `bridge/devices`)."""


async def test_whoever_speaks_at_a_broker(broker: Broker, rig: Rig) -> None:
    def publish(topic: str, payload: object, *options: str) -> None:
        command = [
            "mosquitto_pub",
            "-p",
            str(broker.port),
            "-t",
            topic,
            "-m",
            json.dumps(payload),
            *options,
        ]
        subprocess.run(command, check=True, timeout=10)

    publish("zigbee2mqtt/kitchen", {"temperature": 4.2, "humidity": 40, "battery": 90}, "-r")
    publish("zigbee2mqtt/kitchen/availability", {"state": "online"}, "-r")
    publish("zigbee2mqtt/bridge/info", {"version": "2.1.0", "config": {}}, "-r")
    publish("zigbee2mqtt/bridge/devices", BRIDGE_DEVICES, "-r")
    publish("homeassistant/sensor/0x1/config", {"name": "x"}, "-r")

    def publish_the_rest() -> None:
        publish("application/a/device/24e124713c480123/event/up", LORA)
        publish("plain", "no object")
        publish("odd/√ topic", {"x": {"y": [1, "two\n[bus.evil]"]}})

    async with listening(rig, lambda: rig.scanner().scan_by_listening(broker.url)):
        await repeat(lambda: asyncio.to_thread(publish_the_rest), until=lambda: len(rig.found) >= 4)
    met = {next(iter(one.address.values())): one for one in rig.found}
    assert set(met) == {
        "zigbee2mqtt/kitchen", "zigbee2mqtt/地下室", "24e124713c480123", "odd/√ topic"
    }  # fmt: skip
    assert met["zigbee2mqtt/地下室"].identity == {"maker": "Aqara", "model": "SJCGQ11LM"}
    assert met["zigbee2mqtt/地下室"].matches[0].profile == "water/aqara-sjcgq11lm"
    assert met["zigbee2mqtt/kitchen"].matches[0].profile == "thermometer/generic-mqtt"
    assert met["zigbee2mqtt/kitchen"].identity == {"retained": "true"}
    assert met["24e124713c480123"].matches[0].profile == "water/milesight-em300-zld"
    assert met["24e124713c480123"].identity["profile"] == "Milesight EM300-ZLD"
    assert met["odd/√ topic"].received == {"x.y.0": 1, "x.y.1": "two\n[bus.evil]"}
    site = rig.pasted()
    assert {device.profile for device in site.devices.values()} == {
        "thermometer/generic-mqtt",
        "water/milesight-em300-zld",
        "water/aqara-sjcgq11lm",
    }
    lora = next(d for d in site.devices.values() if d.profile == "water/milesight-em300-zld")
    assert lora.title["zh"].endswith('地下室 "1"')


async def test_a_broker_that_is_away(rig: Rig) -> None:
    with pytest.raises(LinkDown, match="broker-port-closed"):
        await rig.scanner().scan_by_listening("mqtt://127.0.0.1:1")


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BlueZ]:
    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        async with a_bluez() as air:
            yield air


async def test_whoever_advertises(bluez: BlueZ, rig: Rig) -> None:
    rig.write(
        """
        [bus.air]
        driver = "ble"
        [device.back-door]
        profile = "door-contact/generic-bthome"
        bus = "air"
        mac = "aa:00:00:00:00:02"
        """
    )
    ruuvi = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")
    sealed = bytes.fromhex("5859970966BC9CE344EF540108120500 0000715EBE90")
    async with listening(rig, lambda: rig.scanner().scan_by_listening("ble:")):
        await repeat(lambda: None, until=lambda: bluez.adapter.scans)
        bluez.advertise("AA:00:00:00:00:06", b"hello", service=0x1234)
        bluez.advertise("AA:00:00:00:00:02", bytes.fromhex("401A00"), service=0xFCD2)
        bluez.advertise("AA:00:00:00:00:03", bytes.fromhex("402901"), service=0xFCD2)
        bluez.advertise("AA:00:00:00:00:04", ruuvi, maker=0x0499)
        bluez.advertise("54:EF:44:E3:9C:BC", sealed, service=0xFE95)
        bluez.advertise("AA:00:00:00:00:05", b"\x41" + bytes(12), service=0xFCD2)
        await repeat(lambda: None, until=lambda: len(rig.found) >= 5)
    met = {one.address["mac"][-2:]: one for one in rig.found}
    assert set(met) == {"02", "03", "04", "BC", "05"}
    assert met["02"].configured_as == "back-door"
    assert [fit.profile for fit in met["03"].matches] == ["smoke/generic-bthome"]
    assert [fit.profile for fit in met["04"].matches] == ["fridge/ruuvi-ruuvitag"]
    assert [fit.profile for fit in met["BC"].matches] == ["smoke/xiaomi-jtyjgd03mi"]
    assert met["05"].keys_to_fill_in == {"bindkey_file": "/etc/linli/aa0000000005.key"}
    site = rig.pasted()
    assert list(site.buses) == ["air"]
    xiaomi = next(d for d in site.devices.values() if d.profile == "smoke/xiaomi-jtyjgd03mi")
    assert str(xiaomi.address.bindkey_file) == "/etc/linli/54ef44e39cbc.key"
