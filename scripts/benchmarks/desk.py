"""A desk with a call point and a siren, on Modbus TCP: discrete input 0 and coil 0 of any unit.

Prints its URL; a `press` on standard input begins an alarm and is answered, once the siren is on, with the
milliseconds from the first reply that told of the call point to the write that reached the siren. `quiet`
is answered once the siren is off again.
"""

import asyncio
import json
import struct
import sys
import time

HEAD = struct.Struct(">HHHBBHH")


class Desk:
    """The only one: what is pressed, what sounds, and when it was reported."""

    pressed = False
    sounds = False
    told = 0.0
    changed = asyncio.Event()

    @classmethod
    async def talk(cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(request := await reader.read(HEAD.size)) == HEAD.size:
            number, _, _, unit, function, _, word = HEAD.unpack(request)
            if function == 5:
                cls.sounds = word == 0xFF00
                writer.write(request)
                cls.changed.set()
                continue
            bit = cls.pressed if function == 2 else cls.sounds
            if function == 2 and bit and not cls.told:
                cls.told = time.monotonic()
            writer.write(struct.pack(">HHHBBBB", number, 0, 4, unit, function, 1, bit))


async def main() -> None:
    server = await asyncio.start_server(Desk.talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps(f"tcp://127.0.0.1:{port}"), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wanted = line.strip() == "press"
        Desk.pressed, Desk.told = wanted, 0.0
        while Desk.sounds is not wanted:
            Desk.changed.clear()
            await Desk.changed.wait()
        print(json.dumps(round(1000 * (time.monotonic() - Desk.told), 3) if wanted else 0), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
