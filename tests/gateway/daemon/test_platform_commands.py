"""What a platform asks of the gateway itself: by a real broker, signed by openssl, on a real daemon."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.daemon.platform_commands import bounded_report
from gateway.model import Lane
from tests.broker import running as mqtt_broker
from tests.gateway.conftest import linli
from tests.gateway.daemon.test_reload_live import House, Server
from tests.gateway.simulate.conftest import eventually
from tests.gateway.sites import bus, device
from tests.gateway.uplink.signer import Signer, canonical

ROOT = "linli/v1/demo"
ACTIONS = ("read-now", "diagnose", "set-threshold", "configure", "acknowledge")
RULE = """
[rule.hot]
hazard = "food"
when = [{ point = "a.temperature", above = 40 }]
"""


class Platform:
    """Sends commands, and hears all that the gateway says."""

    def __init__(self, port: int, signer: Signer) -> None:
        self.signer = signer
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = lambda _c, _u, message: self.heard.append(
            (message.topic, json.loads(message.payload))
        )
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(f"{ROOT}/#", 1), ("up/#", 1)])
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # Some of its sockets paho closes only once nobody refers to it.
        del self._client

    def signed(
        self,
        command: str,
        action: str,
        device: str = "gateway",
        *,
        key: str = "main",
        signer: Signer | None = None,
        audience: str = "demo",
        by: str = "",
        seconds: float = 60,
        **args: Any,
    ) -> dict[str, Any]:
        signed = {
            "id": command, "device": device, "action": action, "args": args, "by": by,
            "expires": round((time.time() + seconds) * 1000), "audience": audience,
        }  # fmt: skip
        return {**signed, "key": key, "signature": (signer or self.signer).sign(canonical(signed))}

    def configure(self, command: str, text: str, digest: str, **more: Any) -> dict[str, Any]:
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        message = self.signed(command, "configure", digest=digest, sha256=sha256, **more)
        return {**message, "attachment": text}

    def send(self, message: dict[str, Any]) -> None:
        self.publish(f"{ROOT}/command", message)

    def publish(self, topic: str, message: dict[str, Any]) -> None:
        payload = json.dumps(message, ensure_ascii=False)
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def replies(self, command: str) -> list[dict[str, Any]]:
        heard = list(self.heard)
        return [body for topic, body in heard if topic == f"{ROOT}/reply" and body["id"] == command]

    def ask(self, message: dict[str, Any], seconds: float = 15) -> dict[str, Any]:
        """The reply to one more sending."""
        known = len(self.replies(message["id"]))
        self.send(message)
        eventually(lambda: len(self.replies(message["id"])) > known, seconds)
        return self.replies(message["id"])[-1]


class Centre:
    """A gateway with a platform, and a Modbus line with three smoke detectors."""

    def __init__(self, house: House, server: Server, platform: Platform, port: int) -> None:
        self.house = house
        self.server = server
        self.platform = platform
        self.port = port
        self.other = Signer(house.folder, "other")

    def text(self, *more: str, commands: tuple[str, ...] = ACTIONS) -> str:
        keys = f'main = "{self.platform.signer.public}", other = "{self.other.public}"'
        uplink = (
            f'\n[uplink]\nurl = "mqtt://127.0.0.1:{self.port}"\nusername = "demo"\n'
            f'password_file = "{self.house.folder}/password"\n'
            f"commands = {json.dumps(commands)}\ncommand_keys = {{ {keys} }}\n"
            'configuration_keys = ["main"]\n'
        )
        lines = bus("hall", self.server.port) + device("a", "hall") + device("b", "hall", 2)
        return self.house.write(uplink, lines, *more)

    def start(self, **environment: str) -> None:
        self.house.start(**environment)
        eventually(self._is_listening)

    def _is_listening(self) -> bool:
        """Whether the gateway has subscribed: it replies."""
        expires = round((time.time() + 60) * 1000)
        probe = {"id": f"probe-{time.monotonic_ns()}", "device": "gateway", "action": "none"}
        self.platform.send({**probe, "expires": expires})
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            if self.platform.replies(probe["id"]):
                return True
            time.sleep(0.02)
        return False

    @property
    def digest(self) -> str:
        return str(self.house.config()["digest"])

    def outcomes(self, command: str) -> list[tuple[str, str, str]]:
        """What the journal says of a command: kind, status, reason."""
        records = (r for r in self.house.records(Lane.EVENT) if r.body.get("id") == command)
        return [(r.kind, r.body["status"], r.body["detail"]) for r in records]


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    password = tmp_path / "password"
    password.write_text("hunter2-very-secret")
    password.chmod(0o600)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(mqtt_broker(tmp_path))
        platform = Platform(broker.port, Signer(tmp_path, "main"))
        stack.callback(platform.close)
        server = Server()
        stack.callback(server.close)
        house = House(tmp_path)
        centre = Centre(house, server, platform, broker.port)
        centre.text(RULE)
        yield centre
        if house.process:
            house.end(signal.SIGKILL)


def test_a_reading_and_a_diagnosis(centre: Centre) -> None:
    centre.server.value = 21
    centre.start()
    platform = centre.platform
    unsigned = {"device": "a", "action": "read-now", "expires": round((time.time() + 60) * 1000)}
    reply = platform.ask({**unsigned, "id": "r1"})
    assert (reply["status"], reply["result"]["values"]["temperature"]) == ("done", 2.1)
    # It is a record too.
    eventually(
        lambda: any(
            entry["at"] == reply["result"]["at"]
            for topic, body in list(platform.heard)
            if topic == f"{ROOT}/a/telemetry"
            for entry in body["records"]
        )
    )
    # A repetition is not another reading.
    assert platform.ask({**unsigned, "id": "r1"}) == {"id": "r1", "status": "done", "detail": ""}
    reply = platform.ask({**unsigned, "id": "r2", "device": "gateway"})
    assert (reply["status"], reply["detail"]) == ("failed", "device-unknown")
    assert "gateway" in reply["reason"]
    centre.server.units.discard(2)
    reply = platform.ask({**unsigned, "id": "r3", "device": "b"})
    assert (reply["status"], bool(reply["reason"])) == ("failed", True)
    reply = platform.ask({**unsigned, "id": "d1", "device": "gateway", "action": "diagnose"})
    doctor = json.loads(linli("doctor", "--json", "--config", centre.house.file).stdout)
    assert reply["result"]["buses"].keys() == doctor["buses"].keys() == {"hall"}
    devices = reply["result"]["buses"]["hall"]["devices"]
    assert [each["device"] for each in devices] == ["a", "b"]
    assert reply["result"]["digest"] == centre.digest
    assert "hunter2" not in json.dumps(platform.heard)


def test_a_threshold_is_a_revision_with_an_author(centre: Centre) -> None:
    centre.start()
    platform, name = centre.platform, "rule.hot.when.0.above"
    for number, (args, detail) in enumerate(
        [
            ({"setting": name, "value": 126}, "threshold-range"),
            ({"setting": name, "value": "45"}, "threshold-range"),
            ({"setting": name, "value": True}, "threshold-range"),
            ({"setting": name}, "threshold-range"),
            ({"setting": "uplink.rate", "value": 1}, "threshold-unknown"),
            ({"setting": "device.a.unit", "value": 2}, "threshold-unknown"),
            ({"value": 45}, "threshold-unknown"),
            # The highest possible value is never exceeded.
            ({"setting": name, "value": 125}, "configuration-mistakes"),
        ]
    ):
        reply = platform.ask(platform.signed(f"no-{number}", "set-threshold", **args))
        assert (reply["status"], reply["detail"], bool(reply["reason"])) == ("failed", detail, True)
    before = centre.house.file.read_text("utf-8")
    message = platform.signed("t1", "set-threshold", by="Li", setting=name, value=45.5)
    reply = platform.ask(message)
    assert (reply["status"], reply["result"]["revision"]) == ("done", 2)
    after = centre.house.file.read_text("utf-8")
    assert after == before.replace("above = 40", "above = 45.5")
    (adopted,) = (
        r.body for r in centre.house.records(Lane.EVENT) if r.kind == "config" and r.body["number"] == 2
    )
    assert (adopted["by"], adopted["person"]) == ("upstream", "upstream main")
    listed = linli("config", "--config", centre.house.file).stdout
    assert "upstream main" in listed or "platform" in listed
    # The same again is answered, not done; other content under that id is refused.
    assert platform.ask(message)["status"] == "done"
    reply = platform.ask(platform.signed("t1", "set-threshold", setting=name, value=46))
    assert (reply["status"], reply["detail"]) == ("denied", "id-reused")
    assert centre.house.config()["revision"] == 2
    unsigned = {key: value for key, value in message.items() if key not in ("key", "signature")}
    assert platform.ask({**unsigned, "id": "t2"})["detail"] == "unsigned"


def test_a_configuration_is_adopted_or_refused_with_reasons(centre: Centre) -> None:
    centre.start()
    platform, digest = centre.platform, centre.digest
    text = centre.house.file.read_text("utf-8")
    better = text + device("c", "hall", 3)
    refused = {
        "unsigned": {**platform.configure("c1", better, digest), "signature": ""},
        "signature-wrong": {**platform.configure("c2", better, digest), "by": "Li"},
        "signature-wrong ": platform.configure("c3", better, digest, signer=centre.other),
        "signature-key-unknown": platform.configure("c4", better, digest, key="another"),
        "signature-key-limited": platform.configure("c5", better, digest, key="other", signer=centre.other),
        "signature-audience": platform.configure("c6", better, digest, audience="another"),
        "attachment-differs": {**platform.configure("c7", better, digest), "attachment": text},
        "expired": platform.configure("c8", better, digest, seconds=-1),
        "lifetime-too-long": platform.configure("c9", better, digest, seconds=7200),
    }
    for detail, message in refused.items():
        reply = platform.ask(message)
        assert (reply["status"], reply["detail"]) == ("denied", detail.strip())
        assert centre.outcomes(message["id"]) == [("command", "denied", detail.strip())]
    for number, (wrong, said) in enumerate(
        {
            text.replace('bus = "hall"', 'bus = "hal"'): "hal",
            text[:200]: ":",
            text + '\n[uplink.x]\nurl = "mqtt://x"\n': "uplink",
            # It could be started with, but `linli check` finds fault with it.
            text.replace("/password", "/passwort"): "passwort",
            text.replace(str(centre.house.metrics), "9"): "restart",
        }.items()
    ):
        reply = platform.ask(platform.configure(f"w{number}", wrong, digest))
        assert (reply["status"], reply["detail"]) == ("failed", "configuration-mistakes")
        assert said in reply["reason"]
    reply = platform.ask(platform.configure("o1", better, "0" * 16))
    assert (reply["detail"], digest in reply["reason"]) == ("configuration-other", True)
    assert centre.house.file.read_text("utf-8") == text
    assert centre.house.revisions() == [(1, "start")]


@pytest.mark.timeout(120)
def test_a_configuration_is_proved_or_returns(centre: Centre) -> None:
    """By its trial; after a rollback the file is what runs, so that the platform can try again."""
    centre.start()
    eventually(lambda: {unit for _, unit in centre.server.asked} == {1, 2})
    platform, text = centre.platform, centre.house.file.read_text("utf-8")
    reply = platform.ask(
        platform.configure("c1", text.replace("unit = 2", "unit = 9"), centre.digest), seconds=40
    )
    assert (reply["status"], reply["detail"]) == ("failed", "reload-returned")
    assert centre.house.revisions() == [(1, "start"), (2, "upstream"), (3, "rollback")]
    assert centre.house.file.read_text("utf-8") == text
    assert centre.house.config()["refused"] == {}
    edits = json.dumps(
        [{"path": ["device", "b", "unit"], "value": 3}, {"path": ["rule", "hot", "delay"], "value": 5}]
    )
    reply = platform.ask(platform.configure("c2", edits, centre.digest, form="edits"), seconds=40)
    assert (reply["status"], reply["result"]["revision"], reply["result"]["unproved"]) == ("done", 4, [])
    assert reply["result"]["digest"] == centre.digest
    assert "unit = 3" in centre.house.file.read_text("utf-8")
    # Nothing of the file is told to other platforms.
    (told,) = (
        r.body for r in centre.house.records(Lane.EVENT) if r.body.get("id") == "c2" and r.kind == "command"
    )
    assert told["args"].keys() == {"digest", "sha256", "form"}
    assert (told["key"], "unit" in json.dumps(told)) == ("main", False)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("stage", ["config-kept", "config-switched"])
def test_a_power_cut_in_the_middle_does_nothing_twice(centre: Centre, stage: str) -> None:
    centre.start()
    digest = centre.digest
    centre.house.end()
    centre.start(LINLI_KILL_AT=stage)
    platform, text = centre.platform, centre.house.file.read_text("utf-8")
    message = platform.configure("c1", text.replace("above = 40", "above = 50"), digest)
    platform.send(message)
    assert centre.house.process
    assert centre.house.process.wait(20) == -signal.SIGKILL
    centre.start()
    reply = platform.ask(message)
    assert (reply["status"], reply["detail"]) == ("unknown", "restart")
    assert centre.house.revisions() == [(1, "start"), (2, "upstream")]
    assert "above = 50" in centre.house.file.read_text("utf-8")
    assert centre.outcomes("c1") == [("command", "accepted", ""), ("outcome", "unknown", "restart")]


DIALECT = """
schema = "linli/dialect/1"
title = "Acme"
source = "made up"

