"""A journal and an uplink of this process, a real broker, and somebody who listens there."""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.base.clock import SystemClock
from gateway.config.options import NativeOptions, UplinkOptions
from gateway.journal import Journal, StreamFilter
from gateway.model import Clock, Command, Fact, Lane, Record, Sample, Stamp
from gateway.services.commands import CommandRow, CommandStatus
from gateway.uplink import NativeDialect, Uplink

ROOT = "linli/v1/centre"


async def eventually(true: Callable[[], Any], seconds: float = 15.0) -> Any:
    """What `true` returns as soon as it is truthy."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := true():
            return result
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {seconds} s")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def mosquitto(folder: Path, port: int, *lines: str) -> Iterator[int]:
    """A real broker that listens when the block begins; gives its process id."""
    config = folder / f"mosquitto-{port}.conf"
    rules = lines if any("password_file" in line for line in lines) else (*lines, "allow_anonymous true")
    config.write_text(
        "\n".join((f"listener {port} 127.0.0.1", "user root", "max_queued_messages 0", *rules, ""))
    )
    with subprocess.Popen(["mosquitto", "-c", config], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while not _listens(port):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process.pid
        finally:
            process.terminate()


class Witness:
    """Everything that was published, in the order of arrival."""

    def __init__(self, client: paho.Client) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._client = client

    async def caught_up(self) -> None:
        """Wait for all that the broker has acknowledged: that may arrive here later, but in order."""
        marks = len(self.on("mark"))
        self._client.publish(f"{ROOT}/mark", "{}", qos=1)
        await eventually(lambda: len(self.on("mark")) > marks)

    def on(self, name: str) -> list[dict[str, Any]]:
        """The payloads on a topic of the site."""
        return [payload for topic, payload in list(self.heard) if topic == f"{ROOT}/{name}"]

    def records(self, lane: str = "telemetry", device: str = "") -> list[dict[str, Any]]:
        return [
            {**record, "device": payload["device"], "backfill": payload.get("backfill", False)}
            for _, payload in list(self.heard)
            if payload.get("lane") == lane and device in ("", payload["device"])
            for record in payload["records"]
        ]

    def seqs(self, lane: str = "telemetry", device: str = "d") -> list[int]:
        return [record["seq"] for record in self.records(lane, device)]


class Shifted(SystemClock):
    """The machine's clock, some seconds off; `leap` moves the wall clock alone."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = 0.0
        self.leap = 0.0

    def now(self) -> Stamp:
        at = super().now()
        wall = at.wall_ms + round((self.shift + self.leap) * 1000)
        return Stamp(wall, at.mono_ns + round(self.shift * 1e9), at.boot, at.clock)


@contextmanager
def witness(port: int, username: str = "", password: str = "") -> Iterator[Witness]:
    """A foreign subscriber to everything of the site."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    seen = Witness(client)
    if username:
        client.username_pw_set(username, password)

    def hear(_c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        if message.topic != f"{ROOT}/command":
            seen.heard.append((message.topic, msgspec.json.decode(message.payload)))

    def up(connected: paho.Client, *_: Any) -> None:
        connected.subscribe(f"{ROOT}/#", qos=1)

    client.on_message, client.on_connect = hear, up
    ready: list[int] = []
    client.on_subscribe = lambda *_: ready.append(1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        deadline = time.monotonic() + 10
        while not ready:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield seen
    finally:
        client.disconnect()
        client.loop_stop()
        # Some of its sockets paho closes only once nobody refers to it.
        del seen._client, client


def publish(port: int, topic: str, payload: str | bytes, *options: str) -> None:
    """What a platform does, with the broker's own tool."""
    command = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", f"{ROOT}/{topic}", "-s", *options]
    body = payload if isinstance(payload, bytes) else payload.encode()
    subprocess.run(command, input=body, check=True, timeout=10)


class Gateway:
    """A journal with an uplink, as the daemon has them."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self.journal = journal
        self.clock = clock
        self.transitions: list[bool] = []
        """What the uplink said of itself: up, down …"""
        self.commands: list[Command] = []
        self.gate = asyncio.Event()
        """Commands end once it is open."""
        self.gate.set()
        self.uplink: Uplink
        self.task: asyncio.Task[None]

    async def sink(self, sample: Sample) -> None:
        self.transitions.append(not sample.error)

    async def obey(self, command: Command) -> CommandRow:
        self.commands.append(command)
        await self.gate.wait()
        return CommandRow(
            "d", command.action, "upstream", "", command.at, command.expires, CommandStatus.DONE
        )

    def measure(self, value: object = 0, device: str = "d") -> Record:
        return self.journal.append_sample(Sample(device, self.clock.now(), {"x": value}))  # type: ignore[dict-item]

    def tell(self, lane: Lane, value: object = 0, device: str = "d") -> None:
        self.journal.append("", [Fact(lane, device, "told", self.clock.now(), {"x": value})], {})

    async def history(self, rows: int, device: str = "d", each: int = 1, first: int = 0) -> None:
        """A backlog: so many rows of so many records, committed."""
        for row in range(rows):
            for n in range(each):
                self.measure(first + row * each + n, device)
            await self.close_window()

    async def close_window(self) -> None:
        """Commit the open window now."""
        self.journal._window_due = True
        await self.journal.commit()

    def caught_up(self) -> bool:
        return all(
            self.journal.deliveries["uplink"].positions[lane] == self.journal.committed_pos[lane]
            for lane in Lane
        )

    async def configure(self, **filters: StreamFilter) -> None:
        """Several uplinks by name."""
        await self.journal.configure_readers(filters)

    def start_one(self, name: str, port: int) -> tuple[Uplink, asyncio.Task[None]]:
        """One of several uplinks."""
        options = UplinkOptions(
            url=f"mqtt://127.0.0.1:{port}", commands=("open",), trust={"open": "broker"}
        )
        dialect = NativeDialect("centre", self.journal.epoch)
        uplink = Uplink(name, options, dialect, self.journal, self.clock, self.obey, self.sink)
        return uplink, asyncio.create_task(uplink.run())

    def start(self, port: int, **options: Any) -> None:
        trust = {"commands": ("open",), "trust": {"open": "broker"}}
        named = {"url": f"mqtt://127.0.0.1:{port}", **trust, **options}
        native = named.get("native", NativeOptions())
        dialect = NativeDialect(
            "centre",
            self.journal.epoch,
            command_keys=named.get("command_keys"),
            several_streams=native.several_streams,
        )
        self.uplink = Uplink(
            "uplink", UplinkOptions(**named), dialect, self.journal, self.clock, self.obey, self.sink
        )
        self.task = asyncio.create_task(self.uplink.run())

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await asyncio.sleep(0.05)


@asynccontextmanager
async def gateway(
    folder: Path, port: int = 0, *, window: float = 0.1, clock: Clock | None = None, **options: Any
) -> AsyncIterator[Gateway]:
    """A gateway on a file; its uplink runs at once if there is a port."""
    clock = clock or SystemClock()
    async with Journal.open(folder / "journal.db", clock, window) as journal:
        it = Gateway(journal, clock)
        if port:
            it.start(port, **options)
        try:
            yield it
        finally:
            if hasattr(it, "task"):
                await it.stop()
