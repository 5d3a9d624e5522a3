"""Hostile Modbus slaves, on a pty or on TCP; a separate process.

Every register contains its own address and unit, so that a value attributed to another register is
detected. A share of the requests is answered wrongly, in the ways of `FAULTS`. A late reply is sent at its
time, whatever has been requested in between. On "?" on stdin, the number of each fault is printed.
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
MIN_SILENCE_S = 0.001
"""A shorter pause does not end a frame (MODBUS over Serial Line V1.02, 2.5.1.1); on a busy machine a sleep
may take longer."""
Send = Callable[[bytes], None]


def register_value(unit: int, address: int) -> int:
    """The content of a register."""
    return unit << 8 | address & 0xFF


class HostileSlave:
    """Answers requests, most of them correctly; `timeout_s` is the master's timeout."""

    def __init__(self, seed: int, fault_share: float, timeout_s: float, *, serial: bool) -> None:
        self._random = random.Random(seed)
        self._fault_share = fault_share
        self._timeout_s = timeout_s
        self._serial = serial
        self.fault_counts: Counter[str] = Counter()

    def receive(self, data: bytes, send: Send) -> None:
        """Process complete requests. If there are several, the master has given up all but the last while
        this process was paused, and these are answered late, but rightly: on a serial line nothing tells a
        late reply that has a wrong unit or length as well."""
        size = 8 if self._serial else 12
        for at in range(0, len(data), size):
            self._answer(data[at : at + size], send, is_given_up=at + size < len(data))

    def _answer(self, data: bytes, send: Send, *, is_given_up: bool) -> None:
        number, body = (0, data[:-2]) if self._serial else (MBAP.unpack_from(data)[0], data[6:])
        unit, function, first, count = struct.unpack(">BBHH", body)
        is_faulty = not is_given_up and self._random.random() < self._fault_share
        fault = self._random.choice(FAULTS) if is_faulty else "none"
        self.fault_counts[fault] += 1
        good = self._reply(number, unit, function, first, count)
        if fault == "none":
            send(good)
        else:
            getattr(self, fault)(send, good, number, unit, function, first, count)

    def _reply(self, number: int, unit: int, function: int, first: int, count: int) -> bytes:
        registers = (register_value(unit, address) for address in range(first, first + count))
        return self._frame(number, struct.pack(f">BBB{count}H", unit, function, 2 * count, *registers))

    def _frame(self, number: int, body: bytes) -> bytes:
        if self._serial:
            return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
        return struct.pack(">HHH", number, 0, len(body)) + body

    def _later(self, send: Send, data: bytes, least: float, most: float) -> None:
        asyncio.get_running_loop().call_later(
            self._timeout_s * self._random.uniform(least, most), send, data
        )

    def silent(self, *_: object) -> None:
        """No reply."""

    def late(self, send: Send, good: bytes, *_: object) -> None:
        """After the request by up to ten times the timeout."""
        self._later(send, good, 0.5, 10)

    def twice(self, send: Send, good: bytes, *_: object) -> None:
        """The same reply again, immediately."""
        send(good + good)

    def twice_soon(self, send: Send, good: bytes, *_: object) -> None:
        """The same reply again, before the pause that ends a frame."""
        send(good)
        sent = time.monotonic()
        time.sleep(0.0003)
        if time.monotonic() < sent + MIN_SILENCE_S:
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
        """The rest is missing; on TCP, which cannot lose data, it follows at once."""
        cut = self._random.randrange(1, len(good))
        send(good[:cut])
        if not self._serial:
            send(good[cut:])

    def partial_then_rest(self, send: Send, good: bytes, *_: object) -> None:
        """The rest is late; on TCP, where it would precede all other replies, all of it is."""
        cut = self._random.randrange(1, len(good)) if self._serial else 0
        send(good[:cut])
        self._later(send, good[cut:], 0.2, 5)

    def flipped(self, send: Send, good: bytes, *_: object) -> None:
        """One bit is changed; not on TCP, which has checksums."""
        if not self._serial:
            return
        at = self._random.randrange(len(good))
        send(good[:at] + bytes((good[at] ^ 1 << self._random.randrange(8),)) + good[at + 1 :])

    def other_unit(self, send: Send, _: bytes, number: int, unit: int, *rest: int) -> None:
        send(self._reply(number, unit % 6 + 1, *rest))

    def other_function(self, send: Send, _: bytes, number: int, unit: int, func: int, *rest: int) -> None:
        send(self._reply(number, unit, self._random.choice((1, 2, 4, 5, 6, 7, 8, 20, 43, 99)), *rest))

    def shorter(self, send: Send, _: bytes, number: int, *rest: int) -> None:
        *same, count = rest
        send(self._reply(number, *same, count - 1))

    def longer(self, send: Send, _: bytes, number: int, *rest: int) -> None:
        *same, count = rest
        send(self._reply(number, *same, count + self._random.randrange(1, 5)))

    def refused(self, send: Send, _: bytes, number: int, unit: int, func: int, *rest: int) -> None:
        send(self._frame(number, bytes((unit, func | 0x80, self._random.randrange(1, 12)))))

    def other_number(self, send: Send, _: bytes, number: int, *rest: int) -> None:
        """The number of another transaction, zero, or the one before, with values of other registers."""
        if not self._serial:
            unit, function, first, count = rest
            wrong = self._random.choice((0, number - 1, number + 1, number ^ 0x100)) & 0xFFFF
            send(self._reply(wrong, unit, function, first + 100, count))

    def _noise(self, most: int) -> bytes:
        return self._random.randbytes(self._random.randrange(1, most))


FAULTS = [name for name in vars(HostileSlave) if not name.startswith("_") and name != "receive"]


def listen_on_pty(slave: HostileSlave) -> str:
    near, far = os.openpty()
    tty.setraw(far)
    send = lambda data: os.write(near, data)  # noqa: E731
    asyncio.get_running_loop().add_reader(near, lambda: slave.receive(os.read(near, 4096), send))
    return f"rtu:{os.ttyname(far)}"


async def listen_on_tcp(slave: HostileSlave, scheme: str) -> str:
    class Connection(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._transport = transport

        def data_received(self, data: bytes) -> None:
            slave.receive(data, self._transport.write)

    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    return f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def main(schemes: list[str], fault_share: float, timeout_s: float) -> None:
    """Run a slave for each URL scheme, and print the URLs."""
    slaves = [
        HostileSlave(i, fault_share, timeout_s, serial=scheme != "tcp") for i, scheme in enumerate(schemes)
    ]
    urls = [
        listen_on_pty(slave) if scheme == "rtu" else await listen_on_tcp(slave, scheme)
        for slave, scheme in zip(slaves, schemes, strict=True)
    ]
    print(json.dumps(urls), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(sum((slave.fault_counts for slave in slaves), Counter())), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
