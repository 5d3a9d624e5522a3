"""Whatever strangers send, on every line that listens: it holds the event loop for no longer than 50 ms,
and an honest sender is heard meanwhile.

Slaves that lie (late, doubled, broken and foreign replies, on serial lines and on TCP) are in a process of
their own: scripts/benchmarks/hostile_slaves.py.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from drivers import ble, dlt645, http_push, lockboard, lorawan, modbus, mqtt_json
from drivers.ble.formats import BTHOME, RUUVI_COMPANY_ID, XIAOMI
from drivers.camera.messages import (
    HeartbeatMessage,
    StillMessage,
    ValuesMessage,
    encode_message,
    receive_message,
)
from drivers.dlt645.bus import connect as connect_meters
from drivers.gb26875 import Options, connect
from drivers.http_pull import MAX_RESPONSE_BYTES
from gateway.base import control
from gateway.base.tasks import Signal
from gateway.config import MetricsOptions
from gateway.daemon import metrics
from gateway.model import Bus, Device, LinkDown, Listener, ReadFailed
from gateway.wire.broker import BrokerOptions
from gateway.wire.mqtt import MAX_PACKET_BYTES
from gateway.wire.mqtt import connect as connect_mqtt
from tests.broker import running as running_broker
from tests.drivers import test_http_pull as asked_over_http
from tests.drivers.ble.adverts import FORMAT_5
from tests.drivers.ble.bluez import a_bluez, private_bus
from tests.drivers.ble.test_radio import device as a_sensor
from tests.drivers.conftest import Answer, Line, new_line, rtu
from tests.drivers.dlt645.meters import CAPTURED, WAKE_UP, Replay, a_meter
from tests.drivers.gb26875.frames import CONFIRMED, FIRE, PUBLISHED, STRANGER, component, components, device
from tests.drivers.gb26875.frames import packet as fire_packet
from tests.drivers.gb26875.peer import calling, until
from tests.drivers.modbus.lines import GOOD, a_device, registers
from tests.drivers.test_http_push import bearer
from tests.drivers.test_http_push import door as a_counter
from tests.drivers.test_http_push import request as http_request
from tests.drivers.test_http_push import secret as a_secret
from tests.drivers.test_lockboard import Board, locker
from tests.drivers.test_lorawan import EUI
from tests.drivers.test_lorawan import sensor as a_lorawan_device
from tests.drivers.test_mqtt_json import thermometer
from tests.ports import free_port
from tests.turns import share_of_allowed, watched_turns

ROOT = Path(__file__).parents[2]
STREAM_BYTES, SHORT_STREAM_BYTES = 64 * 1024, 4 * 1024
DRIP_BYTES = 256
MAX_WAIT_S = 180
"""For what takes a moment on a machine that does nothing else."""

Streams = Iterable[tuple[str, list[bytes]]]
"""By name, what a stranger sends, piece by piece."""


def repeated(unit: bytes, size: int = STREAM_BYTES) -> list[bytes]:
    return [unit * (size // len(unit))]


def any_streams() -> Streams:
    """What any line may be sent."""
    for byte in range(256):
        yield f"{byte:#04x} for ever", repeated(bytes((byte,)), SHORT_STREAM_BYTES)
    yield "bytes of every value", repeated(bytes(range(256)))


def fire_streams() -> Streams:
    """By the frames of GB 26875."""
    longest, empty = fire_packet(bytes(1024), STRANGER).encode(), fire_packet(b"", STRANGER).encode()
    ours = fire_packet(components(component(FIRE)))
    nested = fire_packet(b"@@" * 512, STRANGER).encode()
    # Beginnings as dense as they can be, each of a packet of 771 bytes.
    dense = b"@" * 24 + b"\3" * 24
    for unit in (
        b"@",
        b"@@",
        b"##",
        b"@@##",
        longest[:28],
        longest,
        empty,
        nested,
        dense,
        ours.encode()[:-3],
    ):
        yield f"{unit[:28].hex(' ')} … for ever", repeated(unit)
        yield f"{unit[:28].hex(' ')} … byte by byte", [bytes((byte,)) for byte in (unit * 10)[:DRIP_BYTES]]
    yield "wrong sums", repeated(empty[:-3] + bytes((empty[-3] ^ 1,)) + empty[-2:])
    yield "wrong sums of a device of ours", repeated(ours.encode()[:-3] + b"\0##")


class Door(NamedTuple):
    """A line on which strangers can send. `send` returns when all has been taken."""

    send: Callable[[list[bytes]], Awaitable[None]]
    is_heard: Callable[[], Awaitable[bool]]
    """Whether an honest sender is."""


@contextlib.asynccontextmanager
async def taken(listener: Listener) -> AsyncIterator[None]:
    """As the core takes what a listener says."""

    async def take() -> None:
        async for _ in listener.listen():
            pass

    task = asyncio.create_task(take())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def send_to(port: int, pieces: list[bytes]) -> None:
    """On a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await send_on(reader, writer, pieces)


