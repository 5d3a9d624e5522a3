"""The simulated centre: a realistic neighbourhood centre with real wire protocols.

It is independent of the gateway: it imports nothing of it and shares no Modbus library with its
drivers, so that both agree only on the protocol. Door counters, bay detectors and the gas
detector speak Modbus TCP; smoke detectors and the electrical-fire monitor Modbus RTU; the parcel
lockers CU16; the fridge thermometer JSON over MQTT.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from .language import in_language

if TYPE_CHECKING:
    from .world import World

LOOPBACK = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `linli simulate`."""
    parser.add_argument(
        "--dir", type=Path, required=True,
        help=in_language("串口链接 rs485 和 lockers 的目录", "where the lines rs485 and lockers appear"),
    )  # fmt: skip
    parser.add_argument(
        "--modbus-port",
        type=parse_port,
        default=15020,
        metavar="N",
        help=in_language("0 = 任意", "0 = any"),
    )
    parser.add_argument(
        "--console-port",
        type=parse_port,
        default=15080,
        metavar="N",
        help=in_language("0 = 任意", "0 = any"),
    )
    parser.add_argument(
        "--broker", type=parse_broker, default=(LOOPBACK, 18830), metavar="HOST:PORT",
        help=in_language("MQTT 服务器", "MQTT broker"),
    )  # fmt: skip
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help=in_language("同一种子，同一天", "same seed, same day"),
    )
    parser.add_argument(
        "--speed", type=parse_speed, default=1.0, metavar="X",
        help=in_language("每一真实秒的模拟秒数", "simulated seconds per real second"),
    )  # fmt: skip
    parser.add_argument(
        "--start", type=parse_time_of_day, metavar="HH:MM",
        help=in_language("从几点开始（默认：现在）", "time of day to begin at (default: now)"),
    )  # fmt: skip


def parse_port(text: str) -> int:
    """A port number."""
    if not 0 <= (number := int(text)) <= 65535:
        raise ValueError(text)
    return number


def parse_broker(text: str) -> tuple[str, int]:
    """`HOST:PORT`."""
    host, _, number = text.rpartition(":")
    return host or LOOPBACK, parse_port(number)


def parse_speed(text: str) -> float:
    """Simulated seconds per real second."""
    if not 0 < (times := float(text)) <= 3600:
        raise ValueError(text)
    return times


def parse_time_of_day(text: str) -> datetime.time:
    """`HH:MM`."""
    return datetime.datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - a time of day


def _read_command(world: World) -> None:
    from .actions import perform_text  # noqa: PLC0415

    if serve_serial_line := sys.stdin.readline():
        print(perform_text(world, serve_serial_line), file=sys.stderr)
    else:
        asyncio.get_running_loop().remove_reader(sys.stdin)


async def run(args: argparse.Namespace) -> None:
    """Simulate until SIGINT or SIGTERM. Raises `SystemExit` when a port or path is unavailable."""
    # Imported late, so that the command line does not load the servers.
    from . import console, cu16, fridge, modbus  # noqa: PLC0415
    from .centre import Centre  # noqa: PLC0415
    from .faults import Faults  # noqa: PLC0415
    from .serial_line import serve_serial_line  # noqa: PLC0415
    from .world import World  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    start = args.start or datetime.datetime.now().astimezone().time()
    centre = Centre(args.seed)
    centre.advance(start.hour * 3600 + start.minute * 60 + start.second)
    faults = Faults(args.seed)
    world = World(centre, faults, args.speed)
    rs485, lockers = args.dir / "rs485", args.dir / "lockers"

    async with AsyncExitStack() as wires:
        try:
            modbus_socket = wires.enter_context(socket.create_server((LOOPBACK, args.modbus_port)))
            console_socket = wires.enter_context(socket.create_server((LOOPBACK, args.console_port)))
            args.dir.mkdir(parents=True, exist_ok=True)
            wires.enter_context(serve_serial_line(rs485, modbus.RtuSlaves(world.rtu_tables), faults))
            wires.enter_context(serve_serial_line(lockers, cu16.LockBoard(world.centre), faults))
        except OSError as error:
            tried = f"{args.dir}, {LOOPBACK}:{args.modbus_port}, {LOOPBACK}:{args.console_port}"
            raise SystemExit(
                in_language(
                    f"以下目录或端口无法使用，请换一个：{tried}", f"cannot be used, choose another: {tried}"
                )
            ) from error
        await wires.enter_async_context(modbus.serve_tcp(modbus_socket, world.tcp_tables, faults))
        if sys.stdin.isatty():
            loop.add_reader(sys.stdin, _read_command, world)
        async with asyncio.TaskGroup() as servers:
            tasks = [
                servers.create_task(console.serve(world, console_socket)),
                servers.create_task(fridge.publish(args.broker, world.centre, faults)),
            ]
            ready = {
                "ready": True,
                "modbus": modbus_socket.getsockname()[1],
                "console": console_socket.getsockname()[1],
                "rs485": str(rs485),
                "lockers": str(lockers),
            }
            print(json.dumps(ready), flush=True)
            await stop.wait()
            for task in tasks:
                task.cancel()
