"""A host application of Sparkplug B: paho, and the codec of another make."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from .codec import Codec, codec

GROUP, NODE = "linli", "centre"


class Heard(NamedTuple):
    """One message."""

    kind: str
    """The third level of its topic, with the device where there is one; else the whole topic."""
    qos: int
    retained: bool
    payload: Any


class Host:
    """All that was heard, in order; `names` has what the births said of the aliases."""

    def __init__(self, client: paho.Client, decoder: Codec) -> None:
        self._client = client
        self._codec = decoder
        self._raw: list[paho.MQTTMessage] = []
        self._decoded: list[Heard] = []

    def heard(self, kind: str = "") -> list[Heard]:
        """The messages of a kind ("DDATA/d"), or all."""
        for message in self._raw[len(self._decoded) :]:
            self._decoded.append(self._decode(message))
        return [each for each in self._decoded if kind in ("", each.kind)]

    def kinds(self) -> list[str]:
        """The kinds of the messages of Sparkplug."""
        return [each.kind for each in self.heard() if "linli/v1" not in each.kind]

    def names(self) -> dict[int, str]:
        """The names by alias, of all births."""
        births = [each for each in self.heard() if "BIRTH" in each.kind]
        return {
            metric["alias"]: metric["name"]
            for each in births
            for metric in each.payload["metrics"]
            if "alias" in metric
        }

    def values(self, kind: str, name: str) -> list[Any]:
        """What was said of a metric."""
        names = self.names()
        return [
            metric.get("value")
            for each in self.heard(kind)
            for metric in each.payload["metrics"]
            if name == metric.get("name", names.get(metric.get("alias")))
        ]

    def write(self, device: str, payload: dict[str, Any]) -> None:
        """A DCMD, or an NCMD without a device."""
        topic = f"spBv1.0/{GROUP}/DCMD/{NODE}/{device}" if device else f"spBv1.0/{GROUP}/NCMD/{NODE}"
        self._client.publish(topic, self._codec.encode(payload), qos=1)

    def state(self, online: bool, timestamp: int, host: str = "scada") -> None:
        """The host's state, as it is retained."""
        said = json.dumps({"online": online, "timestamp": timestamp})
        self._client.publish(f"spBv1.0/STATE/{host}", said, qos=1, retain=True).wait_for_publish(5)

    def _decode(self, message: paho.MQTTMessage) -> Heard:
        levels = message.topic.split("/")
        if levels[0] != "spBv1.0" or levels[1] == "STATE":
            return Heard(message.topic, message.qos, message.retain, json.loads(message.payload))
        kind = "/".join((levels[2], *levels[4:]))
        return Heard(kind, message.qos, message.retain, self._codec.decode(message.payload))


@contextmanager
def host(port: int) -> Iterator[Host]:
    """Subscribed to everything when the block begins."""
    with codec() as decoder:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        seen = Host(client, decoder)
        ready: list[int] = []
        client.on_message = lambda _c, _u, message: seen._raw.append(message)
        client.on_connect = lambda connected, *_: connected.subscribe([("spBv1.0/#", 1), ("linli/#", 1)])
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
            del seen._client, client
