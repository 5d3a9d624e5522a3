"""The platform's end of the wire: what arrives, and when. An independent client, not the gateway's."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

sys.setswitchinterval(0.0002)  # A flood of telemetry is not to delay the stamp of an alarm.


class Arrival(msgspec.Struct):
    """One record as it arrived; `at` in microseconds of the monotonic clock."""

    at: int
    device: str
    seq: int
    data: dict[str, Any]


class Witness:
    """Subscribes to what a site publishes: each lane on a separate connection, so that in the broker
    no alarm waits behind telemetry."""

    def __init__(self, port: int) -> None:
        self.alarms: list[Arrival] = []
        self.samples: list[Arrival] = []
        self._clients = [
            _subscribe(port, "alarm", self.alarms),
            _subscribe(port, "telemetry", self.samples),
        ]

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.disconnect()
            client.loop_stop()


def _subscribe(port: int, lane: str, arrived: list[Arrival]) -> paho.Client:
    def take(_c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        now = time.monotonic_ns() // 1000
        envelope = msgspec.json.decode(message.payload)
        arrived.extend(Arrival(now, envelope["device"], r["seq"], r["data"]) for r in envelope["records"])

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = take
    client.connect("127.0.0.1", port)
    client.subscribe(f"linli/v1/+/+/{lane}")
    client.loop_start()
    return client
