"""What can be wrong with a database, and its schema."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from gateway.model import ConfigError, GatewayError, LinkDown
from gateway.receiver import Database
from tests.postgres import Postgres


async def opening_error(url: str, *, migrate: bool = True) -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        async with Database.open(url, migrate=migrate):
            raise AssertionError("it opened")
    return raised.value


async def test_several_at_once_make_the_schema_once(database: Postgres) -> None:
    async def open_one() -> None:
        async with Database.open(database.url):
            pass

    await asyncio.gather(*(open_one() for _ in range(4)))
    assert database.rows("SELECT number FROM migration") == [(1,)]


async def test_a_schema_of_a_newer_version_is_left_alone(database: Postgres) -> None:
    async with Database.open(database.url):
        database.rows("INSERT INTO migration (number) VALUES (9)")
    error = await opening_error(database.url)
    assert isinstance(error, ConfigError)
    assert (error.key, error.facts["number"]) == ("database-newer", 9)


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(database: Postgres) -> None:
    database.rows("CREATE SCHEMA linli")
    database.rows("CREATE TABLE linli.urgent ()")
    assert (await opening_error(database.url)).key == "database-other"
    assert database.rows("SELECT relname FROM pg_class WHERE relnamespace = 'linli'::regnamespace") == [
        ("urgent",)
    ]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("postgresql://localhost:99999999999999999999/x", "database-unreachable"),
        ("postgresql://localhost:1/x", "database-unreachable"),
        ("postgresql://nowhere.invalid/x", "database-unreachable"),
        ("nonsense", "database-url"),
        ("postgresql://localhost/x?colour=red", "database-url"),
    ],
)
async def test_a_wrong_address(url: str, key: str) -> None:
    assert (await opening_error(url)).key == key


async def test_a_wrong_database_or_account(database: Postgres) -> None:
    assert (await opening_error(database.url.replace("/postgres?", "/none?"))).key == "database-missing"
    assert (await opening_error(database.url, migrate=False)).key == "database-empty"
    database.rows("DROP ROLE IF EXISTS guest")
    database.rows("CREATE ROLE guest LOGIN")
    error = await opening_error(database.url.replace("linli@", "guest@"))
    assert isinstance(error, LinkDown)
    assert error.key == "database-rights"


async def test_a_standby_and_an_encoding_that_lacks_chinese(database: Postgres) -> None:
    error = await opening_error(f"{database.url}&options=-c%20default_transaction_read_only%3Don")
    assert error.key == "database-readonly"
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS western")
        connection.execute("CREATE DATABASE western ENCODING 'LATIN1' TEMPLATE template0")
    assert (await opening_error(database.url.replace("/postgres?", "/western?"))).key == "database-encoding"


def test_migrations_are_numbered_without_a_gap() -> None:
    folder = Path(__file__).parents[3] / "gateway/receiver/migrations"
    numbers = [int(file.name[:4]) for file in sorted(folder.glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))
