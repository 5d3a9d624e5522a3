"""The processes: devices, broker, gateway and witness."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from oracle import Oracle
from paho.mqtt.enums import CallbackAPIVersion

ROOT = Path(__file__).parents[2]
SITE = "torture"

PROFILE = """schema = "linli/profile/1"
kind = "{kind}"
maker = "torture"
model = "stamp"
driver = "modbus"
source = "scripts/benchmarks/plc.py"
[points.stamp]
address = 0
type = "uint64"
[points.value]
address = 8
scale = 0.1
unit = "°C"
repeat = 6
"""
ALARM = """[points.level]
address = 4
type = "uint64"
alarm = { hazard = "gas", above = 0.5, off_delay = 0.0 }
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def write_site(
    directory: Path, journal: Path, field: list[int], urls: list[str], metrics: int, site: str = SITE
) -> Path:
    """Thermometers polled five times a second, and gas detectors whose alarm every other poll raises.
    `urls`: the addresses of the platform."""
    for kind, extra in (("thermometer", ""), ("gas", ALARM)):
        file = directory / "profiles" / "torture" / f"{kind}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PROFILE.format(kind=kind) + extra)
    kinds = [("thermometer", 0.2)] * 8 + [("gas", 0.5)] * 4
    tables = [
        f'schema = "linli/site/1"\n[site]\nid = "{site}"\ntitle = "torture"\nlanguage = "en"\n'
        f'[journal]\npath = "{journal}"\nwindow = 0.5\ncap = 40000000\n'
        f'[uplink]\nurl = "{urls[0]}"\nfallback_urls = {urls[1:]}\nclient_id = "linli-{site}"\n'
        f'[control]\nsocket = "{directory}/run/sock"\n[metrics]\nport = {metrics}\n',
        *(
            f'[bus.b{i}]\ndriver = "modbus"\nurl = "tcp://127.0.0.1:{port}"\n'
            for i, port in enumerate(field)
        ),
        *(
            f'[device.{kind}-{i}]\nprofile = "torture/{kind}"\nbus = "b{i % len(field)}"\n'
            f"unit = {i + 1}\nevery = {every}\n"
            for i, (kind, every) in enumerate(kinds)
        ),
    ]
    file = directory / "site.toml"
    file.write_text("".join(tables))
    return file


class Process:
    """A child process; it is stopped by its pid."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.child: asyncio.subprocess.Process | None = None

    async def spawn(self, *command: object, env: dict[str, str] | None = None, **options: Any) -> None:
        with self._log.open("a") as log:
            self.child = await asyncio.create_subprocess_exec(
                *map(str, command), stderr=log, env={**os.environ, **(env or {})}, cwd=ROOT, **options
            )

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.returncode is None

    def send(self, number: signal.Signals) -> None:
        if self.child and self.alive:
            self.child.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Returns the exit code; a child that does not exit within 20 s is killed."""
        if not self.child:
            return 0
        self.send(number)
        try:
            async with asyncio.timeout(20):
                return await self.child.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            return await self.child.wait()


class Field(Process):
    """The benchmark's Modbus device: every reply contains its time."""

    async def start(self, lines: int) -> list[int]:
        plc = ROOT / "scripts" / "benchmarks" / "plc.py"
        thinking = 0
        await self.spawn(sys.executable, plc, lines, thinking, stdout=asyncio.subprocess.PIPE)
        assert self.child
        assert self.child.stdout
        urls: list[str] = json.loads(await self.child.stdout.readline())
        return [urlsplit(url).port or 0 for url in urls]


