"""The trial of a configuration, with time injected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Mistakes, Site
from gateway.config.adoption import choose_configuration, load_adopted
from gateway.daemon.engine import Engine
from gateway.daemon.reload import MAX_TRIAL_S, MIN_TRIAL_S, Reloader
from gateway.journal import Journal
from gateway.model import ConfigurationAdopted, GatewayError, Lane, Record, Revision, Sample
from tests.clock import FakeClock
from tests.gateway.all_services import services
from tests.gateway.sites import HEAD, bus, device


class Rig:
    """A reloader with a real journal; the lines are the test's."""

    def __init__(self, folder: Path, journal: Journal, clock: FakeClock) -> None:
        self.file = folder / "site.toml"
        choice = choose_configuration(self.file)
        self.clock = clock
        self.journal = journal
        self.engine = Engine(services(choice.site.devices, {}), journal, clock)
        self.reloader = Reloader(self.file, choice, self.engine, journal, clock, self._apply)
        self.ran: list[list[str]] = []
        """The devices of each configuration that was switched to."""

    async def _apply(self, site: Site, revision: Revision) -> None:
        self.ran.append(list(site.devices))
        await self.adopt(site, revision)

    async def adopt(self, site: Site, revision: Revision) -> None:
        adopted = ConfigurationAdopted(revision, self.clock.now(), frozenset(site.devices))
        await self.engine.adopt(services(site.devices, {}), adopted)

    async def says(self, *names: str, error: str = "") -> None:
        for name in names:
            values = {} if error else {"smoke": False}
            await self.engine.publish_sample(Sample(name, self.clock.now(), values, error=error))

    async def verdict(self, seconds: float) -> dict[str, Any]:
        await self.clock.advance(seconds)
        while True:
            asking = asyncio.create_task(self.reloader.verdict())
            await asyncio.sleep(0.02)  # The disk is a real one.
            await self.clock.advance(10)
            if not (answer := await asking)["pending"]:
                return answer


def write(folder: Path, *parts: str) -> Path:
    head = HEAD.format(folder=folder, metrics=9109, web=8080)
    (folder / "site.toml").write_text(head + "".join(parts), "utf-8")
    return folder / "site.toml"


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    clock = FakeClock()
    async with Journal.open(folder / "journal.db", clock, 1.0) as journal:
        it = Rig(folder, journal, clock)
        await it.engine.restore()
        await it.reloader.start()
        await it.adopt(it.reloader.site, it.reloader.revision)
        running = asyncio.create_task(it.reloader.run())
        try:
            yield it
        finally:
            running.cancel()
            await asyncio.wait({running})


LINES = bus("hall", 502) + bus("yard", 503)
OLD = LINES + device("a", "hall") + device("b", "hall", 2) + device("c", "yard")
NEW = LINES + device("a", "hall", 7) + device("b", "hall", 2) + device("c", "yard")


