"""Hostile Modbus devices, on a pty or on TCP; a separate process.

Every register of every unit holds its own address and unit, so that a value that is taken for another's
shows. Of the requests a part are answered wrongly, as `FAULTS` says. A late reply is sent when its time
has come, whatever has been asked meanwhile. Told "?" on stdin, it says how often it did what.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import struct
import sys
import time
import tty
from collections import Counter
from collections.abc import Callable

from pymodbus.framer import FramerRTU

MBAP = struct.Struct(">HHHB")
SOON = 0.001
"""Seconds within which a line is not silent yet (MODBUS over Serial Line V1.02, 2.5.1.1); a busy machine
may wake us later."""
Send = Callable[[bytes], None]


def value(unit: int, address: int) -> int:
    """The value of a register."""
    return unit << 8 | address & 0xFF


class Liar:
    """Replies to requests, mostly correctly; `patience` is the master's timeout in seconds."""

    def __init__(self, seed: int, part: float, patience: float, *, serial: bool) -> None:
        self._dice = random.Random(seed)
        self._part = part
        self._patience = patience
        self._serial = serial
        self.done: Counter[str] = Counter()

    def take(self, data: bytes, send: Send) -> None:
        """Requests, sent whole."""
        size = 8 if self._serial else 12
        for at in range(0, len(data), size):
            self._answer(data[at : at + size], send)

    def _answer(self, data: bytes, send: Send) -> None:
        number, body = (0, data[:-2]) if self._serial else (MBAP.unpack_from(data)[0], data[6:])
        unit, function, first, count = struct.unpack(">BBHH", body)
        fault = self._dice.choice(FAULTS) if self._dice.random() < self._part else "none"
        self.done[fault] += 1
        good = self._reply(number, unit, function, first, count)
        if fault == "none":
            send(good)
        else:
            getattr(self, fault)(send, good, number, unit, function, first, count)

    def _reply(self, number: int, unit: int, function: int, first: int, count: int) -> bytes:
        registers = (value(unit, address) for address in range(first, first + count))
        return self._frame(number, struct.pack(f">BBB{count}H", unit, function, 2 * count, *registers))

    def _frame(self, number: int, body: bytes) -> bytes:
        if self._serial:
            return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
        return struct.pack(">HHH", number, 0, len(body)) + body

    def _later(self, send: Send, data: bytes, least: float, most: float) -> None:
        asyncio.get_running_loop().call_later(self._patience * self._dice.uniform(least, most), send, data)

    def silent(self, *_: object) -> None:
        """No reply."""

    def late(self, send: Send, good: bytes, *_: object) -> None:
        """Up to ten times the timeout after the request."""
        self._later(send, good, 0.5, 10)

    def twice(self, send: Send, good: bytes, *_: object) -> None:
        """The same reply again, immediately."""
        send(good + good)

    def twice_soon(self, send: Send, good: bytes, *_: object) -> None:
        """The same reply again, before the required silence of the line has passed."""
        send(good)
        sent = time.monotonic()
        time.sleep(0.0003)
        if time.monotonic() < sent + SOON:
            send(good)

    def late_twice(self, send: Send, good: bytes, *_: object) -> None:
        for _ in range(2):
            self._later(send, good, 0.5, 5)

    def garbage(self, send: Send, *_: object) -> None:
        send(self._noise(30))

    def garbage_before(self, send: Send, good: bytes, *_: object) -> None:
        send(self._noise(20) + good)

    def garbage_after(self, send: Send, good: bytes, *_: object) -> None:
        send(good + self._noise(20))

    def partial(self, send: Send, good: bytes, *_: object) -> None:
        """The rest never arrives; on TCP, where nothing can be missing, it arrives immediately."""
        cut = self._dice.randrange(1, len(good))
        send(good[:cut])
        if not self._serial:
            send(good[cut:])

    def partial_then_rest(self, send: Send, good: bytes, *_: object) -> None:
        """The rest arrives late; on TCP, where it would precede any other data, the whole reply."""
        cut = self._dice.randrange(1, len(good)) if self._serial else 0
        send(good[:cut])
        self._later(send, good[cut:], 0.2, 5)

    def flipped(self, send: Send, good: bytes, *_: object) -> None:
        """One bit has changed on the way; not on TCP, which prevents that."""
        if not self._serial:
            return
        at = self._dice.randrange(len(good))
        send(good[:at] + bytes((good[at] ^ 1 << self._dice.randrange(8),)) + good[at + 1 :])

    def other_unit(self, send: Send, _: bytes, number: int, unit: int, *rest: int) -> None:
        send(self._reply(number, unit % 6 + 1, *rest))

    def other_function(self, send: Send, _: bytes, number: int, unit: int, func: int, *rest: int) -> None:
        send(self._reply(number, unit, self._dice.choice((1, 2, 4, 5, 6, 7, 8, 20, 43, 99)), *rest))

    def shorter(self, send: Send, _: bytes, number: int, *rest: int) -> None:
        *same, count = rest
        send(self._reply(number, *same, count - 1))

    def longer(self, send: Send, _: bytes, number: int, *rest: int) -> None:
        *same, count = rest
        send(self._reply(number, *same, count + self._dice.randrange(1, 5)))

    def refused(self, send: Send, _: bytes, number: int, unit: int, func: int, *rest: int) -> None:
        send(self._frame(number, bytes((unit, func | 0x80, self._dice.randrange(1, 12)))))

    def other_number(self, send: Send, _: bytes, number: int, *rest: int) -> None:
        """The number of another transaction, none, or the previous one, with other registers."""
        if not self._serial:
            unit, function, first, count = rest
            wrong = self._dice.choice((0, number - 1, number + 1, number ^ 0x100)) & 0xFFFF
            send(self._reply(wrong, unit, function, first + 100, count))

    def _noise(self, most: int) -> bytes:
        return self._dice.randbytes(self._dice.randrange(1, most))


FAULTS = [name for name in vars(Liar) if not name.startswith("_") and name != "take"]


def listen_on_pty(liar: Liar) -> str:
    near, far = os.openpty()
    tty.setraw(far)
    send = lambda data: os.write(near, data)  # noqa: E731
    asyncio.get_running_loop().add_reader(near, lambda: liar.take(os.read(near, 4096), send))
    return f"rtu:{os.ttyname(far)}"


async def listen_on_tcp(liar: Liar, scheme: str) -> str:
    class Connection(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._transport = transport

        def data_received(self, data: bytes) -> None:
            liar.take(data, self._transport.write)

    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    return f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def main(schemes: list[str], part: float, patience: float) -> None:
    """Start one for each URL scheme; prints their addresses."""
    liars = [Liar(i, part, patience, serial=scheme != "tcp") for i, scheme in enumerate(schemes)]
    urls = [
        listen_on_pty(liar) if scheme == "rtu" else await listen_on_tcp(liar, scheme)
        for liar, scheme in zip(liars, schemes, strict=True)
    ]
    print(json.dumps(urls), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(sum((liar.done for liar in liars), Counter())), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
