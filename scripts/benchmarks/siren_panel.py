"""A panel with a call point and a siren, on Modbus TCP: discrete input 0 and coil 0 of any unit.

Prints its URL. `press` on standard input starts an alarm; when the siren is on, the milliseconds from the
first reply with the alarm to the write of the siren are printed. `quiet` is answered when the siren is off
again.
"""

import asyncio
import json
import struct
import sys
import time

REQUEST = struct.Struct(">HHHBBHH")


class SirenPanel:
    """The state of the panel; `alarm_read_t` is the time of the first reply with the alarm."""

    pressed = False
    siren_on = False
    alarm_read_t = 0.0
    changed = asyncio.Event()

    @classmethod
    async def serve(cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(request := await reader.read(REQUEST.size)) == REQUEST.size:
            number, _, _, unit, function, _, word = REQUEST.unpack(request)
            if function == 5:
                cls.siren_on = word == 0xFF00
                writer.write(request)
                cls.changed.set()
                continue
            bit = cls.pressed if function == 2 else cls.siren_on
            if function == 2 and bit and not cls.alarm_read_t:
                cls.alarm_read_t = time.monotonic()
            writer.write(struct.pack(">HHHBBBB", number, 0, 4, unit, function, 1, bit))


async def main() -> None:
    server = await asyncio.start_server(SirenPanel.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps(f"tcp://127.0.0.1:{port}"), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wanted = line.strip() == "press"
        SirenPanel.pressed, SirenPanel.alarm_read_t = wanted, 0.0
        while SirenPanel.siren_on is not wanted:
            SirenPanel.changed.clear()
            await SirenPanel.changed.wait()
        print(
            json.dumps(round(1000 * (time.monotonic() - SirenPanel.alarm_read_t), 3) if wanted else 0),
            flush=True,
        )


if __name__ == "__main__":
    asyncio.run(main())
