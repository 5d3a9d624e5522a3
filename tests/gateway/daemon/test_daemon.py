from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import signal
import socket
import sqlite3
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.base import control
from gateway.config import Site, load_site
from gateway.config.adoption import StartConfiguration
from gateway.daemon import calls, main
from gateway.journal import JournalReader
from gateway.model import GatewayError, Lane, Record
from gateway.wire.broker import BrokerOptions
from gateway.wire.mqtt import connect
from tests.broker import hearing
from tests.broker import running as mqtt_broker
from tests.gateway.conftest import SITE, Centre, linli
from tests.gateway.ledger import account
from tests.gateway.simulate.conftest import eventually
from tests.ports import free_port


def journal(path: Path, lane: Lane) -> list[Record]:
    """Every record of a lane, read from outside."""

    async def read() -> list[Record]:
        async with JournalReader.open(path) as reader:
            return [record async for record in reader.records(lane, 0)]

    return asyncio.run(read())


def test_every_device_appears_upstream_with_plausible_values(running: Centre) -> None:
    devices = tomllib.loads(running.daemon.site.read_text("utf-8"))["device"]
    latest = running.witness.latest
    eventually(lambda: all(latest(name).get("quality") == "good" for name in devices))
    assert 15 < latest("smoke-hall")["values"]["temperature"] < 35
    assert 1 < latest("fridge-1")["values"]["temperature"] < 8
    assert latest("gas-kitchen")["values"]["gas"] is False
    eventually(lambda: latest("door-east")["values"]["in"] == running.sim.state()["doors"]["1"]["entered"])
    eventually(
        lambda: (
            [latest("locker-1")["values"][f"item.{n}"] for n in range(1, 17)]
            == [locker["parcel"] is not None for locker in running.sim.state()["lockers"]]
        )
    )
    occupied = sum(bay["occupied"] for bay in running.sim.state()["bays"].values())
    eventually(lambda: latest("parking").get("values", {}).get("occupied") == occupied)


