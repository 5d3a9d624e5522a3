"""What a dialect file says beside the messages of records: heartbeats, and the largest message."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from gateway.config.dialect.file import load_dialect
from gateway.config.options import UplinkOptions
from gateway.uplink import Uplink
from gateway.uplink.declarative.examples import example_dialect
from tests.gateway.uplink.broker import broker
from tests.gateway.uplink.kit import Shifted, eventually, gateway

FILE = """
schema = "linli/dialect/1"
title = "Acme"
source = "interface 3"
max_bytes = 400
[heartbeat]
every = 60
topic = "beat"
payload = '{ "no": "{message.number}" }'
[[telemetry]]
topic = "data/{device.name}"
payload = '{ "list": [{ "$each": "record", "no": "{record.seq}", "x": "{values}" }] }'
[example.devices.d]
kind = "sensor"
"""


class Fast(Shifted):
    """A minute takes no time."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.02))


async def test_heartbeats_are_sent_and_large_messages_split(tmp_path: Path) -> None:
    file = tmp_path / "acme.toml"
    file.write_text(FILE)
    dialect = example_dialect(load_dialect(file))
    async with broker() as there, gateway(tmp_path, window=10, clock=Fast()) as it:
        for number in range(1, 101):
            it.measure(number)
        await it.close_window()
        options = UplinkOptions(url=f"mqtt://127.0.0.1:{there.port}")
        it.uplink = Uplink("uplink", options, dialect, it.journal, it.clock, it.obey, it.sink)
        it.task = asyncio.create_task(it.uplink.run())
        await eventually(it.caught_up)
        sent = [content for topic, content in there.taken if topic == "data/d"]
        assert [entry["no"] for content in sent for entry in content["list"]] == list(range(1, 101))
        assert max(len(msgspec.json.encode(content)) for content in sent) <= 400
        await eventually(lambda: len([topic for topic, _ in there.taken if topic == "beat"]) >= 3)
        numbers = [content["no"] for topic, content in there.taken if topic == "beat"]
        assert numbers == sorted(set(numbers))
