from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gb26875 import DRIVER, Options, decode, parse_example
from drivers.gb26875.packets import ANSWER, CONTROL, REQUEST, SEND, split_packets
from drivers.gb26875.panel import OPERATION_FORMATS, STATE_FORMATS, Panel
from gateway.base.clock import SystemClock
from gateway.config import BusSpec
from gateway.daemon.engine import Engine
from gateway.field.line import Line
from gateway.journal import Journal, JournalReader
from gateway.model import Lane, Sample
from gateway.services.driver_state import DriverState, saved_states
from gateway.wire.codec import convert_values
from tests.drivers.gb26875.frames import (
    FIRE,
    PUBLISHED,
    A,
    B,
    component,
    components,
    device,
    operation,
    packet,
)
from tests.drivers.gb26875.peer import calling, until
from tests.gateway.all_services import services


def test_the_published_packet() -> None:
    (found,), rest = split_packets(PUBLISHED)
    assert rest == b""
    assert found.sound
    assert (found.source, found.destination, found.command) == (A, B, SEND)
    assert found.encode() == PUBLISHED
    values = decode(device().points, Panel().apply_packet(found))
    assert {name for name, value in values.items() if value is True} == {"fire"}
    assert values["fire_where"] == "1/3/0/217.0.6.0 Ａ区１层呷哺走廊"


TOLD: list[tuple[str, str, int, set[str]]] = [
    # Who sent it, the packet, its command, and what it holds: a maker's examples with a transcript of
    # the standard; open implementations' tests and captures.
    ("a heartbeat", "40400100 0101 203A091A090C 790300000000 385B01000000 0000 02 A7 2323", SEND, set()),
    (
        "smoke, zone 10, number 2",
        "40400100 0101 203A091A090C 790300000000 385B01000000 3000 02 02 01 01 01 28 0A000200 0200"
        + "20" * 30
        + "00 023A091A090C 46 2323",
        SEND,
        {"fire"},
    ),
    (
        "the device's mains are gone",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0900 02 15 01 08 023A091A090C 42 2323",
        SEND,
        {"power_fault"},
    ),
    (
        "somebody answers a duty check",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0A00 02 18 01 20 01 023A091A090C 5F 2323",
        SEND,
        set(),
    ),
    (
        "a version",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0400 02 19 01 01 01 C7 2323",
        SEND,
        set(),
    ),
    (
        "the device's time",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0800 02 1C 01 023A091A090C 40 2323",
        SEND,
        set(),
    ),
    (
        "an answer: the mains are gone",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0900 05 15 01 08 023A091A090C 45 2323",
        ANSWER,
        {"power_fault"},
    ),
    (
        "an answer: a version",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0400 05 19 01 01 01 CA 2323",
        ANSWER,
        set(),
    ),
    (
        "an answer: its time",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0800 05 1C 01 023A091A090C 43 2323",
        ANSWER,
        set(),
    ),
    (
        "the centre wants to know its state",
        "40400100 0101 203A091A090C 385B01000000 790300000000 0300 04 51 01 00 FE 2323",
        REQUEST,
        set(),
    ),
    (
        "the centre checks for duty",
        "40400100 0101 203A091A090C 385B01000000 790300000000 0300 01 5B 01 0A 0F 2323",
        CONTROL,
        set(),
    ),
    (
        "the centre sets a clock",
        "40400100 0101 203A091A090C 385B01000000 790300000000 0800 01 5A 01 023A091A090C 7D 2323",
        CONTROL,
        set(),
    ),
    (
        "a captured smoke detector, with text behind the end of its text",
        "40401400 1000 0509091B0715 2C312C320000 784D07918E23 3000 02 02 01 01 01 2A 01000100 0200"
        "31BAC5BDD3BFDAB0E531BBD8C2B731BAC500BAC5D6F7BBFAF898CFA0000000 25110301060C 47 2323",
        SEND,
        {"fire"},
    ),
    (
        "a captured heartbeat of another version, with a byte that is no type",
        "4040F809 1000 081E09030316 000000000000 C0A801046D1D 0100 02 16 6C 2323",
        SEND,
        set(),
    ),
    (
        "a reset of the device",
        "40400300 0101 103B0C1B0C11 672B00000000 385B01000000 0A00 02 18 01 01 00 003B0C1B0C11 5F 2323",
        SEND,
        set(),
    ),
    ("an empty one", "40400000 0101 0C3B0C1B0C11 672B00000000 385B01000000 0000 02 B5 2323", SEND, set()),
    (
        "a version of the device",
        "40400000 0101 011E16080C15 800D00000000 000000000000 0400 02 19 01 01 00 0E 2323",
        SEND,
        set(),
    ),
    (
        "a type of a maker's own",
        "40400000 0101 0F220E190713 010000000000 FFFF00000000 1200 02 96 01 00035B01000000020000"
        "0F220E190713 F1 2323",
        SEND,
        set(),
    ),
]