async def send_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: list[bytes]) -> None:
    """Until the other end has closed the connection."""

    async def write() -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            writer.write_eof()

    async with asyncio.timeout(MAX_WAIT_S):
        writing = asyncio.create_task(write())
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
        await writing
    writer.transport.abort()


async def say_on(line: Line | TcpLine, pieces: list[bytes]) -> None:
    """As fast as the line takes it."""
    chunks = [piece[start : start + 512] for piece in pieces for start in range(0, len(piece), 512)]
    while chunks:
        with contextlib.suppress(BlockingIOError):
            line.say(chunks[0])
            del chunks[0]
        await asyncio.sleep(0)


def meter_streams() -> Streams:
    """By the frames of DL/T 645."""
    frames = [bytes.fromhex(reply) for replies in CAPTURED.values() for reply in replies.values()]
    for unit in (WAKE_UP, b"\x68", b"\x16", b"\x68\x16", frames[0][:10], frames[0][:-1], *frames[:3]):
        yield f"{unit.hex(' ')} for ever", repeated(unit)
        yield f"{unit.hex(' ')} byte by byte", [bytes((byte,)) for byte in (unit * 99)[:DRIP_BYTES]]
    yield "frames as long as they can be", repeated(frames[0][:9] + b"\xff" + b"\x68" * 255)


@contextlib.asynccontextmanager
async def fire_panels_on_tcp(folder: Path) -> AsyncIterator[Door]:
    async with connect(Options(listen="127.0.0.1:0", ask=False), (device(),)) as listener, taken(listener):
        assert listener.address
        port = listener.address[1]

        async def is_heard() -> bool:
            async with calling(listener) as panel:
                return await panel.ask(PUBLISHED) == CONFIRMED

        yield Door(lambda pieces: send_to(port, pieces), is_heard)


@contextlib.asynccontextmanager
async def a_fire_panel_on_a_serial_line(folder: Path) -> AsyncIterator[Door]:
    one_at_a_time = asyncio.Lock()
    with new_line() as line:
        async with connect(Options(listen=line.path, ask=False), (device(),)) as listener, taken(listener):

            async def is_heard() -> bool:
                async with one_at_a_time:
                    line.requests.clear()
                    # What a stranger has begun may be as long as a packet.
                    await say_on(line, [bytes(1100), PUBLISHED])
                    await until(lambda: b"".join(line.requests).endswith(CONFIRMED))
                return True

            async def send(pieces: list[bytes]) -> None:
                async with one_at_a_time:
                    await say_on(line, pieces)

            yield Door(send, is_heard)


