"""ThingsBoard's gateway API, by its documentation, through a real broker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gateway.config.dialect.file import load_dialect
from gateway.config.options import UplinkOptions
from gateway.uplink import Uplink
from gateway.uplink.declarative.compile import Compiler
from gateway.uplink.declarative.dialect import DeclarativeDialect
from gateway.uplink.declarative.facts import DeviceFacts
from tests.gateway.uplink.kit import Gateway, Shifted, eventually, gateway, mosquitto
from tests.gateway.uplink.proxy import proxy
from tests.ports import free_port

FOLDER = Path(__file__).parents[4] / "config" / "dialects"


class Server:
    """Stores what arrives, as the server does: a series for each device and key."""

    def __init__(self) -> None:
        self.connected: list[str] = []
        self.series: dict[tuple[str, str], dict[int, Any]] = {}
        """By device and key: value by time in milliseconds."""
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = self._on_message

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        content = json.loads(message.payload)
        if message.topic == "v1/gateway/connect":
            self.connected.append(content["device"])
        elif message.topic == "v1/gateway/telemetry":
            for device, entries in content.items():
                for entry in entries:
                    for key, value in entry["values"].items():
                        self.series.setdefault((device, key), {})[entry["ts"]] = value


@contextmanager
def server(port: int) -> Iterator[Server]:
    it = Server()
    ready: list[int] = []
    it.client.on_connect = lambda client, *_: client.subscribe("v1/gateway/#", 1)
    it.client.on_subscribe = lambda *_: ready.append(1)
    it.client.connect("127.0.0.1", port)
    it.client.loop_start()
    try:
        deadline = time.monotonic() + 10
        while not ready:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield it
    finally:
        it.client.disconnect()
        it.client.loop_stop()
        del it.client


def start(it: Gateway, port: int) -> None:
    """An uplink in the shipped dialect, with the device `d`."""
    file = load_dialect(FOLDER / "thingsboard-gateway.toml", [FOLDER])
    own = DeviceFacts("gateway", "gateway", {}, file.names, secret=lambda: "A1_TEST_TOKEN")
    device = DeviceFacts("d", "thermometer", {"name_there": "Device A", "type": "x"}, file.names)
    zone = ZoneInfo("Asia/Shanghai")
    compiler = Compiler(own, "centre", it.journal.epoch, zone, file.maps, file.signs, lambda at: at)
    dialect = DeclarativeDialect(file, own, {"d": device}, compiler, lambda: it.clock.now().wall_ms)
    options = UplinkOptions(url=f"mqtt://127.0.0.1:{port}")
    it.uplink = Uplink("uplink", options, dialect, it.journal, it.clock, it.obey, it.sink)
    it.task = asyncio.create_task(it.uplink.run())


async def poll(it: Gateway, clock: Shifted, numbers: range) -> list[int]:
    """One reading a second by the injected clock; their times."""
    times = []
    for number in numbers:
        clock.shift += 1
        times.append(it.measure(number).at.wall_ms)
        if number % 5 == 0:
            await it.close_window()
    await it.close_window()
    return times


async def test_a_minute_without_a_network_costs_no_second(tmp_path: Path) -> None:
    """thingsboard-gateway issue 2157: polling each second, the network is cut for a minute; every second of
    that minute is there afterwards."""
    clock, port = Shifted(), free_port()
    with mosquitto(tmp_path, port), server(port) as there:
        async with proxy(port) as between, gateway(tmp_path, window=10, clock=clock) as it:
            start(it, between.port)
            await eventually(lambda: it.uplink.is_online and there.connected)
            times = await poll(it, clock, range(1, 31))
            await eventually(lambda: len(there.series.get(("Device A", "x"), ())) >= 20)
            between.pause()
            between.cut()
            times += await poll(it, clock, range(31, 91))
            between.resume()
            times += await poll(it, clock, range(91, 101))
            await eventually(it.caught_up, 30)
            # Acknowledged by the broker is not yet seen by the server behind it.
            await eventually(lambda: len(there.series["Device A", "x"]) == 100)
            series = there.series["Device A", "x"]
            assert [series.get(at) for at in times] == list(range(1, 101))
            assert there.connected.count("Device A") >= 2
