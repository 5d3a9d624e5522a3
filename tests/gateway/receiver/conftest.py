"""One PostgreSQL for the tests of a process, emptied for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Broker, running
from tests.postgres import Postgres, postgres


@pytest.fixture(scope="session")
def cluster() -> Iterator[Postgres]:
    with postgres() as running_cluster:
        yield running_cluster


@pytest.fixture
def database(cluster: Postgres) -> Postgres:
    cluster.rows("DROP SCHEMA IF EXISTS linli CASCADE")
    return cluster


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """As the page for operators says, it may keep any number of messages."""
    with running(tmp_path, "max_queued_messages 0", "max_inflight_messages 0") as running_broker:
        yield running_broker