@pytest.mark.parametrize(("told", "frame", "command", "holds"), TOLD, ids=[each[0] for each in TOLD])
def test_published_and_captured_packets(told: str, frame: str, command: int, holds: set[str]) -> None:
    data = bytes.fromhex(frame)
    (found,), rest = split_packets(data)
    assert rest == b""
    assert (found.sound, found.command) == (True, command), told
    assert found.encode() == data
    assert Panel().apply_packet(found).active_states == holds


@given(
    st.lists(st.binary(max_size=120), max_size=5),
    st.sampled_from([*STATE_FORMATS, *OPERATION_FORMATS, 8, 90, 255]),
)
def test_decoding_never_raises(bodies: list[bytes], kind: int) -> None:
    panel, points = Panel(), device().points
    for body in bodies:
        values = decode(points, panel.apply_packet(packet(bytes((kind, 1)) + body)))
        assert convert_values(points, values) == (values, {})


@pytest.mark.parametrize(
    "fields",
    [{}, {"frames": []}, {"frames": ["40"]}, {"frames": ["zz"]}, {"frames": [PUBLISHED.hex() + "40"]},
     {"frames": [PUBLISHED.hex().replace("682323", "692323")]}],
)  # fmt: skip
def test_an_example_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        parse_example(fields)


async def test_a_fire_becomes_a_sample_and_a_reset_ends_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    samples: list[Sample] = []

    async def sink(sample: Sample) -> None:
        samples.append(sample)

    spec = BusSpec("fire", DRIVER, Options(listen=f"127.0.0.1:{port}", ask=False))
    bus = Line(spec, (device(),), SystemClock(), sink)
    task = asyncio.create_task(bus.run())
    try:
        await until(lambda: bus.counters.is_up)
        async with calling(port) as peer:
            for data in (components(component(FIRE, text="三楼走廊")), operation(1)):
                await peer.ask(packet(data).encode())
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert [(sample.values["fire"], sample.values["fire_where"]) for sample in samples] == [
        (True, "1/1/40/1.0.0.0 三楼走廊"),
        (False, ""),
    ]
    assert not any(sample.bad for sample in samples)


async def test_a_fire_outlives_a_power_cut_and_is_raised_once(tmp_path: Path) -> None:
    """The whole way: the daemon's engine, journal and line, begun anew on what the disk has."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    spec = BusSpec("fire", DRIVER, Options(listen=f"127.0.0.1:{port}", ask=False))
    devices = {"panel": device()}
    path = tmp_path / "journal.db"
    fires: list[bool] = []

    @contextlib.asynccontextmanager
    async def gateway() -> AsyncIterator[Engine]:
        async with Journal.open(path, SystemClock(), 60.0) as journal:
            engine = Engine(services(devices, {"console": ["acknowledge"]}), journal, SystemClock())
            await engine.restore()

            async def sink(sample: Sample) -> None:
                fires.append(sample.values["fire"] is True)
                await engine.publish_sample(sample)

            bus = Line(
                spec,
                tuple(devices.values()),
                SystemClock(),
                sink,
                lambda: saved_states(engine.rows(DriverState.name)),
            )
            running = asyncio.create_task(journal.run()), asyncio.create_task(bus.run())
            try:
                await until(lambda: bus.counters.is_up)
                yield engine
                # No word of farewell: what follows knows what was committed, and no more.
                power_cut()
            finally:
                for task in running:
                    task.cancel()
                await asyncio.wait(running)

    def power_cut() -> None:
        for kept in path.parent.glob("journal.db*"):
            shutil.copy(kept, tmp_path / f"cut-{kept.name}")

    def stands(engine: Engine) -> bool:
        return any(alarm.state == "active" for alarm in engine.rows("safety").values())

    def places(engine: Engine) -> dict[str, str]:
        return {alarm.place: alarm.state for alarm in engine.rows("safety").values() if alarm.place}

    fire = components(component(FIRE, 1, "一楼"))
    async with gateway() as engine, calling(port) as peer:
        await peer.ask(packet(fire).encode())
        assert stands(engine)
        await peer.ask(packet(components(component(FIRE, 3, "三楼"))).encode())
        assert places(engine) == {"1/1/40/1.0.0.0": "active", "1/1/40/3.0.0.0": "active"}
    path = tmp_path / "cut-journal.db"
    async with gateway() as engine, calling(port) as peer:
        await peer.ask(packet(b"").encode())
        assert stands(engine), "a heartbeat says nothing of the fire"
        await peer.ask(packet(components(component(1, 2))).encode())
        assert stands(engine), "nor does another detector"
        await peer.ask(packet(components(component(1, 1))).encode())
        assert stands(engine), "nor the end of one fire of the other"
        await peer.ask(packet(operation(1)).encode())
        assert places(engine).keys() == {"1/1/40/1.0.0.0", "1/1/40/3.0.0.0"}
    assert fires == [True, True, True, True, True, False]
    async with JournalReader.open(path) as reader:
        bodies = [record.body async for record in reader.records(Lane.ALARM, 0)]
    raised = [
        (body["point"], body["place"], body["where"]) for body in bodies if body["change"] == "raised"
    ]
    assert raised == [("fire", "1/1/40/1.0.0.0", "一楼"), ("fire", "1/1/40/3.0.0.0", "三楼")]
