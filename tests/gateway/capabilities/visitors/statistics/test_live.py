"""The running gateway keeps the file, through kills, and `linli visitors` says what the journal says."""

from __future__ import annotations

import json
from signal import SIGKILL, SIGTERM

import pytest

from tests.gateway.capabilities.visitors.statistics.book import bins
from tests.gateway.conftest import Centre, linli
from tests.gateway.ledger import read_journal
from tests.gateway.simulate.conftest import eventually


def crossings(centre: Centre) -> int:
    """Who came, by the facts in the journal."""
    found = read_journal(centre.daemon.journal).values()
    return sum(entry["data"]["in"] for entry in found if entry["kind"] == "crossing")


def heard(centre: Centre) -> bool:
    """Whether the east door's counter was read: its first total counts nobody."""
    return centre.daemon.up() and any(
        key.device == "door-east" for key in read_journal(centre.daemon.journal)
    )


def told(centre: Centre) -> int:
    """Who came, as the command tells it."""
    answer = linli("visitors", "--json", "--from", "2026-01-01", "--config", centre.daemon.site)
    assert answer.returncode == 0, answer.stderr
    return int(json.loads(answer.stdout)["total"]["came"])


@pytest.mark.timeout(180)
def test_killed_in_full_swing(centre: Centre) -> None:
    centre.broker.start()
    file = centre.daemon.folder / "statistics.db"
    came = 0
    for number in (SIGKILL, SIGTERM):
        centre.daemon.start()
        eventually(lambda: heard(centre), 30)
        before = came
        centre.do("visitor", door=1, direction="in", n=3)
        eventually(lambda before=before: crossings(centre) >= before + 3, 20)
        assert eventually(file.exists)
        # The file is an hour old at most; who looks sees what has happened since.
        assert told(centre) >= before + 3
        centre.daemon.end(number)
        came = crossings(centre)
    assert told(centre) == came
    centre.daemon.start()
    eventually(lambda: sum(each[0] for each in bins(file).values()) >= came)
    centre.daemon.end()
