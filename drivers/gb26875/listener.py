"""Connections of transmission devices: what they are answered, asked and told to do.

Packets of command 1 and 2 are confirmed (3) once the core has taken their reading, so that what a power
cut swallows is sent again. A wrong sum, a wrong end, a command nobody knows and a sender nobody
configured are denied (6): it must show that nobody listens to it. A duty check (91) sent to us is
confirmed like any control packet, but nobody's presence is ever claimed.

A device that is first heard on a connection is asked (4) for its own state (81), that of its systems (61)
and of the components that hold something (62): what happened while nobody listened is learnt, and a device
that does not answer is held to what it told.

Of the control commands there are two: the clock is set (90) when the device has confirmed it, and a duty
check (91, 查岗) is done when somebody at the device has answered it (bit 5 of type 24).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from gateway.model import Device, FailureKind, LinkDown, Listener, Raw, ReadFailed, Value
from gateway.wire.serialport import open_port

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
    Packet,
    china_time,
    split,
)
from .panel import ON_DUTY, OPERATIONS, Panel

ACTIONS = ("duty-check", "set-clock")
CHUNK = 4096
EARLIEST_YEAR = 2026
"""Before it our clock cannot have been set, and must set no other."""

Write = Callable[[bytes], Awaitable[None]]
"""Says something on a connection."""


class FireListener(Listener):
    """One TCP server or serial line with its transmission devices."""

    def __init__(self, options: Options, devices: tuple[Device, ...]) -> None:
        self._options = options
        self._names = {
            bytes.fromhex(device.address.source.replace(":", "")): device.name for device in devices
        }
        self._panels = {name: Panel() for name in self._names.values()}
        self._heard: asyncio.Queue[tuple[str, Raw | ReadFailed, asyncio.Event] | BaseException]
        self._heard = asyncio.Queue()
        self._peers: dict[asyncio.Task[None], bool] = {}
        """Connections, oldest first, and whether a device of ours has spoken there."""
        self._links: dict[str, tuple[Write, Packet]] = {}
        """Where each device was last heard, and what it said."""
        self._told = itertools.cycle(range(1, 0x8000))
        self._replies: dict[tuple[str, int], asyncio.Future[None]] = {}
        """Whoever waits for a command to be confirmed, by device and sequence."""
        self._duty: dict[str, set[asyncio.Future[None]]] = {}
        """Whoever waits for somebody to be on duty."""
        self.address: tuple[str, int] | None = None
        """Where the server listens."""
        self._asked = itertools.cycle(range(0x8000, 0x10000))
        """Sequences: a denial of a question must not pass for that of a command."""

    def restore_state(self, device: str, state: bytes) -> None:
        self._panels[device] = Panel(state)

    async def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        while True:
            heard = await self._heard.get()
            if isinstance(heard, BaseException):
                raise heard
            name, raw, taken = heard
            yield name, raw
            taken.set()

    async def _hand_over(self, name: str, raw: Raw | ReadFailed) -> None:
        """Return when the core has taken it."""
        taken = asyncio.Event()
        self._heard.put_nowait((name, raw, taken))
        await taken.wait()

    async def _answer(self, packet: Packet) -> bytes:
        """What is to be said to a packet, if anything."""
        name = self._names.get(packet.source)
        if not packet.sound:
            if name is not None:
                await self._hand_over(name, ReadFailed("gb26875-sum", FailureKind.DAMAGED))
            return b"" if packet.command in ANSWERS else packet.answer(DENY)
        if name is not None:
            self._follow(name, packet)
            await self._hand_over(name, self._panels[name].take(packet))
        if packet.command in (CONTROL, SEND):
            return packet.answer(DENY if name is None else CONFIRM)
        # We are no source to ask, and a command that nobody knows is denied (6.5 of the standard).
        return b"" if packet.command in ANSWERS else packet.answer(DENY)

    def _follow(self, name: str, packet: Packet) -> None:
        """A command may have been confirmed or denied, or somebody on duty have answered."""
        reply = self._replies.get((name, packet.sequence))
        if reply and not reply.done() and packet.command == CONFIRM:
            reply.set_result(None)
        elif reply and not reply.done() and packet.command == DENY:
            reply.set_exception(ReadFailed("gb26875-denied"))
        if packet.command == SEND and packet.data[:1] == bytes((DEVICE_OPERATION,)):
            acts = packet.data[2 :: OPERATIONS[DEVICE_OPERATION][0]]
            for answer in self._duty.get(name, ()):
                if any(act & ON_DUTY for act in acts) and not answer.done():
                    answer.set_result(None)

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Send a control command; return when it is confirmed, a duty check when it is answered."""
        if action not in ACTIONS:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        if device.name not in self._links:
            raise ReadFailed("gb26875-away")
        write, heard = self._links[device.name]
        if action == "set-clock" and not _clock_is_set():
            raise ReadFailed("clock-unset")
        if action == "set-clock":
            data = bytes((SET_CLOCK, 1)) + china_time()
        else:
            minutes = round(device.confirm_timeout_s(action) / 60)
            data = bytes((DUTY_CHECK, 1, min(max(minutes, 1), 255)))
        sequence = next(self._told)
        key = device.name, sequence
        loop = asyncio.get_running_loop()
        reply = self._replies[key] = loop.create_future()
        duty: asyncio.Future[None] = loop.create_future()
        waiting = self._duty.setdefault(device.name, set())
        waiting.add(duty)
        try:
            await write(heard.control(sequence, data))
            await reply
            if action == "duty-check":
                await duty
        except OSError as error:
            raise ReadFailed("gb26875-away") from error
        finally:
            del self._replies[key]
            waiting.discard(duty)
        return {}

    def _clock(self, packet: Packet) -> bytes:
        """The control packet that sets the device's clock, if it may."""
        if not self._options.set_clock or not _clock_is_set():
            return b""
        return packet.control(0, bytes((SET_CLOCK, 1)) + china_time())

    async def _talk(
        self, read: Callable[[], Awaitable[bytes]], write: Write, known: Callable[[], None]
    ) -> None:
        """Take and answer packets until the stream ends; `known` is called at each of a device of ours."""
        try:
            await self._converse(read, write, known)
        finally:
            gone = [name for name, (used, _) in self._links.items() if used is write]
            for name in gone:
                del self._links[name]

    async def _converse(
        self, read: Callable[[], Awaitable[bytes]], write: Write, known: Callable[[], None]
    ) -> None:
        rest = b""
        greeted: set[bytes] = set()
        while data := await read():
            packets, rest = split(rest + data)
            for packet in packets:
                ours = packet.sound and packet.source in self._names
                if ours:
                    known()
                    self._links[self._names[packet.source]] = write, packet
                if answer := await self._answer(packet):
                    await write(answer)
                if ours and packet.source not in greeted:
                    greeted.add(packet.source)
                    if clock := self._clock(packet):
                        await write(clock)
                    await write(b"".join(self._questions(packet)))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._make_room()
        self._peers[task] = False
        loop = asyncio.get_running_loop()

        async def write(frame: bytes) -> None:
            writer.write(frame)
            await writer.drain()

        try:
            async with asyncio.timeout(self._options.idle) as limit:

                def known() -> None:
                    self._peers[task] = True
                    limit.reschedule(loop.time() + self._options.idle)

                await self._talk(lambda: reader.read(CHUNK), write, known)
        except (OSError, TimeoutError):
            pass  # A peer that is gone, or too quiet, connects again.
        except asyncio.CancelledError:
            pass  # This is the end, and asyncio before Python 3.12 reports a cancelled one as an error.
        finally:
            self._peers.pop(task, None)
            # Not close(): a peer that never reads would keep what waits for it for ever.
            writer.transport.abort()

    def _make_room(self) -> None:
        """When all places are taken the oldest stranger goes, or else the oldest connection."""
        if len(self._peers) >= self._options.connections:
            strangers = (task for task, known in self._peers.items() if not known)
            oldest = next(strangers, next(iter(self._peers)))
            del self._peers[oldest]
            oldest.cancel()

    def _questions(self, packet: Packet) -> Iterator[bytes]:
        """What a device is asked when it is first heard."""
        panel = self._panels[self._names[packet.source]]
        for data in panel.questions() if self._options.ask else ():
            question = msgspec.structs.replace(
                packet,
                sequence=next(self._asked),
                source=packet.destination,
                destination=packet.source,
                command=REQUEST,
                data=data,
            )
            yield question.encode()

    def _broken(self, task: asyncio.Task[None]) -> None:
        """Whoever listens hears why a line ended."""
        if not task.cancelled() and (error := task.exception()):
            self._heard.put_nowait(error)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Accept connections."""
        where = HOST_PORT.fullmatch(self._options.listen)
        assert where
        try:
            server = await asyncio.start_server(
                self._connected, where["host"].strip("[]"), int(where["port"]), limit=CHUNK
            )
        except OSError as error:
            raise LinkDown("line-open", url=self._options.listen, reason=error) from error
        self.address = server.sockets[0].getsockname()[:2]
        try:
            yield
        finally:
            server.close()
            await _end(*self._peers)

    @contextlib.asynccontextmanager
    async def attend(self) -> AsyncIterator[None]:
        """Hear a serial line."""
        async with open_port(self._options.listen, self._options.baud) as port:

            async def write(frame: bytes) -> None:
                port.answer(frame)

            talk = self._talk(port.hear, write, lambda: None)
            task = asyncio.create_task(talk, name="gb26875-serial")
            task.add_done_callback(self._broken)
            try:
                yield
            finally:
                await _end(task)


def _clock_is_set() -> bool:
    return datetime.now(UTC).year >= EARLIEST_YEAR


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
