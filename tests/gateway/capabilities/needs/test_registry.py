"""The desk between the journal and the sealed store: real files, real kills."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.capabilities.needs.registry import EXPIRED_FOR_S, SWEEP_INTERVAL_S, NeedsRegistry
from gateway.capabilities.needs.services import DAY_S, NeedState
from gateway.capabilities.needs.site import NeedsOptions
from gateway.model import GatewayError, Lane
from tests.clock import FakeClock
from tests.gateway.capabilities.needs.kit import Office, office, text_of, whole

ROOT = Path(__file__).parents[4]
ZHANG = {"name": "张小凡", "phone": "13800138000", "address": "3 幢 501", "text": "楼道灯坏了，老李知道"}
TYPED = (*ZHANG.values(), "已电话联系老李", "物业答应明天来")


def everything(folder: Path, *but: str) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()) if file.name not in but)


async def refused(work: Any) -> tuple[str, dict[str, object]]:
    with pytest.raises(GatewayError) as error:
        await work
    return error.value.key, error.value.facts


async def test_a_need_is_registered_seen_to_and_closed_and_the_journal_has_no_word_of_it(
    tmp_path: Path,
) -> None:
    async with office(tmp_path) as there:
        number = await there.register(**ZHANG, channel="kiosk")
        await there.update(number, "accept", note="已电话联系老李")
        await there.update(number, "refer", note="物业答应明天来", to="property")
        said = await there.ask("need-particulars", id=number, by="王芳")
        assert {name: said[name] for name in ZHANG} == ZHANG
        assert [(note["what"], note["text"]) for note in said["notes"]] == [
            ("accept", "已电话联系老李"), ("refer", "物业答应明天来"),
        ]  # fmt: skip
        await there.update(number, "close", outcome="met", satisfaction=5)
        row = there.rows[number]
        assert (row.state, row.referral) == (NeedState.CLOSED, "property")
        assert [(step.what, step.by) for step in row.steps] == [
            ("accept", "李强"), ("refer", "李强"), ("look", "王芳"), ("close", "李强"),
        ]  # fmt: skip
        kinds = [record.kind async for record in there.engine._journal.reader.records(Lane.EVENT, 0)]
        assert "need-looked" in kinds
        for text in TYPED:
            assert text.encode() not in everything(tmp_path)


async def test_one_form_is_one_need_however_often_it_is_sent(tmp_path: Path) -> None:
    async with office(tmp_path) as there:
        numbers = await asyncio.gather(*(there.register(once="form-1") for _ in range(5)))
        assert len(set(numbers)) == 1 == len(there.rows)
        assert await there.register(once="form-2") not in numbers


async def test_what_a_person_said_can_be_corrected(tmp_path: Path) -> None:
    async with office(tmp_path) as there:
        number = await there.register(**ZHANG)
        await there.update(number, "note", note="老李")
        asked = {"action": "need-correct", "args": {"id": number}, "by": "李强"}
        wrong = there.ask("need-update", **asked, fields={"text": "x", "phone": "call me"})
        assert await refused(wrong) == ("need-form", {"fields": "phone"})
        await there.ask("need-update", **asked, fields={**ZHANG, "phone": "139 0000 0000"})
        said = await there.ask("need-particulars", id=number, by="李强")
        assert (said["phone"], said["name"]) == ("139 0000 0000", ZHANG["name"])
        assert [note["text"] for note in said["notes"]] == ["老李"]
        assert [step.what for step in there.rows[number].steps] == ["note", "correct", "look"]
        assert b"139 0000" not in everything(tmp_path)


async def test_deletion_on_request_leaves_the_number_and_the_category(tmp_path: Path) -> None:
    async with office(tmp_path) as there:
        number = await there.register(**ZHANG)
        await there.update(number, "erase")
        assert there.store.stored() == {}
        assert (there.rows[number].category, there.rows[number].sealed) == ("repair", False)
        assert await refused(there.ask("need-particulars", id=number, by="王芳")) == ("need-erased", {})
        assert (await refused(there.update(number, "note", note="还有")))[0] == "need-erased"


async def test_particulars_are_destroyed_when_their_time_is_over(tmp_path: Path) -> None:
    clock = FakeClock()
    async with office(tmp_path, clock) as there:
        number, other = await there.register(**ZHANG), await there.register()
        await there.update(number, "withdraw")
        for days, expected in ((179.9, {number, other}), (180.1, {other})):
            clock._time = days * DAY_S
            async with asyncio.timeout(10):
                for work in (there.engine.run(), there.desk.run()):
                    clock._timers.clear()
                    task = asyncio.create_task(work)
                    while not clock._timers:  # it sleeps once it has done its round
                        await asyncio.sleep(0.005)
                    task.cancel()
            assert there.store.stored().keys() == expected, days
        assert not there.rows[number].sealed
        assert there.rows[other].overdue


async def test_what_is_wrong_is_told_and_nothing_is_kept_of_it(tmp_path: Path) -> None:
    async with office(tmp_path) as there:
        assert await refused(there.register("")) == ("need-form", {"fields": "text"})
        assert await refused(there.register(phone="call me")) == ("need-form", {"fields": "phone"})
        assert (await refused(there.register(category="war")))[0] == "need-category"
        assert (await refused(there.register(once="空 格")))[0] == "need-once"
        number = await there.register()
        assert (await refused(there.update(number, "refer", note="x", to="moon")))[0] == "need-referral"
        assert (await refused(there.update(number, "note")))[0] == "need-form"
        assert (await refused(there.update(number, "note", note="x" * 501)))[0] == "need-form"
        assert (await refused(there.update(number, "register")))[0] == "command-form"
        assert (await refused(there.ask("need-update", action="need-accept", args=[])))[0] == "command-form"
        assert (await refused(there.update(number, "accept", owner={})))[0] == "command-form"
        assert (await refused(there.update("99999999", "accept")))[0] == "need-unknown"
        assert (await refused(there.ask("need-particulars", by="王芳")))[0] == "need-unknown"
        assert (await refused(there.ask("need-particulars", id=number)))[0] == "need-nameless"
        assert there.store.stored().keys() == {number}
        assert there.store.get(number).notes == ()  # type: ignore[union-attr]
        assert there.rows[number].steps == ()


async def test_without_its_key_needs_go_on_but_none_is_registered(tmp_path: Path) -> None:
    async with office(tmp_path) as there:
        number = await there.register()
        there.options.key.unlink()
        assert (await refused(there.register()))[0] == "needs-key-missing"
        assert (await refused(there.ask("need-particulars", id=number, by="王芳")))[
            0
        ] == "needs-key-missing"
        assert (await refused(there.update(number, "accept", note="x")))[0] == "needs-key-missing"
        assert there.rows.keys() == {number}
        await there.update(number, "accept")
        await there.update(number, "erase")
        assert there.rows[number].state is NeedState.WITHDRAWN
        assert there.store.stored() == {}


async def test_where_needs_are_not_registered_every_call_says_so(tmp_path: Path) -> None:
    async with office(tmp_path) as there:
        desk = NeedsRegistry(
            lambda: None, lambda: None, dict, there.engine.submit_command, there.engine._clock
        )
        for name, handler in desk.handlers().items():
            asked = {"text": "x", "action": "need-accept", "args": {"id": "12345678"}, "by": "王芳"}
            assert (await refused(handler(asked)))[0] == "needs-off", name
        await desk.sweep()
    assert not (tmp_path / "needs.db").exists()


async def test_a_journal_that_was_lost_does_not_take_the_particulars_with_it(tmp_path: Path) -> None:
    async with office(tmp_path) as there:
        number = await there.register(**ZHANG)
    for file in tmp_path.glob("journal.db*"):
        file.unlink()
    async with office(tmp_path) as there:
        assert there.rows == {}
        assert there.store.stored().keys() == {number}


def start(folder: Path, stage: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.gateway.capabilities.needs.kit", folder],
        cwd=ROOT, env={**os.environ, "LINLI_KILL_AT": stage}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def after(folder: Path, told: str) -> None:
    """Whoever was given a number has a need, whole, unless it was erased; nobody else has half of one."""

    async def look() -> None:
        async with office(folder) as there:
            whole(there)
            check(there)

    def check(there: Office) -> None:
        erased = {line.split()[1] for line in told.splitlines() if line.startswith("erased")}
        for line in told.splitlines():
            what, number, once = line.split()
            assert there.rows[number].once == once
            if what == "registered" and there.rows[number].sealed:
                assert there.store.get(number).text == text_of(once)  # type: ignore[union-attr]
        assert erased.isdisjoint(there.store.stored())
        for number in erased:
            assert number.encode() not in there.options.path.read_bytes()

    asyncio.run(look())


@pytest.mark.parametrize(
    "stage", ["need-sealing", "need-sealed", "need-registered", "need-erased", "need-destroying"]
)
def test_killed_between_the_two_stores(tmp_path: Path, stage: str) -> None:
    told = ""
    for times in (1, 3):
        process = start(tmp_path, f"{stage}:{times}")
        said, _ = process.communicate(timeout=30)
        assert process.returncode == -9
        told += said
        after(tmp_path, told)
    assert told.count("registered") >= 2


def test_killed_at_any_moment(tmp_path: Path) -> None:
    told, chance = "", random.Random(6)
    for _ in range(6):
        process = start(tmp_path)
        assert process.stdout
        first = process.stdout.readline()
        threading.Event().wait(chance.uniform(0, 0.4))
        process.kill()
        said, _ = process.communicate(timeout=30)
        told += first + "".join(line for line in said.splitlines(keepends=True) if line.endswith("\n"))
        after(tmp_path, told)
    assert told.count("erased") > 2


UNUSABLE = {
    "no folder": "x" * 300 + "/needs.db",
    "a file for a folder": "file/needs.db",
    "a folder for a file": "folder",
}


@pytest.mark.parametrize("path", UNUSABLE.values(), ids=UNUSABLE)
async def test_a_store_that_cannot_be_used_is_told_and_ends_nothing(
    tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    async with office(tmp_path, clock) as there:
        there.options = NeedsOptions(tmp_path / path, tmp_path / "needs.key")
        running = asyncio.create_task(there.desk.run())
        while "needs-failed" not in caplog.text:
            assert not running.done()
            await clock.advance(SWEEP_INTERVAL_S)
            await asyncio.sleep(0.001)
        with pytest.raises(GatewayError, match="needs-store"):
            await there.register()
        assert not running.done()
        running.cancel()
    assert there.rows == {}


async def test_a_clock_that_leaps_ahead_destroys_no_particulars(tmp_path: Path) -> None:
    """Neither those of a need that is over, nor those whose need the journal has lost."""
    clock = FakeClock()
    clock._time = 7200.0
    async with office(tmp_path, clock) as there:
        number = await there.register(**ZHANG)
        await there.update(number, "withdraw")
        there.store.insert("12345678", there.store.get(number), clock.now().wall_ms)  # type: ignore[arg-type]
        there.store.confirm("12345678")
        running = asyncio.create_task(there.engine.run())
        await clock.advance(1)
        clock.wall += 3650 * 86_400_000
        await clock.advance(3)
        running.cancel()
        await there.desk.sweep()
        assert there.store.stored().keys() == {number, "12345678"}
        clock._time += EXPIRED_FOR_S
        await there.desk.sweep()
        assert "12345678" not in there.store.stored(), "the clock has stood by it for hours"
