"""The journal is deleted, cut or unwritable under the running daemon: it says so, and its alarms go on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.daemon.main import MAX_QUICK_ENDS
from gateway.journal import JournalFailed, JournalReader
from gateway.model import Lane, Record
from tests.gateway.conftest import linli
from tests.gateway.daemon.test_reload_live import House, Server
from tests.gateway.simulate.conftest import eventually
from tests.gateway.sites import bus, device


class LostHouse(House):
    """Its journal is in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.state = folder / "state"
        self.journal = self.state / "journal.db"

    def write(self, *parts: str) -> str:
        text = super().write(*parts).replace(f"{self.folder}/journal.db", str(self.journal))
        self.file.write_text(text, "utf-8")
        return text

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("healthz"))
        return found

    def records(self, lane: Lane) -> list[Record]:
        """Those that can be read now; none while the journal is away."""

        async def read() -> list[Record]:
            try:
                async with JournalReader.open(self.journal) as reader:
                    return [record async for record in reader.records(lane, 0)]
            except JournalFailed:
                return []

        return asyncio.run(read())

    def alarms(self) -> list[tuple[int, str, str]]:
        return [(r.seq, r.device, r.body["change"]) for r in self.records(Lane.ALARM)]


@pytest.fixture
def smoke() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def house(tmp_path: Path, smoke: Server) -> Iterator[LostHouse]:
    house = LostHouse(tmp_path)
    house.write(bus("line", smoke.port), device("a", "line"))
    yield house
    if house.process:
        house.end(signal.SIGKILL)


def _delete(path: Path) -> None:
    for file in path.parent.glob("journal.db*"):
        file.unlink()


def _remove_folder(path: Path) -> None:
    # At once: the daemon may write a file into it meanwhile.
    shutil.rmtree(path.parent.rename(path.parent.with_name("removed")))


def _replace(path: Path) -> None:
    path.with_name("other").write_bytes(b"what somebody copied here")
    path.with_name("other").replace(path)


def _cut(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("lose", [_delete, _remove_folder, _replace, _cut])
def test_alarms_go_on_and_everybody_is_told(
    house: LostHouse, smoke: Server, lose: Callable[[Path], None]
) -> None:
    house.start()
    smoke.value = 1
    eventually(lambda: [change for *_, change in house.alarms()] == ["raised"])
    assert house.process
    pid = house.process.pid
    lose(house.journal)
    eventually(lambda: house.logged("journal-damaged") == 1, 30)
    eventually(lambda: house.health().get("journal_damage"), 30)
    assert house.health()["ok"], "measurements reach the disk again"
    for lang, said in (("en", "deleted or replaced"), ("zh", "被删除或被替换")):
        done = linli("doctor", "--config", house.file, lang=lang)
        assert done.returncode == 1
        assert said in done.stdout
    smoke.value = 0
    eventually(lambda: "cleared" in [change for _, name, change in house.alarms() if name == "a"])
    eventually(lambda: ("gateway", "raised") in [(name, change) for _, name, change in house.alarms()])
    own = [(seq, change) for seq, name, change in house.alarms() if name == "a"]
    assert len({seq for seq, _ in own}) == len(own)
    assert min(seq for seq, change in own if change == "cleared") > 1, "no number is used twice"
    assert house.process.pid == pid
    assert house.process.poll() is None
    assert house.end() == 0
    house.start()
    assert house.logged("journal-damaged") == 1
    assert house.health()["journal_damage"] == ""


def test_a_journal_that_is_lost_again_and_again_is_kept_in_memory(house: LostHouse, smoke: Server) -> None:
    house.start()
    assert house.process
    for losses in range(1, MAX_QUICK_ENDS + 1):
        eventually(house.journal.exists)
        eventually(lambda losses=losses: house.log.read_text("utf-8").count("[ready]") == losses)
        _delete(house.journal)
        eventually(lambda losses=losses: house.logged("journal-damaged") == losses, 30)
    eventually(lambda: house.logged("journal-homeless") == 1)
    eventually(lambda: not house.health().get("ok"))
    smoke.value = 1
    eventually(lambda: house.logged("alarm"))
    assert house.process.poll() is None
    assert house.end() == 0


@pytest.fixture
def card(house: LostHouse) -> Iterator[Path]:
    """A disk for the journal alone."""
    house.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", house.state], check=True)
    yield house.state
    if house.process:
        house.end(signal.SIGKILL)
    subprocess.run(["umount", house.state], check=True)


def test_a_disk_that_comes_back_is_used_again_with_what_happened_meanwhile(
    house: LostHouse, smoke: Server, card: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", card], check=True)
    house.start()
    assert not house.health()["ok"]
    smoke.value = 1
    eventually(lambda: house.logged("alarm"))
    subprocess.run(["mount", "-o", "remount,rw", card], check=True)
    eventually(lambda: house.logged("journal-returns") == 1, 40)
    eventually(lambda: ("a", "raised") in [(name, change) for _, name, change in house.alarms()])
    eventually(lambda: house.health().get("ok"))
    smoke.value = 0
    eventually(lambda: ("a", "cleared") in [(name, change) for _, name, change in house.alarms()])
    assert [change for _, name, change in house.alarms() if name == "a"] == ["raised", "cleared"]
    assert not (house.folder / "journal.db").exists()
    assert house.end() == 0