def test_smoke_is_an_alarm_until_somebody_has_acknowledged_it(running: Centre) -> None:
    def change(change: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = eventually(
            lambda: running.witness.find("smoke-hall", "alarm", change=change)
        )
        data: dict[str, Any] = found[-1]["data"]
        return data

    running.do("smoke", unit=1, on=True)
    raised = change("raised")
    assert (raised["hazard"], raised["state"]) == ("fire", "active")
    running.do("smoke", unit=1, on=False)
    cleared = change("cleared")
    assert (cleared["id"], cleared["state"]) == (raised["id"], "cleared")
    running.command("ack-1", "smoke-hall", "acknowledge", alarm=raised["id"])
    assert running.reply("ack-1") == {"id": "ack-1", "status": "done", "detail": ""}
    assert change("acknowledged")["state"] == "latched"
    running.command("reset-1", "smoke-hall", "reset", alarm=raised["id"])
    assert running.reply("reset-1")["status"] == "done"
    assert (change("closed")["state"], change("closed")["by"]) == ("normal", "platform")
    running.command("ack-2", "smoke-hall", "acknowledge", alarm=raised["id"])
    assert running.reply("ack-2")["status"] == "failed"


def test_a_locker_opens_once_for_a_command_however_often_it_comes(running: Centre) -> None:
    def door(lock: int) -> bool:
        return bool(running.sim.state()["lockers"][lock]["open"])

    lock = next(n for n, locker in enumerate(running.sim.state()["lockers"]) if not locker["open"])
    running.command("open-1", "locker-1", "open", lock=lock + 1)
    assert running.reply("open-1") == {"id": "open-1", "status": "done", "detail": ""}
    opened = {"lock": lock + 1, "open": True}
    eventually(lambda: running.witness.find("locker-1", "event", **opened))
    eventually(lambda: not door(lock))
    running.command("open-1", "locker-1", "open", lock=lock + 1)
    eventually(lambda: len(running.replies("open-1")) == 2)
    assert running.replies("open-1")[1] == running.replies("open-1")[0]
    # Had it been executed, the door would stand open before the reply left.
    assert not door(lock)
    assert len(running.witness.find("locker-1", "event", id="open-1", status="done")) == 1
    audit = [r.kind for r in journal(running.daemon.journal, Lane.EVENT) if r.body.get("id") == "open-1"]
    assert audit == ["command", "outcome"]


def test_what_may_not_be_done_is_denied_and_written_down(running: Centre) -> None:
    running.command("no-1", "locker-1", "reboot")

    def reply(name: str) -> dict[str, Any]:
        said = running.reply(name)
        assert said.pop("reason")
        return said

    assert reply("no-1") == {"id": "no-1", "status": "denied", "detail": "not-allowed"}
    running.command("no-2", "locker-1", "open", expires=-1.0, lock=1)
    assert reply("no-2") == {"id": "no-2", "status": "denied", "detail": "expired"}
    running.command("no-3", "locker-1", "open", lock=17)
    assert reply("no-3") == {"id": "no-3", "status": "failed", "detail": "lock-unknown"}
    running.command("no-4", "smoke-hall", "open")
    assert reply("no-4") == {"id": "no-4", "status": "failed", "detail": "action-unknown"}
    running.command("no-5", "nobody", "open", lock=1)
    assert reply("no-5") == {"id": "no-5", "status": "denied", "detail": "device-unknown"}
    written = {r.body.get("id"): r.body for r in journal(running.daemon.journal, Lane.EVENT)}
    assert [written[f"no-{n}"]["status"] for n in range(1, 6)] == [
        "denied", "denied", "failed", "failed", "denied",
    ]  # fmt: skip
    assert written["no-1"]["origin"] == "upstream"
    assert written["no-1"]["by"] == "platform"


FINE = {"id": "bad", "device": "locker-1", "action": "open", "expires": 4_000_000_000_000}


@pytest.mark.parametrize(
    "payload",
    [
        "",
        json.dumps({**FINE, "device": "a/+/b"}),
        json.dumps({**FINE, "args": {"lock": 10**40}}),
        '{"x": ' + "[" * 5000,
    ],
    ids=["empty", "topic", "huge", "deep"],
)
def test_a_malformed_command_harms_nobody(running: Centre, payload: str) -> None:
    refused = running.daemon.log.read_text("utf-8").count("command-refused")
    assert running.broker.publish(f"{SITE}/command", payload) == 0
    eventually(lambda: running.daemon.log.read_text("utf-8").count("command-refused") > refused)
    assert running.daemon.process
    assert running.daemon.process.poll() is None
    assert running.replies("bad") == []
    eventually(lambda: running.witness.find("gateway", "event", event="command-refused"))


def test_a_retained_command_is_ignored(running: Centre) -> None:
    """It is only seen as such by who comes after it: the gateway meets it as it reconnects."""
    seen = json.dumps({**FINE, "id": "retained", "args": {"lock": 3}})
    running.daemon.end()
    try:
        assert running.broker.publish(f"{SITE}/command", seen, "-r") == 0
        running.daemon.start()
        eventually(lambda: "retain）" in running.daemon.log.read_text("utf-8"))
        running.command("after", "smoke-hall", "reboot")
        assert running.reply("after")["status"] == "denied"
        assert running.replies("retained") == []
        assert not running.sim.state()["lockers"][2]["open"]
    finally:
        assert running.broker.publish(f"{SITE}/command", "", "-r") == 0


def longest_silence(running: Centre, device: str, since: int) -> float:
    """Seconds between two samples of a device."""
    monos = [entry["mono"] for entry in running.witness.find(device, "telemetry") if entry["mono"] >= since]
    return max(float(b - a) / 1e9 for a, b in itertools.pairwise(monos))


def test_who_does_not_answer_takes_nobodys_turn(running: Centre) -> None:
    """One dead, one slow, one line full of noise, all at once: the others keep their cadence."""
    latest = running.witness.latest
    faulty = {"smoke-kitchen": {"timeout"}, "door-south": {"timeout"}, "locker-1": {"garbage", "timeout"}}
    eventually(lambda: all(latest(name).get("quality") == "good" for name in faulty))
    began = time.monotonic_ns()
    running.do("dead", wire="rtu", unit=2, on=True)
    running.do("slow", wire="tcp", unit=2, ms=5000)
    running.do("garbage", wire="cu16", on=True)
    try:
        for name, errors in faulty.items():
            eventually(lambda name=name: latest(name)["quality"] == "offline", 20)  # type: ignore[misc]
            assert latest(name)["error"] in errors
            eventually(lambda name=name: running.witness.find(name, "event", online=False))  # type: ignore[misc]
        eventually(lambda: time.monotonic_ns() > began + 5e9)
    finally:
        running.do("clear")
    for other in ("smoke-hall", "smoke-activity", "door-east", "gas-kitchen"):
        assert longest_silence(running, other, began) < 2.5
    eventually(lambda: all(latest(name)["quality"] == "good" for name in faulty), 30)
    # A safety device that falls silent is a fault, not "normal".
    assert running.witness.find("smoke-kitchen", "alarm", hazard="fault", point="link", change="raised")
    # Noise is never a value: no door opened by itself.
    doors = {f"door.{n}": False for n in range(1, 17)}
    for entry in running.witness.find("locker-1", "telemetry", quality="good"):
        if began < entry["mono"] < began + 5e9:
            assert doors.items() <= entry["data"]["values"].items()


def test_systemd_is_told_how_things_stand(centre: Centre) -> None:
    """And SIGTERM ends it at once, whoever is still connected."""
    centre.broker.start()
    address = centre.daemon.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, socket.socket(socket.AF_UNIX) as idle:
        systemd.bind(str(address))
        systemd.settimeout(15)
        centre.daemon.start(NOTIFY_SOCKET=str(address), WATCHDOG_USEC="400000")
        told = [systemd.recv(100)]
        while told.count(b"WATCHDOG=1") < 5:
            told.append(systemd.recv(100))
        assert told.count(b"READY=1") == 1
        assert b"STOPPING=1" not in told
        eventually(lambda: (centre.daemon.health() or {}).get("uplinks", {}).get("uplink"))
        idle.connect(str(centre.daemon.socket))
        began = time.monotonic()
        assert centre.daemon.end() == 0
        assert time.monotonic() - began < 3
        systemd.setblocking(False)
        assert b"STOPPING=1" in list(iter(lambda: _received(systemd), b""))
    assert "Traceback" not in centre.daemon.log.read_text("utf-8")
    assert not centre.daemon.socket.exists()


def _received(systemd: socket.socket) -> bytes:
    try:
        return systemd.recv(100)
    except BlockingIOError:
        return b""


def test_sigterm_while_nothing_can_be_reached(centre: Centre) -> None:
    """No broker, no centre: it is waiting everywhere."""
    centre.sim.process.terminate()
    centre.sim.process.wait(10)
    centre.daemon.start()
    eventually(lambda: centre.daemon.log.read_text("utf-8").count("bus-down") >= 3)
    began = time.monotonic()
    assert centre.daemon.end() == 0
    assert time.monotonic() - began < 3


def test_a_second_gateway_on_the_same_journal_is_refused(running: Centre) -> None:
    eventually(running.daemon.up)
    for lang, said in (("en", "another gateway is using the journal"), ("zh", "另一个网关正在使用")):
        done = linli("run", "--config", running.daemon.site, lang=lang)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    # The first one was not disturbed.
    assert running.daemon.up()
    assert linli("read", "bay-1", "--config", running.daemon.site).returncode == 0


@pytest.fixture
def small_disk(centre: Centre) -> Iterator[Path]:
    """A disk of 3 MB for the journal alone."""
    folder = centre.daemon.folder / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], check=True)
    try:
        text = centre.daemon.site.read_text("utf-8")
        centre.daemon.journal = folder / "journal.db"
        centre.daemon.site.write_text(
            text.replace(str(centre.daemon.folder / "journal.db"), str(centre.daemon.journal)), "utf-8"
        )
        yield folder
    finally:
        if centre.daemon.process:
            centre.daemon.end(signal.SIGKILL)
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_stops_neither_the_gateway_nor_an_alarm(centre: Centre, small_disk: Path) -> None:
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
    with (small_disk / "ballast").open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"x" * 1024)
    centre.do("smoke", unit=1, on=True)
    eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="raised"))
    (small_disk / "ballast").unlink()
    began = time.monotonic_ns()
    eventually(lambda: any(e["mono"] > began for e in centre.witness.find("smoke-hall", "telemetry")))
    assert centre.daemon.end() == 0
    assert account(centre.daemon.journal, centre.witness)["kept"] > 10


