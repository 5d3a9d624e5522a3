"""The engine with a real journal on a file: what is written down before what."""

import asyncio
import contextlib
import itertools
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.capabilities.visitors.services import Place
from gateway.daemon.engine import MIN_LEAP_MS, STEADY_AFTER_NS, SUMMARY_INTERVAL_S, Engine, LeapWatch
from gateway.daemon.latest_expiry import LatestExpiry
from gateway.journal import Journal, JournalFailed, JournalReader
from gateway.journal.space import PAGE_BYTES
from gateway.model import AlarmSpec, Command, GatewayError, Hazard, Lane, Point, Record, Sample
from gateway.services.commands import CommandStatus
from gateway.services.driver_state import DriverState, saved_states
from tests.clock import FakeClock
from tests.gateway.all_services import services
from tests.gateway.services.kit import device

ALARM, EVENT, TELEMETRY = Lane
DEVICES = {
    "smoke": device("smoke", "smoke", smoke=Point(alarm=AlarmSpec(hazard=Hazard.FIRE))),
    "locker": device("locker", "parcel-locker"),
}


@asynccontextmanager
async def engine(path: Path, clock: FakeClock, **hooks: Any) -> AsyncIterator[tuple[Engine, Journal]]:
    async with Journal.open(path, clock, 1.0) as journal:
        it = Engine(services(DEVICES, {"upstream": ("open", "acknowledge")}), journal, clock, **hooks)
        await it.restore()
        yield it, journal


async def records(path: Path, lane: Lane) -> list[Record]:
    async with JournalReader.open(path) as reader:
        return [record async for record in reader.records(lane, 0)]


def order(clock: FakeClock, key: str = "c1", target: str = "locker", action: str = "open") -> Command:
    at = clock.now()
    return Command(
        id=key, at=at, device=target, action=action, expires=at.wall_ms + 60_000, origin="upstream", by="王"
    )


def fire(clock: FakeClock) -> Sample:
    return Sample("smoke", clock.now(), {"smoke": True})


