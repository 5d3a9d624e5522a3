"""A fast Modbus TCP device, so that the figures measure the daemon; a separate process.

Every unit answers function 3 from 128 registers, after a while if one is given. The first four are the
instant of the answer and the next four the same at every other poll and 0 between: a value that reaches
the broker says by itself when it was read, and an alarm point on it is raised by every other poll. The
rest wander.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import random
import struct
import sys
import time
from collections import defaultdict

STAMP, LEVEL, FIRST = 0, 4, 8
"""Addresses: both instants are uint64, microseconds of the monotonic clock (one for all processes)."""
REGISTERS = 128
REQUEST = struct.Struct(">HHHBBHH")
REPLY = struct.Struct(">HHHBBB")
INSTANTS = struct.Struct(">QQ")


def _wander(steps: int) -> list[bytes]:
    """Registers as sensors send them: each value differs a little from the one before, or not at all."""
    dice = random.Random(1)
    values = [dice.randrange(100, 400) for _ in range(REGISTERS - FIRST)]
    images = []
    for _ in range(steps):
        values = [max(0, value + dice.choice((-1, 0, 0, 1))) for value in values]
        images.append(struct.pack(f">{len(values)}H", *values))
    return images


IMAGES = _wander(251)
POLLS: defaultdict[tuple[int, int], itertools.count[int]] = defaultdict(itertools.count)
"""By port and unit."""


class Slave(asyncio.Protocol):
    """One connection; `thinking` seconds between request and reply."""

    def __init__(self, thinking: float) -> None:
        self._thinking = thinking

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port = transport.get_extra_info("sockname")[1]
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= REQUEST.size:
            number, _, _, unit, function, first, count = REQUEST.unpack_from(self._buffer)
            self._buffer = self._buffer[REQUEST.size :]
            poll = next(POLLS[self._port, unit])
            now = time.monotonic_ns() // 1000
            wandering = IMAGES[(unit * 17 + poll) % len(IMAGES)]
            image = INSTANTS.pack(now, now if poll % 4 >= 2 else 0) + wandering
            head = REPLY.pack(number, 0, 3 + 2 * count, unit, function, 2 * count)
            reply = head + image[2 * first : 2 * (first + count)]
            if self._thinking:
                asyncio.get_running_loop().call_later(self._thinking, self._transport.write, reply)
            else:
                self._transport.write(reply)


async def main(connections: int, thinking: float) -> None:
    """Listen on the given number of ports, and print them."""
    loop = asyncio.get_running_loop()
    slave = functools.partial(Slave, thinking)
    servers = [await loop.create_server(slave, "127.0.0.1", 0) for _ in range(connections)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(json.dumps([f"tcp://127.0.0.1:{port}" for port in ports]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
