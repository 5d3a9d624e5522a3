"""A fast Modbus TCP slave, so that the figures measure the daemon; a separate process.

Every unit answers function 3 from 128 registers, after an optional delay. The first four registers are the
time of the answer. The next four are the same for two polls, and 0 for the next two. So a value at the
broker contains the time it was read, and an alarm point on it is raised again and again. The rest is a
random walk.
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

STAMP_ADDRESS, LEVEL_ADDRESS, FIRST_VALUE_ADDRESS = 0, 4, 8
"""Addresses: both instants are uint64, microseconds of the monotonic clock (one for all processes)."""
REGISTERS = 128
REQUEST = struct.Struct(">HHHBBHH")
REPLY = struct.Struct(">HHHBBB")
INSTANTS = struct.Struct(">QQ")


def _random_walk(steps: int) -> list[bytes]:
    """Registers like those of sensors: each image differs little from the one before."""
    dice = random.Random(1)
    values = [dice.randrange(100, 400) for _ in range(REGISTERS - FIRST_VALUE_ADDRESS)]
    images = []
    for _ in range(steps):
        values = [max(0, value + dice.choice((-1, 0, 0, 1))) for value in values]
        images.append(struct.pack(f">{len(values)}H", *values))
    return images


REGISTER_IMAGES = _random_walk(251)
POLL_COUNTERS: defaultdict[tuple[int, int], itertools.count[int]] = defaultdict(itertools.count)
"""By port and unit."""


class Slave(asyncio.Protocol):
    """One connection; `reply_delay_s`: time between request and reply."""

    def __init__(self, reply_delay_s: float) -> None:
        self._reply_delay_s = reply_delay_s

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
            poll = next(POLL_COUNTERS[self._port, unit])
            now = time.monotonic_ns() // 1000
            values = REGISTER_IMAGES[(unit * 17 + poll) % len(REGISTER_IMAGES)]
            image = INSTANTS.pack(now, now if poll % 4 >= 2 else 0) + values
            head = REPLY.pack(number, 0, 3 + 2 * count, unit, function, 2 * count)
            reply = head + image[2 * first : 2 * (first + count)]
            if self._reply_delay_s:
                asyncio.get_running_loop().call_later(self._reply_delay_s, self._transport.write, reply)
            else:
                self._transport.write(reply)


async def main(connections: int, reply_delay_s: float) -> None:
    """Listen on so many ports, and print the URLs."""
    loop = asyncio.get_running_loop()
    slave = functools.partial(Slave, reply_delay_s)
    servers = [await loop.create_server(slave, "127.0.0.1", 0) for _ in range(connections)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(json.dumps([f"tcp://127.0.0.1:{port}" for port in ports]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
