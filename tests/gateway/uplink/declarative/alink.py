"""A platform that speaks Alink JSON, written from the documentation of Alibaba Cloud IoT Platform
(help.aliyun.com): 管理拓扑关系, 子设备上下线, 网关批量上报数据, 物模型历史数据上报, 物模型."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

Device = tuple[str, str]
"""Product key and device name."""


class Platform:
    """Knows the secrets of its devices, and what each has reported."""

    def __init__(self, gateway: Device, secrets: dict[Device, str]) -> None:
        self.gateway = gateway
        self.secrets = secrets
        self.topology: set[Device] = set()
        self.sessions: set[Device] = set()
        self.properties: list[tuple[Device, str, Any, int]] = []
        """Device, identifier, value and time, as they came."""
        self.events: list[tuple[Device, str, dict[str, Any]]] = []
        self.results: list[tuple[str, dict[str, Any]]] = []
        """Topic and payload of the replies to services."""
        self.holds = False
        """Replies wait until `release`."""
        self.forges_ids = False
        """Replies have an id that nothing was sent with."""
        self.refused: set[Device] = set()
        """Devices whose data it does not take."""
        self.taken = 0
        """Messages that it has processed."""
        self._held: list[tuple[str, dict[str, Any]]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = self._on_message

    def release(self, *, last_first: bool = False) -> None:
        """Send what was held, and reply at once from now on."""
        self.holds = False
        held, self._held = self._held, []
        for topic, reply in reversed(held) if last_first else held:
            self._send(topic, reply)

    def forget_held(self) -> None:
        """What was to be replied is lost."""
        self._held.clear()

    def call(self, device: Device, service: str, params: dict[str, Any], message_id: str = "1") -> None:
        """Call a service of a device."""
        topic = f"/sys/{device[0]}/{device[1]}/thing/service/{service}"
        message = {
            "method": f"thing.service.{service}",
            "id": message_id,
            "params": params,
            "version": "1.0.0",
        }
        self.client.publish(topic, json.dumps(message), qos=1)

    def values(self, device: Device, identifier: str = "x") -> list[Any]:
        return [value for of, name, value, _ in list(self.properties) if (of, name) == (device, identifier)]

    def known(self, device: Device) -> list[Any]:
        """Its values, each once: the latest ones also come ahead of those that are still to follow."""
        return sorted(set(self.values(device)))

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        handlers: dict[str, Callable[..., int]] = {
            r"/sys/([^/]+)/([^/]+)/thing/topo/add": self._add_topology,
            r"/ext/session/([^/]+)/([^/]+)/combine/login": self._log_in,
            r"/ext/session/([^/]+)/([^/]+)/combine/logout": self._log_out,
            r"/sys/([^/]+)/([^/]+)/thing/event/property/pack/post": self._take_pack,
            r"/sys/([^/]+)/([^/]+)/thing/event/property/history/post": self._take_history,
            r"/sys/([^/]+)/([^/]+)/thing/event/(\w+)/post": self._take_event,
        }
        for pattern, handle in handlers.items():
            if found := re.fullmatch(pattern, message.topic):
                request = json.loads(message.payload)
                assert re.fullmatch(r"\d{1,10}", request["id"])
                assert int(request["id"]) <= 4_294_967_295
                code = handle(found, request)
                text = "success" if code == 200 else "refused"
                self._reply(
                    f"{message.topic}_reply",
                    {"id": request["id"], "code": code, "data": {}, "message": text},
                )
                return
        if message.topic.endswith("_reply") and "/thing/service/" in message.topic:
            self.results.append((message.topic, json.loads(message.payload)))

    def _reply(self, topic: str, reply: dict[str, Any]) -> None:
        self.taken += 1
        if self.forges_ids:
            reply = {**reply, "id": str((int(reply["id"]) + 7) % 4_294_967_296)}
        if self.holds:
            self._held.append((topic, reply))
        else:
            self._send(topic, reply)

    def _send(self, topic: str, reply: dict[str, Any]) -> None:
        self.client.publish(topic, json.dumps(reply), qos=1)

    def _is_signed(self, asked: dict[str, Any], method_key: str) -> bool:
        """By the parameters in alphabetical order, without those that are not signed."""
        unsigned = ("sign", "signMethod", "signmethod", "cleanSession")
        text = "".join(f"{key}{asked[key]}" for key in sorted(asked) if key not in unsigned)
        method = {"hmacSha1": "sha1", "hmacSha256": "sha256", "hmacMd5": "md5"}[asked[method_key]]
        secret = self.secrets[asked["productKey"], asked["deviceName"]]
        made = hmac.new(secret.encode(), text.encode(), getattr(hashlib, method)).hexdigest()
        return hmac.compare_digest(made, asked["sign"])

    def _add_topology(self, found: re.Match[str], request: dict[str, Any]) -> int:
        assert request["method"] == "thing.topo.add"
        if not all(self._is_signed(each, "signmethod") for each in request["params"]):
            return 6401
        self.topology |= {(each["productKey"], each["deviceName"]) for each in request["params"]}
        return 200

    def _log_in(self, found: re.Match[str], request: dict[str, Any]) -> int:
        asked = request["params"]
        device = asked["productKey"], asked["deviceName"]
        if device not in self.topology or not self._is_signed(asked, "signMethod"):
            return 6401
        self.sessions.add(device)
        return 200

    def _log_out(self, found: re.Match[str], request: dict[str, Any]) -> int:
        self.sessions.discard((request["params"]["productKey"], request["params"]["deviceName"]))
        return 200

    def _take_pack(self, found: re.Match[str], request: dict[str, Any]) -> int:
        assert (found[1], found[2]) == self.gateway
        assert request["method"] == "thing.event.property.pack.post"
        parts = request["params"]["subDevices"]
        assert len(parts) <= 20
        assert sum(len(part["properties"]) for part in parts) <= 200
        devices = [(part["identity"]["productKey"], part["identity"]["deviceName"]) for part in parts]
        if not self.sessions.issuperset(devices):
            return 520
        if self.refused.intersection(devices):
            return 6813
        for device, part in zip(devices, parts, strict=True):
            self._store(device, part["properties"])
        return 200

    def _take_history(self, found: re.Match[str], request: dict[str, Any]) -> int:
        assert request["method"] == "thing.event.property.history.post"
        for part in request["params"]:
            device = part["identity"]["productKey"], part["identity"]["deviceName"]
            if device not in self.sessions:
                return 520
            if device in self.refused:
                return 6813
            for properties in part["properties"]:
                self._store(device, properties)
        return 200

    def _store(self, device: Device, properties: dict[str, Any]) -> None:
        for identifier, one in properties.items():
            assert re.fullmatch(r"[A-Za-z0-9_]+", identifier)
            self.properties.append((device, identifier, one["value"], one["time"]))

    def _take_event(self, found: re.Match[str], request: dict[str, Any]) -> int:
        device = found[1], found[2]
        if device not in self.sessions:
            return 520
        assert request["method"] == f"thing.event.{found[3]}.post"
        self.events.append((device, found[3], request["params"]))
        return 200


@contextmanager
def platform(port: int, gateway: Device, secrets: dict[Device, str]) -> Iterator[Platform]:
    """A platform behind the broker at a port of loopback."""
    it = Platform(gateway, secrets)
    ready: list[int] = []
    it.client.on_connect = lambda client, *_: client.subscribe([("/sys/#", 1), ("/ext/#", 1)])
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
