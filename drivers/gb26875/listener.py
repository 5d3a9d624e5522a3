"""Connections of transmission devices: the answers, requests and commands that are sent to them.

Packets of command 1 and 2 are confirmed (3) once the core has processed their reading, so that what a
power cut loses is sent again. A wrong sum, a wrong end, an unknown command and a sender that is not
configured are denied (6), so that the device shows a fault; but a sound packet of such a sender is
reported, with the fires in it. What a damaged packet says is not known, so a fire in it is none (the
standard has it denied and sent again, up to three times); one that comes again with the same content was
not damaged on the way, and its fire counts. A connection without a sound packet is told of once for its
address. A duty check (91) sent to us is confirmed like any control packet, but never answered as by a
person.

A device is asked (4), at its first packet on a connection, for its own state (81), that of its systems
(61) and of the components with a state (62), to learn what happened in the meantime. If it does not
answer, what it reported before holds.

Of the control commands there are two: the clock is set (90) when the device has confirmed it, and a duty
check (91, 查岗) is done when somebody at the device has answered it (bit 5 of type 24).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from gateway.model import (
    Device,
    FailureKind,
    LinkDown,
    Listener,
    Raw,
    ReadFailed,
    Role,
    UnknownSender,
    Value,
)
from gateway.wire.notices import Notices
from gateway.wire.serialport import open_port
from gateway.wire.tcp_server import TcpClient, TcpLimits, serve_tcp
from gateway.wire.turns import FairTurns

from .options import HOST_PORT, Options
from .packets import (
    ANSWERS,
    CONFIRM,
    CONTROL,
    DENY,
    DEVICE_OPERATION,
    DUTY_CHECK,
    REQUEST,
    SEND,
    SET_CLOCK,
    FirePacket,
    PacketStream,
    china_time,
)
from .panel import DUTY_ANSWERED, OPERATION_FORMATS, Panel

ACTIONS = {"duty-check": Role.DUTY, "set-clock": Role.MANAGER}
READ_BYTES = 1024
"""The bytes of one turn: what strangers send must not hold the event loop."""
MAX_UNKNOWN_DEVICES, MAX_UNKNOWN_PARTS = 32, 64
"""Devices that are not configured whose states are held, and how many states of each."""
MAX_STRANGERS_PER_ADDRESS = 16
"""Connections of one address without a packet of a configured device."""
FIRST_PACKET_S = 60.0
"""In which a connection must bring such a packet."""
EARLIEST_YEAR = 2026
"""Before it, our clock has not been set and must not set another one."""

Write = Callable[[bytes], Awaitable[None]]
"""Sends bytes on a connection."""


class _Peer(NamedTuple):
    """The other end of a connection or serial line. `on_configured` is called for each packet of a
    configured device; the `address` has the turns of all others."""

    address: str
    read: Callable[[], Awaitable[bytes]]
    write: Write
    on_configured: Callable[[], None]


class FireListener(Listener):
    """One TCP server or serial line with its transmission devices."""

    def __init__(self, options: Options, devices: tuple[Device, ...]) -> None:
        self._options = options
        self._names = {
            bytes.fromhex(device.address.source.replace(":", "")): device.name for device in devices
        }
        self._panels = {name: Panel() for name in self._names.values()}
        self._last_damaged: dict[str, tuple[tuple[int, bytes], int]] = {}
        """By device, command and data of the last packet with a wrong sum or end, and how often it came."""
        self._unknown: dict[bytes, tuple[Panel, dict[str, str]]] = {}
        """Devices that are not configured, by their sources, and their fires; the newest last."""
        self._messages: asyncio.Queue[tuple[str, Raw | ReadFailed, asyncio.Event] | BaseException]
        self._messages = asyncio.Queue()
        self._turns = FairTurns(options.connections)
        """Of devices, and of the addresses of strangers: to search some bytes, and to let the core process
        a packet."""
        self._connections: dict[str, tuple[Write, FirePacket]] = {}
        """By device, the connection of its last packet, and that packet."""
        self._command_sequences = itertools.cycle(range(1, 0x8000))
        self._replies: dict[tuple[str, int], asyncio.Future[None]] = {}
        """Commands that wait for their confirmation, by device and sequence."""
        self._duty_checks: dict[str, set[tuple[asyncio.Future[None], asyncio.Future[None]]]] = {}
        """By device, the confirmation and the answer of each duty check in progress. The answer does not
        say which one it is for: what comes before the confirmation is for an earlier one."""
        self._notices = Notices()
        self.address: tuple[str, int] | None = None
        """The address on which the server listens."""
        self._query_sequences = itertools.cycle(range(0x8000, 0x10000))
        """Apart from those of commands, so that a denied request is not taken for a denied command."""

    def restore_state(self, device: str, state: bytes) -> None:
        self._panels[device] = Panel(state)

    def notices(self) -> Iterable[tuple[str, Mapping[str, Any]]]:
        return self._notices

    async def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        while True:
            message = await self._messages.get()
            if isinstance(message, BaseException):
                raise message
            name, raw, processed = message
            yield name, raw
            processed.set()

    async def _deliver(self, name: str, raw: Raw | ReadFailed) -> None:
        """Pass a reading to the core. Returns when it has been processed."""
        processed = asyncio.Event()
        self._messages.put_nowait((name, raw, processed))
        await processed.wait()

    async def _process_damaged(self, name: str, address: str, packet: FirePacket | None = None) -> None:
        """Report a damaged packet, and the fire in one that comes again with the same content."""
        self._notices.add("packet-damaged", address, device=name)
        if packet:
            content = packet.command, packet.data
            last, times = self._last_damaged.get(name, (content, 0))
            times = times + 1 if last == content else 1
            self._last_damaged[name] = content, times
            # Once: a reading of it is not to make the device work again each time.
            places = Panel().apply_packet(packet).places if times == 2 else {}
            if places and (places["fire"] or places["manual_alarm"]):
                await self._deliver(name, self._panels[name].apply_packet(packet))
        await self._deliver(name, ReadFailed("gb26875-sum", FailureKind.DAMAGED))

    async def _process_packet(self, packet: FirePacket, address: str) -> bytes:
        """Process a packet from that network address. Returns the answer, empty for none."""
        name = self._names.get(packet.source)
        if not packet.sound:
            if name is not None:
                await self._process_damaged(name, address, packet)
            return b"" if packet.command in ANSWERS else packet.answer(DENY)
        if name is not None:
            self._resolve_commands(name, packet)
            await self._deliver(name, self._panels[name].apply_packet(packet))
        else:
            await self._deliver("", self._apply_unknown(packet))
        if packet.command in (CONTROL, SEND):
            return packet.answer(DENY if name is None else CONFIRM)
        # We have no states to request, and an unknown command is denied (6.5 of the standard).
        return b"" if packet.command in ANSWERS else packet.answer(DENY)

    def _apply_unknown(self, packet: FirePacket) -> UnknownSender:
        """A packet of a device that is not configured. The states of some such devices are held; one
        without a fire gives way to another."""
        source = packet.source
        panel, _ = self._unknown.pop(source, (Panel(max_parts=MAX_UNKNOWN_PARTS), {}))
        places = panel.apply_packet(packet).places
        fires = {**places["fire"], **places["manual_alarm"]}
        if len(self._unknown) >= MAX_UNKNOWN_DEVICES:
            quiet = next((other for other, (_, held) in self._unknown.items() if not held), None)
            if quiet is not None:
                del self._unknown[quiet]
        if len(self._unknown) < MAX_UNKNOWN_DEVICES:
            self._unknown[source] = panel, fires
        like = self._names.get(source[::-1], "")
        return UnknownSender(address={"source": source.hex(":").upper()}, like=like, fires=fires)

    def _resolve_commands(self, name: str, packet: FirePacket) -> None:
        """Finish the commands that this packet confirms, denies or answers."""
        reply = self._replies.get((name, packet.sequence))
        if reply and not reply.done() and packet.command == CONFIRM:
            reply.set_result(None)
        elif reply and not reply.done() and packet.command == DENY:
            reply.set_exception(ReadFailed("gb26875-denied"))
        if packet.command == SEND and packet.data[:1] == bytes((DEVICE_OPERATION,)):
            acts = packet.data[2 :: OPERATION_FORMATS[DEVICE_OPERATION][0]]
            for confirmation, answer in self._duty_checks.get(name, ()):
                is_asked = confirmation.done() and not answer.done()
                if is_asked and any(act & DUTY_ANSWERED for act in acts):
                    answer.set_result(None)

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Send a control command; return when it is confirmed, a duty check when it is answered."""
        if action not in ACTIONS:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        if device.name not in self._connections:
            raise ReadFailed("gb26875-away")
        write, last_packet = self._connections[device.name]
        if action == "set-clock" and not _clock_is_set():
            raise ReadFailed("clock-unset")
        if action == "set-clock":
            data = bytes((SET_CLOCK, 1)) + china_time()
        else:
            minutes = round(device.confirm_timeout_s(action) / 60)
            data = bytes((DUTY_CHECK, 1, min(max(minutes, 1), 255)))
        sequence = next(self._command_sequences)
        key = device.name, sequence
        loop = asyncio.get_running_loop()
        reply = self._replies[key] = loop.create_future()
        duty: asyncio.Future[None] = loop.create_future()
        checks = self._duty_checks.setdefault(device.name, set())
        checks.add((reply, duty))
        try:
            await write(last_packet.control(sequence, data))
            await reply
            if action == "duty-check":
                await duty
        except OSError as error:
            raise ReadFailed("gb26875-away") from error
        finally:
            del self._replies[key]
            checks.discard((reply, duty))
        return {}

    def _clock_packet(self, packet: FirePacket) -> bytes:
        """The control packet that sets the device's clock; empty if that is not allowed."""
        if not self._options.set_clock or not _clock_is_set():
            return b""
        return packet.control(0, bytes((SET_CLOCK, 1)) + china_time())

    async def _serve_connection(self, peer: _Peer, stream: PacketStream) -> None:
        """Process and answer packets until the stream ends."""
        try:
            await self._process_stream(peer, stream)
        finally:
            gone = [name for name, (used, _) in self._connections.items() if used is peer.write]
            for name in gone:
                del self._connections[name]

    async def _process_stream(self, peer: _Peer, stream: PacketStream) -> None:
        seen: set[bytes] = set()
        sender = peer.address
        while data := await peer.read():
            packets = await self._find_packets(stream, data, sender)
            for source in stream.damaged:
                name = self._names[source]
                async with self._turns.turn(name, 0):
                    await self._process_damaged(name, peer.address)
            stream.damaged.clear()
            for packet in packets:
                ours = packet.sound and packet.source in self._names
                sender = self._names[packet.source] if ours else peer.address
                if ours:
                    peer.on_configured()
                    self._connections[sender] = peer.write, packet
                async with self._turns.turn(sender, len(packet.data)):
                    answer = await self._process_packet(packet, peer.address)
                if answer:
                    await peer.write(answer)
                if ours and packet.source not in seen:
                    seen.add(packet.source)
                    if clock := self._clock_packet(packet):
                        await peer.write(clock)
                    await peer.write(b"".join(self._state_queries(packet)))

    async def _find_packets(self, stream: PacketStream, data: bytes, sender: str) -> list[FirePacket]:
        packets: list[FirePacket] = []
        for start in range(0, len(data), READ_BYTES):
            piece = data[start : start + READ_BYTES]
            async with self._turns.turn(sender, len(piece)):
                packets += stream.feed(piece)
                await asyncio.sleep(0)
        return packets

    async def _serve_client(self, client: TcpClient) -> None:
        async def write(frame: bytes) -> None:
            client.writer.write(frame)
            await client.writer.drain()

        stream, is_late = PacketStream(self._names), False
        try:
            async with asyncio.timeout(min(self._options.idle, FIRST_PACKET_S)) as limit:

                def on_configured() -> None:
                    client.trust()
                    limit.reschedule(asyncio.get_running_loop().time() + self._options.idle)

                read = functools.partial(client.reader.read, READ_BYTES)
                await self._serve_connection(_Peer(client.network, read, write, on_configured), stream)
        except OSError:
            is_late = limit.expired()
        if not stream.has_sound_packet and (stream.received_bytes or is_late):
            self._notices.add("packet-missing", client.network, bytes=stream.received_bytes)

    def _state_queries(self, packet: FirePacket) -> Iterator[bytes]:
        """The requests for a device's states, at its first packet on a connection."""
        panel = self._panels[self._names[packet.source]]
        for data in panel.state_queries() if self._options.ask else ():
            question = msgspec.structs.replace(
                packet,
                sequence=next(self._query_sequences),
                source=packet.destination,
                destination=packet.source,
                command=REQUEST,
                data=data,
            )
            yield question.encode()

    def _report_failure(self, task: asyncio.Task[None]) -> None:
        """Pass the error that ended a serial line to `listen`."""
        if not task.cancelled() and (error := task.exception()):
            self._messages.put_nowait(error)

    @contextlib.asynccontextmanager
    async def open_server(self) -> AsyncIterator[None]:
        """Accept connections."""
        options = self._options
        where = HOST_PORT.fullmatch(options.listen)
        assert where
        limits = TcpLimits(
            options.connections,
            min(options.connections, MAX_STRANGERS_PER_ADDRESS),
            READ_BYTES,
        )
        async with contextlib.AsyncExitStack() as stack:
            try:
                self.address = await stack.enter_async_context(
                    serve_tcp(where["host"].strip("[]"), int(where["port"]), self._serve_client, limits)
                )
            except OSError as error:
                raise LinkDown("line-open", url=options.listen, reason=error) from error
            yield

    @contextlib.asynccontextmanager
    async def open_serial(self) -> AsyncIterator[None]:
        """Receive from a serial line."""
        async with open_port(self._options.listen, self._options.baud) as port:

            async def write(frame: bytes) -> None:
                port.write(frame)

            peer = _Peer(self._options.listen, port.read_available, write, lambda: None)
            serving = self._serve_connection(peer, PacketStream(self._names))
            task = asyncio.create_task(serving, name="gb26875-serial")
            task.add_done_callback(self._report_failure)
            try:
                yield
            finally:
                await _cancel(task)


def _clock_is_set() -> bool:
    return datetime.now(UTC).year >= EARLIEST_YEAR


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
