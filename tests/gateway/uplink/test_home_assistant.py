"""Home Assistant's discovery through a real broker; its templates are evaluated by jinja, as there."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from paho.mqtt.enums import CallbackAPIVersion

from gateway.config.options import HomeAssistantOptions, UplinkOptions
from gateway.config.profile import load_profile
from gateway.model import (
    Action,
    AlarmSpec,
    ClockQuality,
    Device,
    Fact,
    GatewayError,
    Hazard,
    Lane,
    Point,
    Record,
    Sample,
    Stamp,
)
from gateway.uplink import Uplink
from gateway.uplink.dialect import Request
from gateway.uplink.home_assistant import HomeAssistantDialect
from tests.gateway.uplink.kit import Gateway, eventually, gateway, mosquitto
from tests.ports import free_port

SCHEMA = Draft202012Validator(
    json.loads(Path(__file__).with_name("home_assistant_schema.json").read_text("utf-8"))
)
PROFILES = sorted((Path(__file__).parents[3] / "config" / "profiles").glob("*/*.toml"))
AT = Stamp(1_795_000_000_000, 0, "boot", ClockQuality.SYNCED)
SMOKE = Device(
    name="smoke-1", title={"zh": "大厅烟感", "en": "Hall"}, room={"zh": "大厅"}, kind="smoke",
    profile="smoke/x", bus="b", address=1, every=1.0, serial="s1",
    points={
        "smoke": Point(bit=0, alarm=AlarmSpec(hazard=Hazard.FIRE)),
        "temperature": Point(unit="°C", scale=0.1),
        "energy.1": Point(unit="kWh"),
    },
    actions={"siren-on": Action(), "reboot": Action()},
)  # fmt: skip
ALARM = {"change": "raised", "state": "active", "point": "smoke", "hazard": "fire"}


def dialect_of(*devices: Device, actions: tuple[str, ...] = ("siren-on", "reset")) -> HomeAssistantDialect:
    return HomeAssistantDialect(
        HomeAssistantOptions(),
        "centre",
        "中心",
        {device.name: device for device in devices},
        language="zh",
        actions=frozenset(actions),
        selects=lambda device: device != "secret",
        others={"gateway", "visitors"},
    )


def start(it: Gateway, port: int, *devices: Device) -> None:
    options = UplinkOptions(
        url=f"mqtt://127.0.0.1:{port}", commands=("siren-on", "reset"), trust={"siren-on": "broker"}
    )
    it.uplink = Uplink("uplink", options, dialect_of(*devices), it.journal, it.clock, it.obey, it.sink)
    it.task = asyncio.create_task(it.uplink.run())


class Home:
    """What Home Assistant sees: every message, and the newest of each topic."""

    def __init__(self, client: paho.Client) -> None:
        self.client = client
        self.heard: list[tuple[str, bytes]] = []

    def __getitem__(self, topic: str) -> bytes | None:
        return next((payload for each, payload in reversed(list(self.heard)) if each == topic), None)

    def all_on(self, topic: str) -> list[bytes]:
        return [payload for each, payload in list(self.heard) if each == topic]

    def configuration(self, device: str) -> Any:
        return json.loads(self[f"homeassistant/device/linli_centre_{device}/config"] or b"{}")

    def state(self, device: str, key: str) -> str:
        """The state of a component, as Home Assistant's template makes it; "unavailable" if it is so."""
        configuration = self.configuration(device)
        component = configuration["components"][key]
        for each in component.get("availability", configuration["availability"]):
            if self[each["topic"]] != b"online":
                return "unavailable"
        said = (self[component["state_topic"]] or b"").decode()
        if "value_template" not in component:
            return said
        return jinja2.Template(component["value_template"]).render(value_json=json.loads(said))


@contextmanager
def home(port: int) -> Iterator[Home]:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    seen = Home(client)
    ready: list[int] = []
    client.on_message = lambda _c, _u, message: seen.heard.append((message.topic, message.payload))
    client.on_connect = lambda connected, *_: connected.subscribe("#", qos=1)
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
        del seen.client, client


async def say(it: Gateway, device: str = "smoke-1", error: str = "", **values: Any) -> None:
    it.journal.append_sample(Sample(device, it.clock.now(), values, error=error))
    await it.close_window()


async def raise_alarm(it: Gateway, **changes: Any) -> None:
    it.journal.append("", [Fact(Lane.ALARM, "smoke-1", "alarm", it.clock.now(), ALARM | changes)], {})
    await it.journal.commit()