def test_a_disk_that_turns_read_only_keeps_no_alarm_back(centre: Centre, small_disk: Path) -> None:
    """What a worn-out card does: its file system is remounted read-only while it is in use."""
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
    with (small_disk / "ballast").open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"x" * 1024)
    with contextlib.closing(sqlite3.connect(centre.daemon.journal, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        centre.do("smoke", unit=1, on=True)
        eventually(lambda: "smoke-hall" in _urgent(centre))
        other.execute("ROLLBACK")
    (small_disk / "ballast").unlink()
    eventually(lambda: centre.daemon.get("healthz")[0] == 200)
    eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="raised"))


def _urgent(centre: Centre) -> list[str]:
    """Devices whose alarms left although no disk had them."""
    return [message["device"] for topic, message in centre.witness.messages() if topic.endswith("/urgent")]


def test_a_dead_card_costs_the_memory_and_not_the_alarms(centre: Centre, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    centre.do("smoke", unit=1, on=True)
    eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="raised"))
    eventually(lambda: centre.witness.find("gateway", "alarm", change="raised"))
    status, body = centre.daemon.get("healthz")
    assert status == 503
    assert "read-only" in json.loads(body)["journal"].lower() or "readonly" in json.loads(body)["journal"]
    assert centre.daemon.end() == 0