async def test_a_configuration_that_silences_nobody_stays(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        write(tmp_path, NEW)
        answer = await it.reloader.reload("console")
        assert (answer["revision"], answer["trial"]) == (2, MIN_TRIAL_S)
        await it.clock.advance(5)
        await it.says("a", "b")
        assert await it.verdict(10) == {"pending": False, "revision": 2, "silent": (), "unproved": ()}
        kept = load_adopted(it.file, tmp_path / "journal.db")
        assert kept
        assert (kept.trial, kept.revision.number) == (None, 2)
        assert it.reloader.refused == ()


@pytest.mark.parametrize("how", ["an error", "nothing"])
async def test_a_device_that_falls_silent_brings_the_old_one_back(tmp_path: Path, how: str) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        write(tmp_path, NEW)
        await it.reloader.reload("console")
        await it.clock.advance(5)
        await it.says("b")
        if how == "an error":
            await it.says("a", error="timeout")
        assert await it.verdict(10) == {"pending": False, "revision": 3, "silent": ("a",), "unproved": ()}
        assert it.ran == [["a", "b", "c"]] * 2
        assert it.reloader.site.devices["a"].address.unit == 1
        assert "a" in it.reloader.health()["refused"]["en"][0]
        facts = await _records(it.journal, Lane.EVENT, "config")
        assert [(f.body["number"], f.body["by"], list(f.body["silent"])) for f in facts] == [
            (1, "start", []), (2, "console", []), (3, "rollback", ["a"]),
        ]  # fmt: skip
    # Nor does a restart try it again.
    async with rig(tmp_path) as it:
        assert it.reloader.revision.number == 3
        assert it.reloader.refused
        # Until somebody insists.
        answer = await it.reloader.reload("console", returning=False)
        assert (answer["revision"], answer["trial"], it.reloader.refused) == (4, 0, ())


async def test_a_device_that_reports_seldom_is_not_proved_by_a_trial(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        # b reports once an hour; d is new.
        slow = device("b", "hall", 2, more="every = 3600\n")
        write(
            tmp_path, LINES + device("a", "hall", 7) + slow + device("c", "yard") + device("d", "hall", 4)
        )
        answer = await it.reloader.reload("console")
        await it.clock.advance(5)
        await it.says("a")
        verdict = await it.verdict(answer["trial"])
        assert (verdict["revision"], verdict["silent"]) == (2, ())
        assert verdict["unproved"] == ("b", "d")


async def test_a_device_not_heard_since_the_start_cannot_fall_silent(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
    async with rig(tmp_path) as it:
        await it.says("b", "c")
        write(tmp_path, NEW)
        await it.reloader.reload("console")
        await it.clock.advance(5)
        await it.says("b")
        verdict = await it.verdict(10)
        assert (verdict["revision"], verdict["unproved"]) == (2, ("a",))


async def _records(journal: Journal, lane: Lane, kind: str) -> list[Record]:
    await journal.commit()
    return [record async for record in journal.reader.records(lane, 0) if record.kind == kind]


async def test_what_was_silent_before_does_not_count_nor_who_was_taken_out(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        await it.says("a", error="timeout")
        write(tmp_path, LINES, device("a", "hall", 7), device("b", "yard", 2))
        assert (await it.reloader.reload("console"))["trial"] == MIN_TRIAL_S
        await it.clock.advance(1)
        await it.says("b")
        assert (await it.verdict(14))["revision"] == 2


async def test_only_who_answered_before_is_named(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        await it.says("a", error="timeout")
        write(tmp_path, NEW)
        await it.reloader.reload("console")
        await it.clock.advance(1)
        await it.says("a", "b", error="timeout")
        assert (await it.verdict(14))["silent"] == ("b",)


async def test_one_that_comes_makes_up_for_one_that_goes(tmp_path: Path) -> None:
    """Else a typing error in one of ten devices would bring a wrong speed back for all ten."""
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        await it.says("a", error="timeout")
        write(tmp_path, NEW)
        await it.reloader.reload("console")
        await it.clock.advance(1)
        await it.says("a")
        await it.says("b", error="timeout")
        assert (await it.verdict(14))["revision"] == 2


async def test_a_line_that_goes_on_is_not_on_trial(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        write(tmp_path, NEW)
        await it.reloader.reload("console")
        await it.clock.advance(1)
        await it.says("a", "b")
        await it.says("c", error="timeout")
        assert (await it.verdict(14))["revision"] == 2


@pytest.mark.parametrize(
    ("every", "seconds"), [(1.0, MIN_TRIAL_S), (5.5, 16), (20.0, 60), (3600.0, MAX_TRIAL_S)]
)
async def test_the_trial_lasts_three_polls_of_the_slowest(
    tmp_path: Path, every: float, seconds: float
) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        write(tmp_path, NEW.replace("unit = 7\n", f"unit = 7\nevery = {every}\n"))
        assert (await it.reloader.reload("console"))["trial"] == seconds


async def test_one_that_seldom_speaks_has_the_benefit_of_the_doubt(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        write(tmp_path, NEW.replace("unit = 7\n", "unit = 7\nevery = 3600.0\n"))
        await it.reloader.reload("console")
        await it.clock.advance(1)
        await it.says("b")
        assert (await it.verdict(MAX_TRIAL_S))["revision"] == 2


@pytest.mark.parametrize("new", [OLD + bus("court", 504) + device("d", "court"),
                                 OLD.replace('[device.a]', '[device.a]\ntitle = "A"'),
                                 LINES + device("c", "yard")])  # fmt: skip
async def test_nothing_to_prove_where_nobody_could_fall_silent(tmp_path: Path, new: str) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        write(tmp_path, new)
        assert (await it.reloader.reload("console"))["trial"] == 0
        assert await it.reloader.verdict() == {
            "pending": False,
            "revision": 2,
            "silent": (),
            "unproved": (),
        }


async def test_a_second_reload_waits_for_the_verdict_on_the_first(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        write(tmp_path, NEW)
        await it.reloader.reload("console")
        for by in ("console", "signal"):
            with pytest.raises(GatewayError) as refused:
                await it.reloader.reload(by)
            assert refused.value.key == "reload-under-way"
        assert (await it.verdict(15))["revision"] == 3
        write(tmp_path, OLD)
        answer = await it.reloader.reload("console")
        assert (answer["adopted"], answer["revision"], it.reloader.refused) == (False, 3, ())


async def test_two_at_once_are_one(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        write(tmp_path, NEW)
        both = [it.reloader.reload("console"), it.reloader.reload("signal")]
        first, second = await asyncio.gather(*both, return_exceptions=True)
        assert isinstance(first, dict)
        assert isinstance(second, GatewayError)
        assert len(it.ran) == 1


async def test_a_restart_in_the_middle_of_a_trial_goes_on_with_it(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        await it.says("a", "b", "c")
        write(tmp_path, NEW)
        await it.reloader.reload("console")
        await it.clock.advance(5)
    async with rig(tmp_path) as it:
        assert it.reloader.revision.number == 2
        assert it.reloader.health()["on_trial"]
        await it.clock.advance(1)
        await it.says("b")
        assert await it.verdict(15) == {"pending": False, "revision": 3, "silent": ("a",), "unproved": ()}
        assert it.reloader.site.devices["a"].address.unit == 1


async def test_an_unchanged_file_keeps_its_revision(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    for _ in range(3):
        async with rig(tmp_path) as it:
            assert it.reloader.revision.number == 1
            assert not (await it.reloader.reload("signal"))["adopted"]
    # Even where the copy is lost.
    (tmp_path / "journal.adopted").unlink()
    async with rig(tmp_path) as it:
        assert it.reloader.revision.number == 1
        assert len(await _records(it.journal, Lane.EVENT, "config")) == 1
    write(tmp_path, NEW)
    async with rig(tmp_path) as it:
        revision = it.reloader.revision
        assert (revision.number, revision.by) == (2, "start")
        assert revision.changes == {"bus": {"changed": ["hall"]}, "device": {"changed": ["a"]}}


async def test_a_disk_that_takes_nothing_refuses_the_reload(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        (tmp_path / "journal.adopted.new").mkdir()
        write(tmp_path, NEW)
        with pytest.raises(GatewayError) as refused:
            await it.reloader.reload("console")
        assert refused.value.key == "config-unkept"
        assert (it.ran, it.reloader.revision.number) == ([], 1)


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ('id = "demo"', 'id = "other"', "site.id"),
        ('title = "Demo"', 'title = "Demo"\ntimezone = "UTC"', "site.timezone"),
        ("journal.db", "other.db", "journal.path"),
        ("control.sock", "other.sock", "control.socket"),
        ("port = 9109", "port = 9110", "metrics.port"),
        ("port = 8080", "port = 8081", "dashboard.port"),
    ],
)
async def test_what_needs_a_restart_is_named_and_nothing_is_taken_up(
    tmp_path: Path, before: str, after: str, where: str
) -> None:
    write(tmp_path, OLD)
    async with rig(tmp_path) as it:
        text = write(tmp_path, NEW).read_text("utf-8").replace(before, after, 1)
        it.file.write_text(text, "utf-8")
        with pytest.raises(Mistakes) as refused:
            await it.reloader.reload("console")
        (mistake,) = refused.value.mistakes
        assert (mistake.key, mistake.where) == ("needs-restart", where)
        key = where.partition(".")[2]
        assert text.splitlines()[mistake.line - 1].startswith(f"{key} = ")
        assert (it.ran, it.reloader.revision.number) == ([], 1)
