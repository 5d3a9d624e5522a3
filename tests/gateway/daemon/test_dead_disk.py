"""The disk is dead at the start and returns: what was kept in memory meanwhile stands in the ledger."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import Centre, Key, linli
from tests.gateway.ledger import account, read_journal, unique
from tests.gateway.simulate.conftest import eventually


@pytest.fixture
def card(centre: Centre) -> Iterator[Path]:
    """A disk for the journal alone."""
    daemon, folder = centre.daemon, centre.daemon.folder / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], check=True)
    try:
        text = daemon.site.read_text("utf-8")
        daemon.journal = folder / "journal.db"
        daemon.site.write_text(
            text.replace(str(daemon.folder / "journal.db"), str(daemon.journal)), "utf-8"
        )
        yield folder
    finally:
        if daemon.process:
            daemon.end(signal.SIGKILL)
        subprocess.run(["umount", folder], check=True)


@pytest.mark.timeout(150)
def test_what_memory_held_is_stored_delivered_once_and_in_the_ledger(centre: Centre, card: Path) -> None:
    def seen() -> Counter[str]:
        return Counter(key.epoch for key in unique(centre.witness))

    def logged(text: str) -> int:
        return centre.daemon.log.read_text("utf-8").count(text)

    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
    assert centre.daemon.end() == 0
    (own,) = seen()
    subprocess.run(["mount", "-o", "remount,ro", card], check=True)
    centre.daemon.start()
    centre.do("smoke", unit=1, on=True)
    eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="raised"))
    eventually(lambda: len(seen()) == 2)
    (memory,) = seen().keys() - {own}
    # While the platform is away, a process is killed: the next one goes on with what memory holds.
    centre.witness.end()
    centre.broker.end()
    centre.do("smoke", unit=1, on=False)
    eventually(lambda: logged("[uplink-down "))
    centre.daemon.end(signal.SIGKILL)
    centre.daemon.start()
    eventually(lambda: logged("[journal-homeless ") == 2)
    subprocess.run(["mount", "-o", "remount,rw", card], check=True)
    eventually(lambda: logged("[journal-returns ") == 1, 60)
    eventually(lambda: logged("[ready]") == 4)
    assert centre.daemon.end() == 0
    # In this order, as the witness has no session: what arrives without it, it has not seen.
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    before = seen()[own]
    eventually(lambda: seen()[own] > before + 20)
    assert centre.daemon.end() == 0
    assert account(centre.daemon.journal, centre.witness)["missing"] == 0
    kept = read_journal(centre.daemon.journal).keys()
    assert {key.epoch for key in kept} == {own, memory}
    rows: list[dict[str, Any]] = json.loads(
        linli("ledger", "--config", centre.daemon.site, "--json").stdout
    )
    measured: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        measured[row["epoch"] or own, row["device"], row["lane"]] += row["measured"]
        assert row["measured"] == row["delivered"] + row["pending"] + sum(row["dropped"].values())
    assert measured == Counter((epoch, device, lane) for epoch, device, lane, _ in map(_fields, kept))
    assert not list((centre.daemon.folder / "memory").glob("journal.db*"))


def _fields(key: Key) -> tuple[str, str, str, int]:
    return key.epoch, key.device, key.lane, key.seq