async def test_what_a_driver_must_remember_is_on_the_disk_at_once(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "journal.db"
    async with engine(path, clock) as (it, _):
        await it.publish_sample(Sample("locker", clock.now(), {"x": 1}, driver_state=b"held"))
        async with JournalReader.open(path) as reader:
            assert saved_states(it.rows(DriverState.name)) == {"locker": b"held"}
            assert set(await reader.service_rows(DriverState.name)) == {"locker"}
    async with engine(path, clock) as (it, _):
        assert saved_states(it.rows(DriverState.name)) == {"locker": b"held"}


async def test_a_row_of_another_version_keeps_nothing_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, path = FakeClock(), tmp_path / "journal.db"
    async with Journal.open(path, clock, 1.0) as journal:
        journal.append("visitors", [], {"door": clock.now(), "place/": Place(inside=3)})
        await journal.commit()
    async with engine(path, clock) as (it, _):
        assert it.rows("visitors") == {"place/": Place(inside=3)}
    assert "row-unreadable" in caplog.text


async def test_an_alarm_is_safe_before_its_sample_is_queued(tmp_path: Path) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    async with engine(path, clock) as (it, journal):
        taking = asyncio.create_task(it.publish_sample(fire(clock)))
        while not journal.committed_pos[ALARM]:
            assert not journal.latest_samples
            await asyncio.sleep(0)
        await taking
        assert [record.device for record in await records(path, ALARM)] == ["smoke"]
        assert list(journal.latest_samples) == ["smoke"]


async def test_a_journal_that_fails_does_not_stop_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    executed: list[str] = []

    async def execute(command: Command) -> None:
        executed.append(command.id)

    async def refuse(_: object) -> list[int]:
        raise JournalFailed("journal-write", path="", reason="no space")

    async with engine(path, clock, execute=execute) as (it, journal):
        running = asyncio.create_task(it.run())
        with monkeypatch.context() as patch:
            patch.setattr(journal._writer, "transact", refuse)
            await it.publish_sample(fire(clock))
            await clock.advance(3)
            assert (await it.submit_command(order(clock))).status is CommandStatus.FAILED
            assert it.rows("commands")["c1"].status is CommandStatus.FAILED
            assert not running.done()
        await it.publish_sample(Sample("smoke", clock.now(), {"smoke": False}))
        await journal.commit()
        assert executed == [], "what is not written down is not done"
        assert [record.device for record in await records(path, ALARM)][:1] == ["smoke"]
        outcomes = [r.body for r in await records(path, EVENT) if r.kind == "outcome"]
        assert [(body["id"], body["status"]) for body in outcomes] == [("c1", "failed")]
        running.cancel()


async def test_the_siren_does_not_wait_for_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    heard: list[list[str]] = []

    def sound() -> None:
        heard.append(list(it.rows("safety")))

    async with engine(tmp_path / "j.db", clock, on_alarm=sound) as (it, journal):
        transact = journal._writer.transact

        async def refuse(_: object) -> list[int]:
            assert heard == [["smoke/smoke"]], "it sounds before anything is written"
            raise JournalFailed("journal-write", path="", reason="no space")

        monkeypatch.setattr(journal._writer, "transact", refuse)
        await it.publish_sample(fire(clock))
        assert heard == [["smoke/smoke"]]
        monkeypatch.setattr(journal._writer, "transact", transact)


async def test_a_restart_takes_up_the_state(tmp_path: Path) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    async with engine(path, clock) as (it, _):
        await it.publish_sample(fire(clock))
        before = dict(it.rows("safety"))
        assert before
    async with engine(path, clock) as (it, _):
        assert it.rows("safety").keys() == before.keys()
        await it.publish_sample(fire(clock))
    assert len(await records(path, ALARM)) == 1, "the fire is known already"


async def test_a_command_is_written_down_before_it_is_done_and_done_once(tmp_path: Path) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    gate, found = asyncio.Event(), list[str]()

    async def execute(command: Command) -> None:
        found.extend(f"{r.kind} {r.body['id']}" for r in await records(path, EVENT))
        await gate.wait()

    async with engine(path, clock, execute=execute) as (it, _):
        both = [asyncio.create_task(it.submit_command(order(clock))) for _ in range(2)]
        while not found:
            await asyncio.sleep(0.001)
        assert (await both[1]).status is CommandStatus.ACCEPTED
        gate.set()
        assert (await both[0]).status is CommandStatus.DONE
        assert (await it.submit_command(order(clock))).status is CommandStatus.DONE
    assert found == ["command c1"]
    kinds = [(record.kind, record.body["status"]) for record in await records(path, EVENT)]
    assert kinds == [("command", "accepted"), ("outcome", "done")]


async def test_a_command_that_fails_or_is_not_allowed_is_told(tmp_path: Path) -> None:
    path, clock = tmp_path / "j.db", FakeClock()

    async def execute(_: Command) -> None:
        raise GatewayError("no-answer")

    async with engine(path, clock, execute=execute) as (it, _):
        failed = await it.submit_command(order(clock))
        assert (failed.status, failed.detail) == (CommandStatus.FAILED, "no-answer")
        denied = await it.submit_command(order(clock, "c2", action="explode"))
        assert (denied.status, denied.detail) == (CommandStatus.DENIED, "not-allowed")
    told = [(r.kind, r.body["id"], r.body["status"]) for r in await records(path, EVENT)]
    assert told == [("command", "c1", "accepted"), ("outcome", "c1", "failed"), ("command", "c2", "denied")]


YEARS_MS = 10 * 366 * 86_400_000


async def test_a_flood_of_long_expired_commands_is_denied_and_harms_nobody(tmp_path: Path) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    async with engine(path, clock) as (it, _):
        running = asyncio.create_task(it.run())
        stale = [
            msgspec.structs.replace(order(clock, f"c{n}", action=action), expires=1)
            for n, action in enumerate(["open", "reboot"] * 500)
        ]
        asked = [asyncio.create_task(it.submit_command(command)) for command in stale]
        while not all(task.done() for task in asked):
            await clock.advance(1)
        assert {task.result().detail for task in asked} == {"expired", "not-allowed"}
        assert not it.rows("commands")
        assert not running.done()
        running.cancel()
    denied = [r.body["id"] for r in await records(path, EVENT) if r.body["status"] == "denied"]
    assert sorted(denied) == sorted(command.id for command in stale), "all are recorded"


@pytest.mark.parametrize("leap_ms", [YEARS_MS, -YEARS_MS])
async def test_a_clock_that_leaps_while_a_command_is_in_hand_ends_nothing(
    tmp_path: Path, leap_ms: int
) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    began, gate = asyncio.Event(), asyncio.Event()

    async def execute(_: Command) -> None:
        began.set()
        await gate.wait()

    async with engine(path, clock, execute=execute) as (it, _):
        running = asyncio.create_task(it.run())
        taken = asyncio.create_task(it.submit_command(order(clock)))
        await began.wait()
        clock.wall += leap_ms
        await clock.advance(3)
        gate.set()
        assert (await taken).status is CommandStatus.DONE
        await clock.advance(3)
        assert not running.done()
        running.cancel()


async def test_the_clock_is_steady_again_some_hours_after_a_leap() -> None:
    clock, watch = FakeClock(), LeapWatch()
    assert watch.is_steady(clock.now())
    await clock.advance(7200)
    assert watch.is_steady(clock.now()), "a pause of both clocks is no leap"
    for leap_ms in (YEARS_MS, -YEARS_MS):
        clock.wall += leap_ms
        assert not watch.is_steady(clock.now())
        await clock.advance(STEADY_AFTER_NS / 1e9 - 1)
        assert not watch.is_steady(clock.now())
        await clock.advance(1)
        assert watch.is_steady(clock.now())
    clock.wall += MIN_LEAP_MS // 2
    assert watch.is_steady(clock.now()), "so much is corrected at a start"


async def _remove_nothing(_: Path) -> None:
    pass


async def _delete(path: Path) -> None:
    for file in path.parent.glob(path.name + "*"):
        file.unlink()


async def _zero_the_state(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((root,),) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'state'").fetchall()
    with path.open("r+b") as file:
        file.seek((root - 1) * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))


async def _cut(path: Path) -> None:
    os.truncate(path, 3000)


@pytest.mark.parametrize("lose", [_remove_nothing, _delete, _zero_the_state, _cut])
async def test_a_locker_opens_once_on_the_same_bytes_whatever_was_lost(
    tmp_path: Path, lose: Callable[[Path], Awaitable[None]]
) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    opened: list[str] = []

    async def execute(command: Command) -> None:
        opened.append(command.id)

    same = order(clock)
    async with engine(path, clock, execute=execute) as (it, _):
        assert (await it.submit_command(same)).status is CommandStatus.DONE
    await lose(path)
    for _ in range(2):
        async with engine(path, clock, execute=execute) as (it, _):
            await clock.advance(1)
            again = msgspec.structs.replace(same, at=clock.now())
            assert (await it.submit_command(again)).detail == (
                "" if lose is _remove_nothing else "maybe-repeated"
            )
    assert opened == ["c1"]
    async with engine(path, clock, execute=execute) as (it, _):
        assert (await it.submit_command(order(clock, "c2"))).status is CommandStatus.DONE


async def test_a_command_that_was_cut_short_by_a_kill_is_not_taken_for_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    async with engine(path, clock) as (it, journal):
        monkeypatch.setattr(journal, "commit", asyncio.Event().wait)
        asking = asyncio.create_task(it.submit_command(order(clock)))
        await asyncio.sleep(0)
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", tmp_path / f"killed.db{suffix}")
        assert not list(tmp_path.glob("*.commands")), "the journal does not have it yet"
        asking.cancel()
    async with engine(tmp_path / "killed.db", clock) as (it, _):
        assert not it.rows("commands")
    assert "commands-lost" not in caplog.text


async def test_the_latest_expiry_survives_in_any_of_its_files(tmp_path: Path) -> None:
    files = [tmp_path / name / "journal.commands" for name in ("state", "run")]
    await LatestExpiry(*files).store(5)
    await LatestExpiry(*files).store(7)
    files[0].unlink()
    assert await LatestExpiry(*files).load() == 7
    files[1].write_text("garbage")
    files[0].mkdir()
    lost = LatestExpiry(*files)
    assert await lost.load() == 0
    await lost.store(9)
    assert await LatestExpiry(*files).load() == 9, "one of two can be written"


@pytest.mark.parametrize("name", ["", "#", "+", "a/b", "\0", "x" * 70_000, "邻里"])
async def test_a_name_that_is_no_name_is_never_written_down(tmp_path: Path, name: str) -> None:
    """It would become part of a topic, and could never be delivered."""
    path, clock = tmp_path / "j.db", FakeClock()
    async with engine(path, clock) as (it, _):
        with pytest.raises(GatewayError, match="command-form"):
            await it.submit_command(order(clock, target=name))
    assert await records(path, EVENT) == []


async def test_an_interrupted_command_is_unknown_and_not_tried_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    started = asyncio.Event()
    executed: list[str] = []

    async def hang(command: Command) -> None:
        executed.append(command.id)
        started.set()
        await asyncio.Event().wait()

    async with engine(path, clock, execute=hang) as (it, _):
        task = asyncio.create_task(it.submit_command(order(clock)))
        await started.wait()
        task.cancel()
    async with engine(path, clock, execute=hang) as (it, journal):
        running = asyncio.create_task(it.run())
        await clock.settle()
        await journal.commit()
        assert (await it.submit_command(order(clock))).status is CommandStatus.UNKNOWN
        running.cancel()
    assert executed == ["c1"]
    assert [r.body["status"] for r in await records(path, EVENT)] == ["accepted", "unknown"]


async def test_a_summary_is_told_when_it_changes_and_each_minute(tmp_path: Path) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    async with engine(path, clock) as (it, journal):
        await it.publish_sample(Sample("smoke", clock.now(), {"smoke": False}))
        running = asyncio.create_task(it.run())
        await clock.advance(2.5 * SUMMARY_INTERVAL_S)
        await journal.commit()
        await clock.advance(1)
        running.cancel()
    told = [r.at.mono_ns / 1e9 for r in await records(path, TELEMETRY) if r.device == "safety"]
    assert len(told) == 3
    assert all(
        SUMMARY_INTERVAL_S <= later - earlier < SUMMARY_INTERVAL_S + 2
        for earlier, later in itertools.pairwise(told)
    )
