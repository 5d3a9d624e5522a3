"""The platform's end of the wire: what arrives, and when. A client of its own, not the gateway's."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion


class Arrival(msgspec.Struct):
    """One record as it arrived; `at` in microseconds of the monotonic clock."""

    at: int
    device: str
    seq: int
    data: dict[str, Any]


class Witness:
    """Subscribes to everything a site publishes."""

    def __init__(self, port: int) -> None:
        self.alarms: list[Arrival] = []
        self.samples: list[Arrival] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("linli/v1/+/+/+")
        self._client.loop_start()

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        now = time.monotonic_ns() // 1000
        lane = message.topic.rpartition("/")[2]
        arrived = {"alarm": self.alarms, "telemetry": self.samples}.get(lane)
        if arrived is None:
            return
        envelope = msgspec.json.decode(message.payload)
        arrived += (Arrival(now, envelope["device"], r["seq"], r["data"]) for r in envelope["records"])