def test_a_journal_that_cannot_be_written_is_told_and_caught_up(centre: Centre) -> None:
    """Somebody holds it: the gateway lives on in memory, looks ill, and loses nothing."""
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
    assert centre.daemon.get("healthz")[0] == 200
    with contextlib.closing(sqlite3.connect(centre.daemon.journal, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        centre.do("smoke", unit=1, on=True)
        eventually(lambda: centre.daemon.get("healthz")[0] == 503)
        eventually(lambda: "journal-failed" in centre.daemon.log.read_text("utf-8"))
        assert json.loads(centre.daemon.get("healthz")[1])["ok"] is False
        other.execute("ROLLBACK")
    eventually(lambda: centre.daemon.get("healthz")[0] == 200)
    eventually(lambda: "journal-well" in centre.daemon.log.read_text("utf-8"))
    eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="raised"))
    assert centre.daemon.end() == 0
    assert account(centre.daemon.journal, centre.witness)["missing"] == 0


def test_a_fire_sounds_the_siren_and_a_person_silences_it(running: Centre) -> None:
    def siren() -> bool:
        return bool(running.sim.state()["siren"])

    eventually(lambda: running.witness.latest("desk").get("quality") == "good")
    running.do("call-point", on=True)
    eventually(siren)
    raised = eventually(lambda: running.witness.find("desk", "alarm", change="raised"))[0]["data"]
    assert raised["hazard"] == "fire"
    # Other alarms may have sounded it before.
    eventually(
        lambda: any(
            switched["at"] >= raised["raised"]
            for switched in running.witness.find("desk", "event", action="siren-on", done=True)
        )
    )
    running.do("call-point", on=False)
    eventually(lambda: running.witness.find("desk", "alarm", change="cleared"))
    assert siren(), "it sounds until a person has dealt with it"
    running.command("ack-siren", "desk", "acknowledge", alarm=raised["id"])
    eventually(lambda: not siren())
    running.command("reset-siren", "desk", "reset", alarm=raised["id"])
    assert running.reply("reset-siren")["status"] == "done"


