"""A publisher written from `native.asyncapi.json`, and receivers in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

import gateway.uplink
from gateway.base.clock import SystemClock
from gateway.receiver import Receiver
from gateway.wire.broker import BrokerOptions

DOCUMENT = json.loads(Path(gateway.uplink.__file__).with_name("native.asyncapi.json").read_text("utf-8"))
NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)
"""Noon in Shanghai."""
DAY = "2026-11-20"


def record(seq: int, *, at: datetime | int = NOON, kind: str = "sample", **more: Any) -> dict[str, Any]:
    at_ms = at if isinstance(at, int) else round(at.timestamp() * 1000)
    common = {"seq": seq, "kind": kind, "at": at_ms, "clock": "synced", "mono": seq, "boot": "b"}
    return {**common, "data": {"x": seq}, **more}


def gap_record(seq: int, lane: str, first: int, last: int, **more: Any) -> dict[str, Any]:
    lost = {
        "lane": lane,
        "first": first,
        "last": last,
        "count": last - first + 1,
        "reason": "space",
        **more,
    }
    return record(seq, kind="gap", data=lost)


def ledger_row(device: str = "d", day: str = DAY, **more: Any) -> dict[str, Any]:
    counts = {"measured": 0, "delivered": 0, "pending": 0, "dropped": {}, "uncertain": 0, "gaps": []}
    return {"day": day, "lane": "telemetry", "device": device, **counts, **more}


def envelope(records: Iterable[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"epoch": "e1", "device": "d", "lane": "telemetry", "records": list(records), **more}


class Publisher:
    """A gateway that somebody else has written: what it sends conforms to the document."""

    def __init__(self, client: paho.Client) -> None:
        self._client = client
        self._sent: list[paho.MQTTMessageInfo] = []

    def send(self, site: str, *records: dict[str, Any], **more: Any) -> None:
        """Records of one device and lane."""
        message = envelope(records, **more)
        self._conforming(f"linli/v1/{site}/{message['device']}/{message['lane']}", "Envelope", message)

    def send_streams(
        self, site: str, streams: dict[str, list[dict[str, Any]]], *, topic_lane: str = "telemetry"
    ) -> None:
        """Telemetry of several devices."""
        named = [{"device": device, "records": records} for device, records in streams.items()]
        message = {"epoch": "e1", "lane": "telemetry", "streams": named}
        self.send_bytes(f"linli/v1/{site}/{topic_lane}", json.dumps(message).encode())

    def send_ledger(self, site: str, *rows: dict[str, Any], epoch: str = "e1", part: int = 1) -> None:
        topic = f"linli/v1/{site}/ledger" + (f"/{part}" if part > 1 else "")
        self._conforming(topic, "Ledger", {"epoch": epoch, "rows": rows, "part": part}, retain=True)

    def _conforming(
        self, topic: str, schema: str, message: dict[str, Any], *, retain: bool = False
    ) -> None:
        payload = json.dumps(message)
        jsonschema.validate(json.loads(payload), {**DOCUMENT, "$ref": f"#/components/schemas/{schema}"})
        self.send_bytes(topic, payload.encode(), retain=retain)

    def send_bytes(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Whatever anybody may publish."""
        self._sent.append(self._client.publish(topic, payload, qos=1, retain=retain))

    def wait(self) -> None:
        """Until the broker has acknowledged all."""
        for each in self._sent:
            each.wait_for_publish(20)
            assert each.is_published()


@contextlib.contextmanager
def publisher(port: int) -> Iterator[Publisher]:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    it = Publisher(client)
    try:
        yield it
        it.wait()
    finally:
        client.disconnect()
        client.loop_stop()
        it._sent.clear()
        del it._client, client  # Some of its sockets paho closes only once nobody refers to it.


@contextlib.asynccontextmanager
async def receiving(
    url: str, database: str, name: str = "one", group: str = "linli", others: Iterable[str] = ()
) -> AsyncIterator[Receiver]:
    """A receiver that has subscribed when the block begins."""
    brokers = [BrokerOptions(url=each, client_id=name) for each in (url, *others)]
    receiver = Receiver(brokers, database, group, SystemClock())
    task = asyncio.create_task(receiver.run())
    try:
        await eventually(lambda: receiver.is_receiving or task.done())
        yield receiver
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(true: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.01)