def http_streams() -> Streams:
    """By HTTP/1.1 and the bodies of counters."""
    head = b"POST /north HTTP/1.1\r\nHost: a\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    for unit in (b"\n", b"\r\n", head, b"GET / HTTP/1.1\r\n\r\n", b"x: y\r\n", b" \r\n", b"%2f"):
        yield f"{unit!r} for ever", repeated(unit)
        yield f"{unit!r} byte by byte", [bytes((byte,)) for byte in (unit * 50)[:DRIP_BYTES]]
        yield f"{unit!r} after a method", [b"GET /", *repeated(unit)]
        yield f"{unit!r} in chunks", [chunked, *repeated(b"1\r\n" + unit[:1] + b"\r\n")]
    yield "a chunk without end", [chunked, *repeated(b"f")]
    yield "a header without end", [head + b"x: ", *repeated(b"y")]
    for unit in (b"[", b'{"a":', b"<a>", b"<a/>", b"9", b'"', b"<!--", b"&amp;", b"<a b='c'/>"):
        body = unit * (STREAM_BYTES // len(unit))
        length = f"Content-Length: {len(body)}\r\n\r\n".encode()
        yield f"{unit!r} in a body", [head + length + body]
        yield (
            f"{unit!r} in an element",
            [head + f"Content-Length: {len(body) + 7}\r\n\r\n<r>".encode() + body + b"</r>"],
        )


def json_streams() -> Streams:
    """By the payloads of devices."""
    for text in ("[", '{"a":', '"', "9", "-", "[0,", '{"t":1}', "1e", "\\u0000", "nan,"):
        yield f"{text!r} for ever", repeated(text.encode())
        yield f"{text!r} in many messages", [text.encode()] * DRIP_BYTES


def large_json_messages() -> list[bytes]:
    """As large as a broker delivers them, and as costly as they can be."""
    size = MAX_PACKET_BYTES - 1000
    units = (
        b"[],",
        b"{},",
        b"0,",
        b'"",',
        b'"]]]]",',
        b"nan,",
        b"a,",
        b"5.,",
        b"'',",
        b'{"a":0},',
        b"{'a':nan},",
    )
    texts = [b'"' + b"[" * size + b'"', b'"' + b"]" * size + b'"', b"9" * size, b"\xb0" * size, b"'" * size]
    return texts + [
        b"[" + unit * (least // len(unit)) + b"0]"
        for unit in units
        for least in (size, 19_000, 15_000, 8000)
    ]


def large_json_streams() -> Streams:
    yield from json_streams()
    for message in large_json_messages():
        yield f"{len(message)} bytes of {message[:12]!r}", [message]


def lorawan_streams() -> Streams:
    """By ChirpStack's events."""
    for records in (b"\3\0\1", b"\xff\xff", b"\1\x75\1"):
        data = base64.b64encode(records * 200_000).decode()
        yield f"{records.hex(' ')} for ever", [json.dumps({**UPLINK, "data": data}).encode()]
    for message in large_json_messages():
        for key in ("time", "rxInfo", "deviceInfo"):
            event = json.dumps({**UPLINK, key: "?"}).encode().replace(b'"?"', message[:1_000_000])
            yield f"{key}: {len(message)} bytes of {message[:12]!r}", [event]


UPLINK = {"deviceInfo": {"devEui": EUI}, "fPort": 85, "data": "AXVc"}


def call_streams() -> Streams:
    """By the lines of the control socket."""
    for line in (b"\n", b"{}\n", b'{"call":"health"}\n', b"[" * 1000 + b"\n", b'{"call":'):
        yield f"{line[:16]!r} for ever", repeated(line)
        yield f"{line[:16]!r} byte by byte", [bytes((byte,)) for byte in (line * 99)[:DRIP_BYTES]]


def reply_streams() -> Streams:
    """By the replies of lock boards and Modbus slaves."""
    for board in (Board("cu16"), Board("cu48b"), Board("xor24"), Board("wkly")):
        reply = board.status()
        for unit in (reply, reply[:-1], reply[:4], reply[:-1] + bytes((reply[-1] ^ 1,))):
            yield f"{unit.hex(' ')} for ever", repeated(unit)
    for unit in (GOOD, GOOD[:-1], GOOD[:3], rtu(7, 3, *range(125)), b"\7\x83\2", b"\7\3\xff"):
        yield f"{unit[:16].hex(' ')} for ever", repeated(unit)
        yield f"{unit[:16].hex(' ')} byte by byte", [bytes((byte,)) for byte in (unit * 99)[:DRIP_BYTES]]
    for head in ("0001000000ff0703", "000100000003078302", "00010000ffff", "000100000000"):
        yield f"MBAP {head} for ever", repeated(bytes.fromhex(head))


def message_streams() -> Streams:
    """By the messages of a camera's process."""
    for message in (HeartbeatMessage(), ValuesMessage("door", {"in": 1}), StillMessage(b"jpeg")):
        unit = encode_message(message)
        yield f"{type(message).__name__} for ever", repeated(unit)
        yield (
            f"{type(message).__name__} byte by byte",
            [bytes((byte,)) for byte in (unit * 99)[:DRIP_BYTES]],
        )
    for body in (b"", b"\xc1", b"\x91" * 4096, b"\xdf\xff\xff\xff\xff"):
        yield f"{body[:8]!r} for ever", repeated(len(body).to_bytes(4) + body)


@contextlib.asynccontextmanager
async def the_process_of_a_camera(folder: Path) -> AsyncIterator[Door]:
    async def send(pieces: list[bytes]) -> None:
        """Until the gateway ends it."""
        near, far = socket.socketpair()
        reader, near_writer = await asyncio.open_connection(sock=near)
        far_reader, far_writer = await asyncio.open_connection(sock=far)

        async def receive() -> None:
            with contextlib.suppress(LinkDown, asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await receive_message(reader, lambda: False)
            near_writer.transport.abort()

        receiving = asyncio.create_task(receive())
        await send_on(far_reader, far_writer, pieces)
        await receiving

    async def is_heard() -> bool:
        await send([encode_message(HeartbeatMessage())])
        return True

    yield Door(send, is_heard)


@contextlib.asynccontextmanager
async def counters_that_push(folder: Path) -> AsyncIterator[Door]:
    port = free_port()
    options = http_push.Options(
        listen=f"127.0.0.1:{port}", secret_file=a_secret(folder, "correct-horse-battery")
    )
    counter = a_counter("/north", a_secret(folder, "another-long-token"))
    async with http_push.connect(options, (counter,)) as listener, taken(listener):

        async def is_heard() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(http_request("/north", b'{"in": 12, "out": 7}', bearer("another-long-token")))
            async with asyncio.timeout(MAX_WAIT_S):
                status = await reader.readline()
            writer.close()
            return b" 200 " in status

        yield Door(lambda pieces: send_to(port, pieces), is_heard)


@contextlib.asynccontextmanager
async def the_metrics(folder: Path) -> AsyncIterator[Door]:
    port = free_port()
    gateway: Any = WellGateway()
    serving = asyncio.create_task(metrics.serve(MetricsOptions(port=port), gateway))

    async def is_heard() -> bool:
        async with asyncio.timeout(MAX_WAIT_S):
            while True:
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                    status = await reader.readuntil(b"\r\n")
                    writer.close()
                    return b" 200 " in status
                await asyncio.sleep(0)

    yield Door(lambda pieces: send_to(port, pieces), is_heard)
    serving.cancel()
    await asyncio.wait([serving])


class WellGateway:
    """As much of a gateway as its health check needs."""

    journal = None

    def health(self) -> dict[str, Any]:
        return {"ok": True}


@contextlib.asynccontextmanager
async def the_control_socket(folder: Path) -> AsyncIterator[Door]:
    async def health(request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True}

    path = folder / "control.sock"
    async with control.serve_control_socket(path, {"health": health}):

        async def is_heard() -> bool:
            return await control.call_daemon(path, "health") == {"ok": True}

        async def send(pieces: list[bytes]) -> None:
            await send_on(*await asyncio.open_unix_connection(path), pieces)

        yield Door(send, is_heard)


@contextlib.asynccontextmanager
async def a_lock_board(folder: Path) -> AsyncIterator[Door]:
    device, board = locker(), Board("cu16")
    options = lockboard.Options(port="", dialect="cu16", timeout=0.02)
    with new_line() as line:
        options = msgspec.structs.replace(options, port=line.path)
        async with lockboard.connect(options, ()) as bus:
            yield liar(line, bus, device, board.answer)


@contextlib.asynccontextmanager
async def a_modbus_slave(folder: Path) -> AsyncIterator[Door]:
    with new_line() as line:
        options = modbus.Options(url=f"rtu:{line.path}", timeout=0.02)
        async with modbus.connect(options, ()) as bus:
            yield liar(line, bus, a_device(), lambda request: [(0, registers(request))])


@contextlib.asynccontextmanager
async def a_meter_on_a_serial_line(folder: Path) -> AsyncIterator[Door]:
    with new_line() as line:
        options = dlt645.Options(url=f"serial:{line.path}", timeout=0.02, settle=0.0)
        async with connect_meters(options, ()) as bus:
            yield liar(line, bus, a_meter(), Replay("000000000161").answer)


class TcpLine:
    """The far end of a TCP connection, as if it were that of a serial line."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: []
        self._writer: asyncio.StreamWriter | None = None
        self._served: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._served.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while request := await reader.read(4096):
                for _, reply in self.answer(request):
                    writer.write(reply)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def wait_closed(self) -> None:
        """Until every client's connection is closed."""
        await asyncio.gather(*filter(None, self._served))

    def say(self, data: bytes) -> None:
        if self._writer and not self._writer.is_closing():
            self._writer.write(data)


@contextlib.asynccontextmanager
async def a_modbus_server(folder: Path) -> AsyncIterator[Door]:
    line = TcpLine()
    async with await asyncio.start_server(line.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        options = modbus.Options(url=f"tcp://127.0.0.1:{port}", timeout=0.02)
        async with modbus.connect(options, ()) as bus:

            def honest(request: bytes) -> list[tuple[float, bytes]]:
                return [(0.0, request[:4] + bytes((0, 5, request[6], 3, 2, 4, 210)))]

            yield liar(line, bus, a_device(), honest)
        await line.wait_closed()


@contextlib.asynccontextmanager
async def a_device_asked_over_http(folder: Path) -> AsyncIterator[Door]:
    async with asked_over_http.serving() as server, asked_over_http.bus(server.url) as bus:
        camera, one_at_a_time = asked_over_http.camera(), asyncio.Lock()

        async def read(body: bytes) -> bool:
            async with one_at_a_time:
                server.says = lambda _: asked_over_http.answer(body)
                return bool(await bus.read(camera))

        async def send(pieces: list[bytes]) -> None:
            with contextlib.suppress(ReadFailed):
                await read(b"".join(pieces)[:MAX_RESPONSE_BYTES])

        yield Door(send, functools.partial(read, asked_over_http.JSON))


def liar(line: Line | TcpLine, bus: Bus, device: Device, honest: Answer) -> Door:
    """A device on a line that answers one request with a stream, and the next ones as it should."""
    one_at_a_time = asyncio.Lock()

    async def send(pieces: list[bytes]) -> None:
        async with one_at_a_time:
            line.answer = lambda _: []
            pouring = asyncio.create_task(say_on(line, pieces))
            with contextlib.suppress(ReadFailed):
                await bus.read(device)
            await pouring

    async def is_heard() -> bool:
        async with one_at_a_time:
            line.answer = honest
            async with asyncio.timeout(MAX_WAIT_S):
                while True:
                    with contextlib.suppress(ReadFailed):
                        return bool(await bus.read(device))

    return Door(send, is_heard)


@contextlib.asynccontextmanager
async def devices_of_a_broker(folder: Path) -> AsyncIterator[Door]:
    devices = thermometer("a", "z/a"), thermometer("b", "z/b")
    with running_broker(folder) as broker:
        connecting = mqtt_json.connect(BrokerOptions(url=broker.url), devices)
        async with behind_a_broker(broker.url, connecting, "z/b", "z/a", b'{"t": 4.2}') as door:
            yield door


@contextlib.asynccontextmanager
async def devices_of_a_lorawan_server(folder: Path) -> AsyncIterator[Door]:
    model = "gas/milesight-gs101"
    devices = a_lorawan_device(model, "a", "24e124136d151201"), a_lorawan_device(model, "b")
    topics = [f"application/a1/device/{device.address.dev_eui}/event/up" for device in devices]
    honest = {**UPLINK, "deviceInfo": {"devEui": devices[0].address.dev_eui}}
    with running_broker(folder) as broker:
        connecting = lorawan.connect(lorawan.Options(url=broker.url), devices)
        message = json.dumps(honest).encode()
        async with behind_a_broker(broker.url, connecting, topics[1], topics[0], message) as door:
            yield door


@contextlib.asynccontextmanager
async def behind_a_broker(
    url: str,
    connecting: contextlib.AbstractAsyncContextManager[Listener],
    strange_topic: str,
    honest_topic: str,
    honest: bytes,
) -> AsyncIterator[Door]:
    """Devices, of which one is called "a" and publishes the honest message."""
    options = BrokerOptions(url=url)
    async with connect_mqtt(options) as stranger, connect_mqtt(options) as sender, connecting as listener:
        heard = Signal()

        async def take() -> None:
            async for name, _ in listener.listen():
                if name == "a":
                    heard.send()

        async def send(pieces: list[bytes]) -> None:
            for piece in pieces:
                await stranger.publish(strange_topic, piece)

        async def is_heard() -> bool:
            async with asyncio.timeout(MAX_WAIT_S):
                waiting = asyncio.create_task(heard.wait())
                while not waiting.done():  # It hears nothing before it has subscribed.
                    await sender.publish(honest_topic, honest)
                    await asyncio.wait([waiting], timeout=0.2)
            return True

        task = asyncio.create_task(take())
        yield Door(send, is_heard)
        task.cancel()
        await asyncio.wait([task])


def advertisement_streams() -> Streams:
    """By the formats of advertisements."""
    for unit in (
        b"\x40",
        b"\x44\0",
        b"\x41",
        b"\x40\x53\xff",
        b"\x58\x59\x97\x09",
        FORMAT_5,
        b"\x40\x54\xff",
    ):
        yield f"{unit.hex(' ')} for ever", repeated(unit)


@contextlib.asynccontextmanager
async def sensors_in_the_air(folder: Path) -> AsyncIterator[Door]:
    stranger, sensor = "C0:00:00:00:00:01", "C0:00:00:00:00:02"
    with private_bus(folder) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        devices = a_sensor("a", sensor, smoke="smoke"), a_sensor("b", stranger, smoke="smoke")
        async with a_bluez() as bluez, ble.connect(ble.Options(), devices) as listener:
            heard, count = Signal(), itertools.count()

            async def take() -> None:
                async for name, _ in listener.listen():
                    if name == "a":
                        heard.send()

            async def send(pieces: list[bytes]) -> None:
                stream = b"".join(pieces)[: 5 * 250]
                for start in range(0, len(stream), 250):
                    for service, maker in ((BTHOME, 0), (XIAOMI, 0), (0, RUUVI_COMPANY_ID)):
                        bluez.advertise(stranger, stream[start : start + 250], service, maker)
                        await asyncio.sleep(0)

            async def is_heard() -> bool:
                async with asyncio.timeout(MAX_WAIT_S):
                    waiting = asyncio.create_task(heard.wait())
                    while not waiting.done():
                        bluez.advertise(sensor, bytes((0x40, 0, next(count) % 256, 0x29, 0)), BTHOME)
                        await asyncio.wait([waiting], timeout=0.1)
                return True

            task = asyncio.create_task(take())
            yield Door(send, is_heard)
            task.cancel()
            await asyncio.wait([task])


OpenDoor = Callable[[Path], contextlib.AbstractAsyncContextManager[Door]]
DOORS: list[tuple[OpenDoor, Callable[[], Streams]]] = [
    (fire_panels_on_tcp, fire_streams),
    (a_fire_panel_on_a_serial_line, fire_streams),
    (counters_that_push, http_streams),
    (the_metrics, http_streams),
    (the_control_socket, call_streams),
    (the_process_of_a_camera, message_streams),
    (a_lock_board, reply_streams),
    (a_modbus_slave, reply_streams),
    (a_modbus_server, reply_streams),
    (a_meter_on_a_serial_line, meter_streams),
    (a_device_asked_over_http, large_json_streams),
    (devices_of_a_broker, large_json_streams),
    (devices_of_a_lorawan_server, lorawan_streams),
    (sensors_in_the_air, advertisement_streams),
]


async def longest_turn_s(door: Door, name: str, pieces: list[bytes]) -> float:
    with watched_turns() as turns:
        flood = asyncio.create_task(door.send(pieces))
        heard = await door.is_heard()
        await flood
        heard = heard and await door.is_heard()
    assert heard, name
    assert turns.count > 1
    return turns.longest_s


@pytest.mark.timeout(3 * MAX_WAIT_S)
@pytest.mark.parametrize(("door", "own_streams"), DOORS, ids=[door.__name__ for door, _ in DOORS])
async def test_no_stranger_holds_the_loop(
    door: OpenDoor, own_streams: Callable[[], Streams], tmp_path: Path
) -> None:
    held: dict[str, float] = {}
    async with door(tmp_path) as opened:
        assert await opened.is_heard()
        for name, pieces in (*any_streams(), *own_streams()):
            held[name] = await share_of_allowed(functools.partial(longest_turn_s, opened, name, pieces))
    slowest = max(held, key=lambda name: held[name])
    assert held[slowest] < 1, slowest


def test_no_value_is_ever_taken_for_anothers() -> None:
    command = [sys.executable, "scripts/benchmarks", "hostile", "--quick", "--json"]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(run.stdout.splitlines()[-1])["hostile"]
    assert figures["misattributed"] == 0
    assert figures["transactions"] >= 4000
    assert figures["readings"] > 0.5 * figures["polls"]
    # Each kind of lie was told, and who believes everything reads wrong values.
    assert all(count > 0 for name, count in figures.items() if name.startswith("lie_"))
    assert figures["misattributed_reference"] > 0