class Broker(Process):
    """mosquitto. What it has acknowledged the witness must come to hold, so it is told to keep
    sessions and queues, writes them when it is ended by SIGTERM, and is killed (SIGKILL) only once the
    witness has drained it and while nobody can reach it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "mosquitto.log")
        self.port = free_port()
        self._store = directory / "mosquitto.db"
        self._config = directory / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
            "max_queued_messages 0\npersistence true\n"
            f"persistence_location {directory}/\nlog_type error\nlog_type warning\n"
        )
        if os.geteuid() == 0:
            self._config.write_text(self._config.read_text() + "user root\n")

    async def start(self) -> None:
        await self.spawn("mosquitto", "-c", self._config, stdout=asyncio.subprocess.DEVNULL)
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            await asyncio.sleep(0.05)
        raise TimeoutError("mosquitto")

    def delete_store(self) -> None:
        self._store.unlink(missing_ok=True)


class Subscriber:
    """A subscriber with a session that outlives its connection, straight at the broker."""

    def __init__(self, port: int, oracle: Oracle) -> None:
        self._oracle = oracle
        self._marks: set[bytes] = set()
        self.subscribed = False
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="witness", clean_session=False, protocol=paho.MQTTv311
        )
        client.on_connect = self._connected
        client.on_subscribe = self._subscribe_acknowledged
        client.on_disconnect = self._disconnected
        client.on_message = self._receive
        client.reconnect_delay_set(1, 1)
        client.max_inflight_messages_set(0)
        client.connect("127.0.0.1", port)
        client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    async def ready(self) -> None:
        async with asyncio.timeout(30):
            while not self.subscribed:
                await asyncio.sleep(0.05)

    async def drained(self) -> None:
        """Return when everything that the broker held for us has arrived: our own message comes last."""
        mark = os.urandom(8)
        await asyncio.to_thread(self._client.publish("torture/mark", mark, qos=1).wait_for_publish, 30)
        async with asyncio.timeout(30):
            while mark not in self._marks:
                await asyncio.sleep(0.05)

    def _connected(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(f"linli/v1/{SITE}/+/+", 1), ("torture/mark", 1)])

    def _subscribe_acknowledged(self, *_: Any) -> None:
        self.subscribed = True

    def _disconnected(self, *_: Any) -> None:
        self.subscribed = False

    def _receive(self, _c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        if message.topic == "torture/mark":
            self._marks.add(message.payload)
        else:
            self._oracle.receive(message.payload)


class Gateway(Process):
    """`linli run`, restarted whenever it ends, as systemd would."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "gateway.log")
        self.site = Path()
        self.env: dict[str, str] = {}
        self.next_env: dict[str, str] = {}
        """For the next start only."""
        self.kills = self.starts = self.crashes = 0
        self.exits: Counter[int] = Counter()
        self.tolerated = 0
        """Active faults that may make it exit, to be restarted."""
        self.peak_rss = self.peak_fds = 0
        self._held = False
        self._expected = False
        self._turn = asyncio.Lock()

    async def restart_forever(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(0.02)
            async with self._turn:
                if self._held:
                    continue
                env, self.next_env = {**self.env, **self.next_env}, {}
                self._expected = False
                await self.spawn(sys.executable, "-m", "gateway.cli", "run", "--config", self.site, env=env)
            self.starts += 1
            assert self.child
            code = await self.child.wait()
            if code == -signal.SIGKILL:
                self.kills += 1
            elif not self._expected:
                self.exits[code] += 1
                self.crashes += not self.tolerated
            await asyncio.sleep(0.5)

    def measure(self) -> None:
        if not self.child or not self.alive:
            return
        process = Path(f"/proc/{self.child.pid}")
        with contextlib.suppress(OSError):
            for line in (process / "status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    self.peak_rss = max(self.peak_rss, int(line.split()[1]) * 1024)
            self.peak_fds = max(self.peak_fds, len(list((process / "fd").iterdir())))

    async def hold(self) -> None:
        """Kill it (SIGKILL) and keep it down."""
        self._held = True
        async with self._turn:
            await self.end(signal.SIGKILL)

    async def stop(self) -> int:
        """Stop it cleanly and keep it down."""
        self._held = True
        async with self._turn:
            self._expected = True
            return await self.end()

    def release(self) -> None:
        self._held = False
