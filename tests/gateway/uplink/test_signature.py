"""Commands that are signed, by openssl: who may open a door does not follow from a broker's account."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.uplink.signature import signature_objection
from tests.gateway.uplink.kit import ROOT, eventually, gateway, mosquitto, witness
from tests.gateway.uplink.signer import Signer, canonical
from tests.ports import free_port

ASKED = {"id": "1", "device": "d", "action": "open", "expires": 2**53 - 1, "args": {"lock": 3}, "by": "Li"}


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path, "signer")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with mosquitto(tmp_path, port):
        yield port


@pytest.fixture
def send(port: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()

    def publish(command: dict[str, Any]) -> None:
        client.publish(f"{ROOT}/command", json.dumps(command), qos=1).wait_for_publish(10)

    yield publish
    client.loop_stop()
    client.disconnect()


def signed(signer: Signer, key: str = "a", audience: str = "centre", **change: Any) -> dict[str, Any]:
    """A signed command; what is in `change` was changed after that."""
    command = {**ASKED, "audience": audience}
    return {**command, "key": key, "signature": signer.sign(canonical(command)), **change}


async def test_only_what_is_signed_is_executed(
    tmp_path: Path, port: int, signer: Signer, send: Callable[[dict[str, Any]], None]
) -> None:
    other = Signer(tmp_path, "other")
    commands = {
        "unsigned": ASKED,
        "signature-key-unknown": signed(signer, key="b"),
        "signature-audience": signed(signer, audience="another"),
        "signature-wrong": signed(other),
        "signature-wrong ": signed(signer, args={"lock": 4}),
        "signature-wrong  ": signed(signer, device="e"),
        "signature-wrong   ": signed(signer, expires=2**53 - 2),
        "signature-wrong    ": signed(signer, signature="no Base64"),
        "": signed(signer),
    }
    async with gateway(tmp_path) as it:
        it.start(port, command_keys={"a": signer.public}, trust={})
        await eventually(lambda: it.uplink.is_online)
        with witness(port):
            for number, command in enumerate(commands.values(), 1):
                send(command)
                await eventually(lambda: len(it.commands) == number)  # noqa: B023
        assert [command.objection for command in it.commands] == [why.strip() for why in commands]


@pytest.mark.parametrize(
    ("action", "trust", "objection"),
    [("acknowledge", {}, ""), ("reset", {}, "unsigned"), ("reset", {"reset": "broker"}, "")],
)
async def test_what_needs_no_signature(
    tmp_path: Path,
    port: int,
    send: Callable[[dict[str, Any]], None],
    action: str,
    trust: dict[str, str],
    objection: str,
) -> None:
    async with gateway(tmp_path) as it:
        it.start(port, commands=(action,), trust=trust)
        await eventually(lambda: it.uplink.is_online)
        send({**ASKED, "action": action})
        await eventually(lambda: it.commands)
        assert it.commands[0].objection == objection


@pytest.mark.parametrize("key", ["", "AAAA", base64.b64encode(b"\xff" * 32).decode()])
def test_a_key_that_is_none_signs_nothing(key: str) -> None:
    assert signature_objection({"a": key}, "a", "AAAA", {"id": "1"}) == "signature-wrong"
