"""Alink against a platform written from the vendor's documentation, through a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.config.dialect.file import load_dialect
from gateway.config.options import UplinkOptions
from gateway.journal import Journal
from gateway.model import Fact, Lane, LinkDown
from gateway.uplink import Uplink
from gateway.uplink.declarative.compile import Compiler
from gateway.uplink.declarative.dialect import DeclarativeDialect
from gateway.uplink.declarative.facts import DeviceFacts
from tests.gateway.uplink.broker import Broker, broker
from tests.gateway.uplink.kit import Gateway, Shifted, eventually, gateway, mosquitto
from tests.gateway.uplink.proxy import proxy
from tests.ports import free_port

from .alink import Device, Platform, platform

FILE = Path(__file__).parents[4] / "config" / "dialects" / "alink.toml"
GATEWAY = ("a1Gw", "gw1")
A, B = ("a1Sub", "a"), ("a1Sub", "b")
SECRETS = {GATEWAY: "gs", A: "as", B: "bs"}


def secret_of(device: Device) -> str:
    """What its file says."""
    return SECRETS[device]


class Ahead(Shifted):
    """Whose monotonic clock leaps, too."""

    def mono(self) -> float:
        return super().mono() + self.shift


def alink(journal: Journal) -> DeclarativeDialect:
    """The shipped dialect, for the devices `a` and `b`."""
    file = load_dialect(FILE)

    def facts(name: str, kind: str, device: Device) -> DeviceFacts:
        keys = {"product_key": device[0], "device_name": device[1]}
        return DeviceFacts(name, kind, keys, file.names, secret=lambda: secret_of(device))

    own, devices = (
        facts("gateway", "gateway", GATEWAY),
        {n: facts(n, "sensor", d) for n, d in (("a", A), ("b", B))},
    )
    maps = file.maps
    zone = ZoneInfo("Asia/Shanghai")
    compiler = Compiler(own, "centre", journal.epoch, zone, maps, file.signs, lambda at: at)
    return DeclarativeDialect(file, own, devices, compiler, lambda: 1_796_025_600_000)


def start(it: Gateway, port: int) -> None:
    """Start the uplink in this dialect."""
    options = UplinkOptions(url=f"mqtt://127.0.0.1:{port}", commands=("open",))
    it.uplink = Uplink("uplink", options, alink(it.journal), it.journal, it.clock, it.obey, it.sink)
    it.task = asyncio.create_task(it.uplink.run())


@contextmanager
def alink_platform(folder: Path) -> Iterator[tuple[int, Platform]]:
    port = free_port()
    with mosquitto(folder, port), platform(port, GATEWAY, SECRETS) as there:
        yield port, there


async def windows(it: Gateway, numbers: range, *devices: str) -> None:
    """A record with its number for each device and number, each committed."""
    for number in numbers:
        for device in devices:
            it.measure(number, device)
        await it.close_window()


async def test_devices_log_in_and_every_record_arrives_with_its_time(tmp_path: Path) -> None:
    with alink_platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            await windows(it, range(1, 30), "a", "b")
            start(it, port)
            await eventually(it.caught_up)
            await windows(it, range(30, 33), "a")
            it.tell(Lane.EVENT, 1, "a")  # Of a kind that the platform has no word for.
            it.journal.append("", [Fact(Lane.ALARM, "a", "alarm", it.clock.now(), RAISED)], {})
            await it.journal.commit()
            await eventually(it.caught_up)
            assert there.topology == there.sessions == {A, B}
            # The latest values come meanwhile, too, as present ones.
            assert there.known(A) == list(range(1, 33))
            assert there.known(B) == list(range(1, 30))
            assert {event for _, event, _ in there.events} == {"FireAlarm"}
            ((_, _, params),) = there.events
            assert params["value"] == {"change": "raised", "state": "unacknowledged", "point": "smoke"}


RAISED = {"change": "raised", "state": "unacknowledged", "point": "smoke", "hazard": "fire"}


async def test_what_is_refused_for_one_device_costs_no_other(tmp_path: Path) -> None:
    with alink_platform(tmp_path) as (port, there):
        there.refused.add(B)
        async with gateway(tmp_path, window=10) as it:
            await windows(it, range(1, 6), "a", "b")
            start(it, port)
            await eventually(it.caught_up, 40)
            await it.journal.commit()
            assert there.known(A) == list(range(1, 6))
            assert there.values(B) == []
            dead = await it.journal.reader.dead_letters()
            assert {(letter.device, letter.reason) for letter in dead} == {("b", "format")}
            assert sorted(letter.seq for letter in dead) == list(range(1, 6))


async def test_a_device_without_its_secret_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    def secret_of(device: Device) -> str:
        if device == B:
            raise LinkDown("secret-missing", file="/etc/linli/b")
        return SECRETS[device]

    monkeypatch.setattr(f"{__name__}.secret_of", secret_of)
    with alink_platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            await windows(it, range(1, 6), "a")
            start(it, port)
            await eventually(it.caught_up)
            assert there.sessions == {A}
            assert there.known(A) == list(range(1, 6))
            assert told().count("device-secret") == 1


async def test_a_platform_that_does_not_reply_has_received_nothing(tmp_path: Path) -> None:
    """The connection is given up, and all is sent again."""
    clock = Ahead()
    with alink_platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10, clock=clock) as it:
            start(it, port)
            await eventually(lambda: it.uplink.is_online and there.sessions == {A, B})
            there.holds = True
            await windows(it, range(1, 4), "a")
            await eventually(lambda: there.known(A) == [1, 2, 3])
            assert it.journal.deliveries["uplink"].positions[Lane.TELEMETRY] == 0
            there.forget_held()
            clock.shift += 11
            await eventually(lambda: it.transitions[-1:] == [False])
            there.release()
            await eventually(it.caught_up, 30)
            assert there.known(A) == [1, 2, 3]


async def test_late_replies_in_another_order_move_the_cursor_in_order(tmp_path: Path) -> None:
    with alink_platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10) as it:
            start(it, port)
            await eventually(lambda: it.uplink.is_online and there.sessions == {A, B})
            there.holds = True
            await windows(it, range(1, 6), "a")
            await eventually(lambda: there.known(A) == [1, 2, 3, 4, 5])
            there.release(last_first=True)
            await eventually(it.caught_up)
            assert there.known(A) == [1, 2, 3, 4, 5]


async def test_a_reply_to_something_else_confirms_nothing(tmp_path: Path) -> None:
    clock = Ahead()
    with alink_platform(tmp_path) as (port, there):
        async with gateway(tmp_path, window=10, clock=clock) as it:
            start(it, port)
            await eventually(lambda: it.uplink.is_online and there.sessions == {A, B})
            there.forges_ids = True
            await windows(it, range(1, 3), "a")
            await eventually(lambda: there.known(A) == [1, 2])
            # The reply to a call comes after those replies, on the same connection.
            there.call(A, "Open", {})
            await eventually(lambda: there.results)
            assert it.journal.deliveries["uplink"].positions[Lane.TELEMETRY] == 0
            there.forges_ids = False
            clock.shift += 11
            await eventually(it.caught_up, 30)
            assert there.known(A) == [1, 2]


async def test_a_link_that_breaks_before_the_reply_loses_nothing(tmp_path: Path) -> None:
    """The broker has acknowledged; the platform has the records, and the gateway does not know."""
    with alink_platform(tmp_path) as (port, there):
        async with proxy(port) as between, gateway(tmp_path, window=10) as it:
            start(it, between.port)
            await eventually(lambda: it.uplink.is_online and there.sessions == {A, B})
            there.holds = True
            await windows(it, range(1, 8), "a", "b")
            await eventually(lambda: there.known(A) == there.known(B) == list(range(1, 8)))
            between.cut()
            await eventually(lambda: it.transitions[-1:] == [False])
            there.release()
            await windows(it, range(8, 10), "a")
            await eventually(it.caught_up, 30)
            assert there.known(A) == list(range(1, 10))
            assert there.known(B) == list(range(1, 8))
            # A repetition is the same record: same device, same time, same value.
            assert len(set(there.properties)) == 16


async def test_a_reply_may_come_before_the_puback(tmp_path: Path) -> None:
    async with broker() as there, gateway(tmp_path, window=10) as it:

        async def reply(suffix: str, count: int) -> None:
            found = await eventually(lambda: _taken(there, suffix, count))
            for topic, content in found:
                there.send(f"{topic}_reply", {"id": content["id"], "code": 200, "data": {}})

        start(it, there.port)
        await reply("topo/add", 1)
        await reply("combine/login", 2)
        await eventually(lambda: "/sys/a1Sub/a/thing/service/+" in there.filters)
        there.hold = True
        it.measure(1, "a")
        await it.close_window()
        await reply("pack/post", 1)
        await eventually(it.caught_up)
        assert there.owed[""] == 1


def _taken(there: Broker, suffix: str, count: int) -> list[tuple[str, Any]]:
    """The messages to a topic that the broker has taken, if there are so many."""
    found = [(topic, content) for topic, content in there.taken if topic.endswith(suffix)]
    return found if len(found) == count else []


async def test_a_service_call_is_executed_once_and_replied_to(tmp_path: Path) -> None:
    with alink_platform(tmp_path) as (port, there):
        async with gateway(tmp_path) as it:
            start(it, port)
            await eventually(lambda: it.uplink.is_online and there.sessions == {A, B})
            await eventually(lambda: _ask(there, it))
            command = it.commands[-1]
            assert (command.device, command.action, command.args) == ("a", "open", {"compartment": 3})
            assert command.expires == command.at.wall_ms + 8000
            topic, reply = await eventually(lambda: there.results and there.results[-1])
            assert topic == "/sys/a1Sub/a/thing/service/Open_reply"
            assert reply == {"id": "105917531", "code": 200, "data": {}, "message": ""}
            # Neither an unlisted service nor our own reply, which this broker sends back, is a command.
            there.call(A, "Reboot", {})
            there.call(A, "Open", {"compartment": 4}, "105917532")
            await eventually(lambda: it.commands[-1].args == {"compartment": 4})
            assert len({each.id for each in it.commands}) == 2
            assert {each.args["compartment"] for each in it.commands} == {3, 4}


def _ask(there: Platform, it: Gateway) -> bool:
    """Until the gateway has subscribed, which nothing tells the platform."""
    there.call(A, "Open", {"compartment": 3}, "105917531")
    return bool(it.commands)