async def test_a_device_is_seen_with_its_values_and_alarms(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port):
        async with gateway(tmp_path, window=10) as it:
            start(it, port, SMOKE)
            await say(it, smoke=False, temperature=21.5)
            await raise_alarm(it)
            await eventually(it.caught_up)
            with home(port) as seen:  # All of it is retained.
                await eventually(lambda: seen["linli-ha/centre/smoke-1/alarm/smoke"])
                await eventually(lambda: seen["linli-ha/centre/smoke-1/state"])
                await eventually(lambda: seen["linli-ha/centre/smoke-1/availability"])
                await eventually(lambda: seen["linli-ha/centre/status"] and seen.configuration("gateway"))
                await eventually(lambda: seen.configuration("smoke-1"))
                assert seen.state("smoke-1", "smoke") == "OFF"
                assert seen.state("smoke-1", "temperature") == "21.5"
                assert seen.state("smoke-1", "energy_1") == "None"
                assert seen.state("smoke-1", "alarm_smoke") == "ON"
                await raise_alarm(it, change="reset", state="normal")
                await say(it, smoke=True)
                await eventually(lambda: seen.state("smoke-1", "alarm_smoke") == "OFF")
                await eventually(lambda: seen.state("smoke-1", "smoke") == "ON")
                assert seen.state("smoke-1", "temperature") == "21.5"
                await say(it, error="no-reply")
                await eventually(lambda: seen.state("smoke-1", "smoke") == "unavailable")
                assert seen.state("smoke-1", "alarm_smoke") == "OFF"  # It stands as it was.
                await raise_alarm(it)
                await eventually(lambda: seen.state("smoke-1", "alarm_smoke") == "ON")
                await say(it, smoke=False)
                await eventually(lambda: seen.state("smoke-1", "smoke") == "OFF")
                assert seen.state("gateway", "connection") == "online"
                await it.stop()
                await eventually(lambda: seen.state("smoke-1", "smoke") == "unavailable")
                assert seen.state("gateway", "connection") == "offline"


async def test_the_will_makes_all_unavailable(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port), home(port) as seen:
        async with gateway(tmp_path, window=10) as it:
            start(it, port, SMOKE)
            await eventually(lambda: it.uplink._link)
            transport: Any = it.uplink._link and it.uplink._link._transport
            transport._socket.shutdown(2)
            await eventually(lambda: b"offline" in seen.all_on("linli-ha/centre/status"))


async def test_old_history_is_no_present_state(tmp_path: Path) -> None:
    """Only the newest of a backlog is said, and of an alarm only how it stands."""
    port = free_port()
    with mosquitto(tmp_path, port), home(port) as seen:
        async with gateway(tmp_path, window=10) as it:
            for number in range(20):
                await say(it, temperature=float(number))
            await raise_alarm(it)
            await raise_alarm(it, state="normal")
            start(it, port, SMOKE)
            await eventually(it.caught_up)
            await eventually(lambda: seen["linli-ha/centre/smoke-1/alarm/smoke"])
            assert {
                json.loads(each)["temperature"] for each in seen.all_on("linli-ha/centre/smoke-1/state")
            } == {19.0}
            assert set(seen.all_on("linli-ha/centre/smoke-1/alarm/smoke")) == {b"OFF"}


async def test_all_is_said_again_when_home_assistant_starts(tmp_path: Path) -> None:
    port = free_port()
    topics = [
        "homeassistant/device/linli_centre_smoke-1/config", "linli-ha/centre/smoke-1/state",
        "linli-ha/centre/smoke-1/availability", "linli-ha/centre/smoke-1/alarm/smoke",
    ]  # fmt: skip
    with mosquitto(tmp_path, port), home(port) as seen:
        async with gateway(tmp_path, window=10) as it:
            start(it, port, SMOKE)
            await say(it, smoke=False)
            await raise_alarm(it)
            await eventually(it.caught_up)
            before = {topic: len(seen.all_on(topic)) for topic in topics}
            seen.client.publish("homeassistant/status", "online", qos=1)
            await eventually(lambda: all(len(seen.all_on(topic)) > before[topic] for topic in topics))
            assert seen["linli-ha/centre/smoke-1/alarm/smoke"] == b"ON"


async def test_a_device_that_has_left_is_removed_and_no_other(tmp_path: Path) -> None:
    port = free_port()
    prefix = "homeassistant/device"
    others = {
        f"{prefix}/linli_centre_visitors/config",
        f"{prefix}/linli_centre2_old/config",
        f"{prefix}/x/config",
    }
    with mosquitto(tmp_path, port), home(port) as seen:
        for topic in (*others, f"{prefix}/linli_centre_old/config", "linli-ha/centre/old/state"):
            seen.client.publish(topic, "{}", qos=1, retain=True)
        await eventually(lambda: seen["linli-ha/centre/old/state"])
        async with gateway(tmp_path, window=10) as it:
            await say(it, "old", x=1)  # What it has said before does not bring it back.
            del it.journal.latest_samples["old"]
            start(it, port, SMOKE)
            await eventually(lambda: seen["linli-ha/centre/old/availability"] == b"")
            await eventually(it.caught_up)
    assert seen[f"{prefix}/linli_centre_old/config"] == seen["linli-ha/centre/old/state"] == b""
    assert {seen[topic] for topic in others} == {b"{}"}