[[command]]
topic = "down/{site}/{cmd}"
id = "{/no}"
device = { name = "{/dev}" }
action = "{topic.cmd}"
expires = "{/until}"
args = "/params"
attachment = "{/file}"
key = "{/signer}"
signature = "{/sign}"
[command.actions]
read = "read-now"
config = "configure"
[command.reply]
topic = "up/{site}/done"
payload = '''
{ "id": "{/no}", "status": "{command.status}", "why": "{command.reason}", "result": "{command.result}" }
'''

[[command]]
topic = "down/{site}/hot/{limit}"
id = "{/no}"
action = "limit"
lifetime = 30
args = "/params"
[command.actions]
limit = "set-threshold"
[command.arguments]
max = "value"
[command.added]
setting = "rule.{topic.limit}.when.0.above"
[command.reply]
topic = "up/{site}/done"
payload = '{ "id": "{/no}", "status": "{command.status}", "result": "{command.result}" }'
"""


def test_a_dialect_file_reaches_them_as_well(centre: Centre, tmp_path: Path) -> None:
    (tmp_path / "dialects").mkdir()
    (tmp_path / "dialects" / "acme.toml").write_text(DIALECT, "utf-8")
    text = centre.text(RULE).replace(
        "\nusername", '\ndialect = "acme"\ntrust = { set-threshold = "broker" }\nusername'
    )
    centre.house.file.write_text(text, "utf-8")
    assert linli("check", centre.house.file).returncode == 0
    centre.house.start()
    platform = centre.platform

    def ask(topic: str, message: dict[str, Any]) -> dict[str, Any]:
        def replies() -> list[dict[str, Any]]:
            heard = list(platform.heard)
            return [body for name, body in heard if name == "up/demo/done" and body["id"] == message["no"]]

        known = len(replies())
        platform.publish(f"down/demo/{topic}", message)
        eventually(lambda: len(replies()) > known, 15)
        return replies()[-1]

    probe = {"no": "0", "dev": "a", "until": round(time.time() + 60)}

    def is_subscribed() -> bool:
        platform.publish("down/demo/read", probe)
        time.sleep(0.2)
        return any(body["id"] == "0" for name, body in list(platform.heard) if name == "up/demo/done")

    eventually(is_subscribed)

    def signed(number: str, action: str, device: str, attachment: str = "", **args: Any) -> dict[str, Any]:
        ours = platform.signed(number, action, device, **args)
        return {
            "no": number, "dev": device, "until": ours["expires"], "params": args, "signer": ours["key"],
            "sign": ours["signature"], "file": attachment,
        }  # fmt: skip

    reply = ask("read", {"no": "1", "dev": "a", "until": round(time.time() + 60)})
    assert (reply["status"], "temperature" in reply["result"]["values"]) == ("done", True)
    reply = ask("hot/hot", {"no": "2", "params": {"max": 44}})
    assert (reply["status"], reply["result"]["revision"]) == ("done", 2)
    better = centre.house.file.read_text("utf-8").replace("above = 44", "above = 50")
    sha256 = hashlib.sha256(better.encode()).hexdigest()
    message = signed("3", "configure", "gateway", better, digest=centre.digest, sha256=sha256)
    for number, change in enumerate(({"signer": "other"}, {"file": text}, {"sign": ""}), 10):
        forged = {**message, **change}
        assert ask("config", forged)["status"] == "denied"
        assert ask("config", {**forged, "no": str(number)})["status"] == "denied"
    reply = ask("config", message)
    assert (reply["status"], reply["result"]["revision"]) == ("done", 3)
    assert "above = 50" in centre.house.file.read_text("utf-8")


@pytest.mark.parametrize("most", [60_000, 20_000, 3000, 300])
def test_a_diagnosis_is_bounded(most: int) -> None:
    findings = [
        {"device": f"d{n}", "key": "device-silent", "facts": {"since": "1 min"}} for n in range(100)
    ]
    report = {
        "buses": {
            "hall": {
                "use": 1.0,
                "devices": [
                    {"device": f"d{n}", "state": "online", "polls": 10, "p50": 0.1, "p99": 0.2}
                    for n in range(900)
                ],
                "findings": findings,
            }
        },
        "gateway": [{"key": "loop-late", "facts": {}}],
    }
    bounded = bounded_report(report, most)
    assert len(json.dumps(bounded, separators=(",", ":"))) <= most
    hall = bounded["buses"]["hall"]
    assert bounded["left_out"] == 1001 - len(hall["devices"]) - len(hall["findings"]) - len(
        bounded["gateway"]
    )
    assert (len(hall["findings"]) == 100) == (most >= 20_000)
