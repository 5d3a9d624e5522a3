"""The platform's side of the uplink: records what arrives, and when. Independent of the gateway's
client."""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

# Neither telemetry nor a collection of all that was recorded may delay the timestamp of an alarm.
sys.setswitchinterval(0.0002)
gc.disable()


class Arrival(msgspec.Struct):
    """A received record; `at` in microseconds of the monotonic clock."""

    at: int
    device: str
    seq: int
    data: dict[str, Any]


class ArrivalRecorder:
    """Subscribes to the records of a site: each lane on its own connection, so that alarms do not wait
    behind telemetry in the broker."""

    def __init__(self, port: int) -> None:
        self.alarms: list[Arrival] = []
        self.samples: list[Arrival] = []
        self._clients = [
            _subscribe(port, "alarm", self.alarms),
            _subscribe(port, "telemetry", self.samples),
        ]

    def __enter__(self) -> ArrivalRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.disconnect()
            client.loop_stop()


def _subscribe(port: int, lane: str, arrived: list[Arrival]) -> paho.Client:
    def on_message(_c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        now = time.monotonic_ns() // 1000
        envelope = msgspec.json.decode(message.payload)
        arrived.extend(Arrival(now, envelope["device"], r["seq"], r["data"]) for r in envelope["records"])

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe(f"linli/v1/+/+/{lane}")
    client.loop_start()
    return client