async def test_a_button_commands(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port), home(port) as seen:
        async with gateway(tmp_path, window=10) as it:
            start(it, port, SMOKE)
            await say(it, smoke=False)
            # Commands are subscribed to before the first record is sent; states may be announced before.
            await eventually(lambda: it.uplink.acknowledged_messages[Lane.TELEMETRY])
            components = (await eventually(lambda: seen.configuration("smoke-1")))["components"]
            buttons = {key: each for key, each in components.items() if each["platform"] == "button"}
            assert set(buttons) == {"do_siren-on", "do_reset"}
            now = datetime.datetime.now(datetime.UTC)
            for button in buttons.values():
                payload = jinja2.Template(button["command_template"]).render(now=lambda: now)
                seen.client.publish(button["command_topic"], payload, qos=1)
                seen.client.publish(button["command_topic"], payload, qos=1, retain=True)
            await eventually(lambda: len({each.action for each in it.commands}) == 2)
            by_action = {each.action: each for each in it.commands}
            assert by_action["siren-on"].objection == ""
            assert by_action["reset"].objection == "unsigned"
            assert by_action["siren-on"].device == "smoke-1"
            assert by_action["siren-on"].expires == int(now.timestamp() * 1000) + 60_000
            assert len({each.id for each in it.commands}) == 2


@pytest.mark.parametrize(
    ("device", "action", "payload"),
    [
        ("smoke-1", "reboot", b'{"at": 1}'),
        ("nobody", "siren-on", b'{"at": 1}'),
        ("gateway", "reset", b'{"at": 1}'),
        ("smoke-1", "siren-on", b"PRESS"),
        ("smoke-1", "siren-on", b"{}"),
        ("smoke-1", "siren-on", b'{"at": "now"}'),
        ("smoke-1", "siren-on", b'{"at": 1, "x": "' + b"x" * 300 + b'"}'),
        ("smoke-1", "siren-on", b"\xff"),
    ],
)
def test_other_presses_are_refused(device: str, action: str, payload: bytes) -> None:
    with pytest.raises(GatewayError):
        list(dialect_of(SMOKE).parse(f"linli-ha/centre/{device}/command/{action}", payload, AT))


@given(
    st.sampled_from(
        ["homeassistant/status", "homeassistant/device/linli_centre_a/config",
         "homeassistant/device//config",
         "linli-ha/centre/smoke-1/command/siren-on", "linli-ha/centre//command/"]
    ),
    st.binary(max_size=60) | st.integers().map(lambda at: b'{"at": %d}' % at),
)  # fmt: skip
def test_any_message_has_a_meaning_or_is_refused(topic: str, payload: bytes) -> None:
    with contextlib.suppress(GatewayError):
        for meaning in dialect_of(SMOKE).parse(topic, payload, AT):
            if isinstance(meaning, Request):
                assert 0 < meaning.command.expires < 1 << 63


@pytest.mark.parametrize("profile", PROFILES, ids=lambda file: file.stem)
def test_every_model_is_discovered(profile: Path) -> None:
    """By the schema, before and after its first values."""
    model = load_profile(profile)
    device = Device(
        name="d", title={"zh": "设备"}, kind=model.kind, profile="x/y", bus="b", address=1, every=1.0,
        points=model.points, actions=model.actions,
    )  # fmt: skip
    dialect = dialect_of(device, actions=tuple(model.actions))
    values = {
        point: True if spec.is_boolean else "word" if spec.words else 1.5
        for point, spec in model.points.items()
    }
    latest = {"d": Record(Lane.TELEMETRY, "d", 1, "sample", AT, {"values": values})}
    for known in ({}, latest):
        configurations, _ = dialect.opening_messages(known)
        for message in configurations:
            assert message.retain
            SCHEMA.validate(json.loads(message.payload))
        (about,) = (json.loads(each.payload) for each in configurations if each.topic.endswith("_d/config"))
        assert len(about["components"]) >= len(model.points)


def test_what_a_value_turns_out_to_be_changes_the_configuration_once() -> None:
    dialect = dialect_of(SMOKE)
    list(dialect.opening_messages({}))
    made = [
        dialect.records_message([Record(Lane.TELEMETRY, "smoke-1", n, "sample", AT, {"values": values})])
        for n, values in enumerate([{"note": "a"}, {"note": "b"}, {"x": 1}, {"x": 2.5}, {"x": "?"}], 1)
    ]
    said = [
        [
            json.loads(each.payload)["components"]
            for each in message.before
            if each.topic.endswith("/config")
        ]
        for message in made
        if message
    ]
    assert [len(each) for each in said] == [1, 0, 1, 0, 1]
    assert "state_class" not in said[0][0]["note"]
    assert said[2][0]["x"]["state_class"] == "measurement"
    assert "state_class" not in said[4][0]["x"]
