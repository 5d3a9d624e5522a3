"""A read that is cancelled ends, at whatever moment the cancellation comes."""

import asyncio
import struct

import pytest

from drivers.modbus import Address, Options, RegisterPoint, connect
from gateway.model import Device


class Slave(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data[:4] + struct.pack(">HBBBH", 5, data[6], 3, 2, 7))


async def test_a_cancellation_that_meets_the_reply_is_not_lost() -> None:
    device = Device(
        name="d", title={}, kind="thermometer", profile="p", bus="b", every=1.0,
        address=Address(unit=1), points={"value": RegisterPoint(address=0)},
    )  # fmt: skip
    server = await asyncio.get_running_loop().create_server(Slave, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cut_short = finished = 0
    async with server:
        for turns in range(60):
            # A new connection each time: what is cut short leaves its reply on the wire.
            async with connect(Options(url=f"tcp://127.0.0.1:{port}"), (device,)) as bus:
                reading = asyncio.create_task(bus.read(device))
                for _ in range(turns % 15):
                    await asyncio.sleep(0)
                if reading.done():
                    finished += 1
                    continue
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                cut_short += 1
    assert cut_short
    assert finished
