"""Several streams in one envelope: fewer messages, and the same records once, in order."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.config.options import NativeOptions
from gateway.journal import JournalFailed
from gateway.model import Lane
from gateway.uplink import lanes
from gateway.uplink.native import asyncapi
from tests.gateway.uplink.broker import Broker, broker
from tests.gateway.uplink.kit import ROOT, Gateway, eventually, gateway, mosquitto, witness
from tests.ports import free_port

DEVICES = [f"d{n}" for n in range(8)]
SEVERAL = NativeOptions(several_streams=True)
MARK = "poison!"
SCHEMAS = asyncapi()["components"]


@pytest.fixture
async def taker() -> AsyncIterator[Broker]:
    async with broker() as taker:
        yield taker


def streams(taken: list[tuple[str, Any]]) -> dict[tuple[str, str], list[int]]:
    """The numbers of each device and lane, in the order of their arrival."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for topic, payload in taken:
        if topic in (f"{ROOT}/telemetry", f"{ROOT}/event"):
            validator = Draft202012Validator(
                {"components": SCHEMAS, "$ref": "#/components/schemas/Streams"}
            )
            validator.validate(payload)
            assert topic == f"{ROOT}/{payload['lane']}"
            for stream in payload["streams"]:
                found[stream["device"], payload["lane"]] += [entry["seq"] for entry in stream["records"]]
        elif "records" in payload and topic != f"{ROOT}/latest":
            assert payload["lane"] == "alarm"
            found[payload["device"], "alarm"] += [entry["seq"] for entry in payload["records"]]
    return found


async def measure(it: Gateway, rounds: int, bad: tuple[str, int] = ("", 0)) -> None:
    """A row of telemetry, and an event, of each device a round."""
    for n in range(1, rounds + 1):
        for device in DEVICES:
            it.measure(MARK if (device, n) == bad else n, device)
            it.tell(Lane.EVENT, n, device)
        await it.close_window()


async def test_a_window_of_all_devices_is_one_message(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port), witness(port) as seen:
        async with gateway(tmp_path, port, window=30, native=SEVERAL) as it:
            await eventually(lambda: it.uplink.is_online)
            for n in range(5):
                await measure(it, 1)
                await eventually(lambda n=n: len(seen.on("telemetry")) == n + 1)  # type: ignore[misc]
            it.tell(Lane.ALARM, "fire", "d0")
            await it.journal.commit()
            await eventually(lambda: seen.records("alarm"))
            await eventually(it.caught_up)
            await seen.caught_up()
            assert streams(seen.heard) == {
                **{(device, lane): [*range(1, 6)] for device in DEVICES for lane in ("telemetry", "event")},
                ("d0", "alarm"): [1],
            }
            assert len(seen.on("telemetry")) == 5
            assert len(seen.on("event")) <= 10
            # What is not committed waits, so that it goes together.
            it.measure(6)
            await seen.caught_up()
            assert len(seen.on("telemetry")) == 5


async def test_nothing_waits_for_a_disk_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with mosquitto(tmp_path, port), witness(port) as seen:
        async with gateway(tmp_path, port, window=30, native=SEVERAL) as it:
            await measure(it, 1)
            await eventually(lambda: len(seen.on("telemetry")) == 1)
            with monkeypatch.context() as broken:
                broken.setattr(it.journal, "failure", JournalFailed("journal-failed"))
                it.measure(2, "d0")
                await eventually(lambda: streams(seen.heard)["d0", "telemetry"] == [1, 2])


@pytest.mark.parametrize("how", ["refused", "cut"])
async def test_a_refused_envelope_is_tried_stream_by_stream(
    tmp_path: Path, taker: Broker, how: str
) -> None:
    """One record is put aside; of the other devices, all comes in whole streams."""
    if how == "refused":
        taker.refuse, taker.code = MARK.encode(), 0x99
    else:
        taker.poison = MARK.encode()
    async with gateway(tmp_path) as it:
        await measure(it, 40, ("d3", 17))
        it.start(taker.port, native=SEVERAL)
        await eventually(lambda: it.journal.dead_letter_count and it.caught_up(), 30)
        await it.journal.commit()
        (letter,) = await it.journal.reader.dead_letters()
        reason = {"refused": "format", "cut": "poison"}[how]
        assert (letter.lane, letter.device, letter.seq, letter.reason) == (Lane.TELEMETRY, "d3", 17, reason)
        await eventually(lambda: ("d3", "event") in streams(taker.taken))
        for device, lane in itertools.product(DEVICES, ("telemetry", "event")):
            came = set(streams(taker.taken)[device, lane])
            assert {*range(1, 41)} - came == ({17} if (device, lane) == ("d3", "telemetry") else set())
        ledger = {
            (row.device, row.lane): row.dropped for row in await it.journal.reader.ledger() if row.dropped
        }
        assert ledger == {("d3", Lane.TELEMETRY): {"dead": 1}}
        # Those of d3 came singly; those of the others never did.
        singly = {
            payload["streams"][0]["device"]
            for topic, payload in taker.taken
            if topic == f"{ROOT}/telemetry" and sum(len(s["records"]) for s in payload["streams"]) == 1
        }
        assert singly <= {"d3"}


async def test_what_was_refused_for_a_while_comes_in_order(
    tmp_path: Path, taker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers of two devices cannot be compared: what counts is the order of sending."""
    monkeypatch.setattr(lanes, "MIN_HELD_RETRY_S", 0.1)
    taker.refuse, taker.code = b"streams", 0x87
    async with gateway(tmp_path) as it:
        for n in range(1, 9):
            for device in DEVICES[: 1 + n % 2]:
                it.measure(n, device)
            await it.close_window()
        it.start(taker.port, native=SEVERAL)
        await eventually(lambda: taker.refused[f"{ROOT}/telemetry"] > 2)
        for n in range(9, 15):
            for device in DEVICES[: 1 + n % 2]:
                it.measure(n, device)
            await it.close_window()
        taker.refuse = b""
        await eventually(it.caught_up, 20)
        found = streams(taker.taken)
        assert found["d0", "telemetry"] == [*range(1, 15)]
        assert found["d1", "telemetry"] == [*range(1, 8)]