VALVE = """
schema = "linli/site/1"

[site]
id = "here"
title = "Here"

[journal]
path = "{folder}/journal.db"

[control]
socket = "{folder}/control.sock"

[metrics]
port = {port}

[bus.zigbee]
driver = "mqtt_json"
url = "{url}"

[device.valve]
profile = "valve/generic-zigbee2mqtt"
bus = "zigbee"
topic = "zigbee2mqtt/valve"
every = 60
"""


async def test_a_command_that_takes_long_is_answered_at_once_and_its_end_when_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "COMMAND_RESPONSE_TIMEOUT_S", 0.3)
    with mqtt_broker(tmp_path) as broker:
        file = tmp_path / "site.toml"
        file.write_text(VALVE.format(folder=tmp_path, url=broker.url, port=free_port()))
        site = load_site(file)
        async with hearing(broker, "zigbee2mqtt/valve/set") as told:
            running = asyncio.create_task(main.run(file, StartConfiguration(site, None)))
            ask = functools.partial(
                control.call_daemon,
                site.control.socket,
                "command",
                id="once",
                device="valve",
                action="close-valve",
                origin="console",
                expires=round(time.time() * 1000) + 10_000,
            )
            async with asyncio.timeout(10):
                while not await up(site):
                    await asyncio.sleep(0.05)
            assert [(await ask())["status"] for _ in range(2)] == ["accepted", "accepted"]
            assert (await told.readline()).endswith(b' {"state": "OFF"}\n')
            async with connect(BrokerOptions(url=broker.url)) as valve:
                await valve.publish("zigbee2mqtt/valve", b'{"state": "OFF"}')
            async with asyncio.timeout(10):
                while (answer := await ask())["status"] == "accepted":
                    await asyncio.sleep(0.05)
            assert answer == {"status": "done", "detail": "", "facts": {}}
            # It was told once, however often somebody asked.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(told.readline(), 0.3)
            running.cancel()
            await asyncio.wait([running])


async def up(site: Site) -> bool:
    with contextlib.suppress(GatewayError):
        return bool((await control.call_daemon(site.control.socket, "health"))["buses"]["zigbee"])
    return False


def test_a_reload_leaves_alone_what_it_does_not_change(running: Centre) -> None:
    def siren() -> bool:
        return bool(running.sim.state()["siren"])

    def adopt(before: str, after: str) -> None:
        text = running.daemon.site.read_text("utf-8")
        assert before in text
        running.daemon.site.write_text(text.replace(before, after), "utf-8")
        asked = {"by": "test", "returning": False}
        assert asyncio.run(control.call_daemon(running.daemon.socket, "reload", **asked))["adopted"]

    eventually(lambda: running.witness.latest("desk").get("quality") == "good")
    switch = {"device": "desk", "action": "siren-on", "origin": "console", "id": "by-hand"}
    expires = round(time.time() * 1000) + 10_000
    asyncio.run(control.call_daemon(running.daemon.socket, "command", expires=expires, **switch))
    eventually(siren)
    adopt("above = 150", "above = 140")
    orders = len(running.witness.find("desk", "event", action="siren-off"))
    running.do("smoke", unit=1, on=True)
    eventually(lambda: running.witness.find("smoke-hall", "alarm", change="raised"))
    assert siren()
    assert len(running.witness.find("desk", "event", action="siren-off")) == orders
    # What was changed is put as the alarms want it, at once.
    adopt('hazards = ["fire", "gas", "sos"]', 'hazards = ["gas"]')
    eventually(lambda: not siren())
