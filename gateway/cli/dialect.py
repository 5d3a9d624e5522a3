"""`linli dialect`: checks the file of a dialect, and shows what the journal's records become in it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from gateway.base.clock import SystemClock, local_day
from gateway.config import Mistakes, Site
from gateway.config.dialect.file import dialect_names, find_dialect, load_dialect
from gateway.config.dialect.identity import identity_mistakes
from gateway.config.dialect.rules import BUILT_IN, DialectFile, is_secret
from gateway.config.dialect.template import placeholders
from gateway.config.options import Identity
from gateway.config.reading import localized
from gateway.config.site_file import search_folders
from gateway.journal import JournalFailed, JournalReader
from gateway.model import Lane, LinkDown, Record
from gateway.terminal.names import unknown_name
from gateway.terminal.printing import cli_text, error_sentence, lane_text, print_table
from gateway.terminal.site import add_site_argument, load_running_site
from gateway.uplink.declarative import DeclarativeDialect, build_declarative
from gateway.uplink.declarative.examples import example_messages, messages_of
from gateway.uplink.declarative.inspection import inspect_dialect
from gateway.uplink.declarative.schema import Schema
from gateway.uplink.dialect import Message
from gateway.words import preferred_language

from . import EX_CONFIG

MAX_RECORDS = 20_000
"""Of one lane and day that are read."""
DEFAULT_LIMIT = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("act", choices=("check", "try", "list"), help=cli_text("dialect-act"))
    parser.add_argument("file", nargs="?", default="", help=cli_text("dialect-file"))
    parser.add_argument("--limit", type=int, default=DEFAULT_LIMIT, help=cli_text("dialect-limit"))
    add_site_argument(parser)


def run(options: argparse.Namespace) -> int:
    folders = search_folders(options.config, "dialects")
    if options.act == "list":
        _print_list(folders)
        return 0
    try:
        dialect = load_dialect(_file_of(options.file, folders), folders)
        if options.act == "check":
            return print_checked(dialect)
        return asyncio.run(_try(dialect, options))
    except Mistakes as wrong:
        for mistake in wrong.mistakes:
            print(mistake.text(preferred_language()), file=sys.stderr)
        return EX_CONFIG


def print_checked(dialect: DialectFile) -> int:
    """What is wrong with the examples of a file whose keys are right. Raises `Mistakes`."""
    if mistakes := inspect_dialect(dialect):
        raise Mistakes(mistakes)
    counts = {
        "messages": sum(len(getattr(dialect, name)) for name in ("telemetry", "history", "alarm", "event")),
        "commands": len(dialect.commands),
        "examples": len(dialect.examples),
    }
    print(cli_text("well-dialect", file=dialect.file, **counts))
    return 0


def _file_of(typed: str, folders: list[Path]) -> Path:
    """A path, or the name of a dialect that comes along. Raises `GatewayError`."""
    if typed.endswith(".toml") or "/" in typed:
        return Path(typed)
    found = find_dialect(typed, folders)
    if found is None:
        raise unknown_name(
            "choice", typed, [name for name in dialect_names(folders) if name not in BUILT_IN]
        )
    return found


def _print_list(folders: list[Path]) -> None:
    language = preferred_language()
    rows = []
    for name in dialect_names(folders):
        file = find_dialect(name, folders)
        if file is not None:
            dialect = load_dialect(file, folders)
            rows.append((name, localized(dialect.title)[language], dialect.verified))
    print_table([cli_text(f"dialect-{head}") for head in ("name", "title", "verified")], rows)


async def _try(dialect: DialectFile, options: argparse.Namespace) -> int:
    """Print the messages, and whether they conform to the platform's schemas; the exit code."""
    schemas = _Schemas(dialect)
    try:
        site = load_running_site(options) if options.config.exists() else None
        if site is None:
            raise JournalFailed("journal-missing")
        async with JournalReader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
            here = _at_site(dialect, site, await reader.read_meta("epoch"))
            await _print_day(dialect, here, reader, options.limit, schemas)
    except JournalFailed:
        print(cli_text("dialect-examples"))
        for number, messages in enumerate(example_messages(dialect), 1):
            _print_messages(cli_text("dialect-example", number=number), messages, 0, schemas)
    return schemas.report()


def _at_site(dialect: DialectFile, site: Site, epoch: str) -> DeclarativeDialect:
    """The dialect at the site; what its site file does not say of the identities is shown as `<key>`."""
    speaking = (options for options in site.uplinks.values() if options.dialect == dialect.name)
    given = next((options.identity for options in speaking), Identity())
    missing: dict[str, dict[str, str]] = {"gateway": {}}
    for where, key, facts in identity_mistakes(dialect, given, site.devices):
        if key == "identity-missing":
            wanted = str(facts["key"])
            missing.setdefault(where[-1], {})[wanted] = f"<{wanted}>"
    identity = Identity(
        gateway={**missing.pop("gateway"), **given.gateway},
        kind=given.kind,
        device={name: {**missing.get(name, {}), **given.device.get(name, {})} for name in site.devices},
    )
    clock = SystemClock()
    return build_declarative(
        dialect,
        identity,
        site.devices,
        site=site.centre.id,
        timezone=site.centre.timezone,
        language=site.centre.language,
        epoch=epoch,
        correct_stamp=lambda at: at,
        now=lambda: clock.now().wall_ms,
        first_number=1,
    )


async def _print_day(
    file: DialectFile, dialect: DeclarativeDialect, reader: JournalReader, limit: int, schemas: _Schemas
) -> None:
    """What is sent on a connection, and what the records of the newest day become."""
    try:
        if login := dialect.login():
            # A token may be the user name.
            is_token = any(is_secret(each.name) for each in placeholders(file.login.get("username", ())))
            username = "…" if is_token else login.username
            print(cli_text("dialect-login", client_id=login.client_id or "–", username=username))
        openings = [message for step in dialect.opening_messages({}) for message in step]
        _print_messages(cli_text("dialect-opening"), openings, limit, schemas, dialect.secrets())
    except LinkDown as error:
        print(error_sentence(error), file=sys.stderr)
    status = [message for online in (True, False) if (message := dialect.status_message(online))]
    _print_messages(cli_text("dialect-status"), status, limit, schemas)
    for lane in Lane:
        day, records = await _newest_day(reader, lane)
        if not records:
            continue
        grouped = [record for group in dialect.group(records) for record in group]
        heading = f"{lane_text(lane.name.lower())}, {cli_text('dialect-day', day=day)}"
        _print_messages(heading, messages_of(dialect, records), limit, schemas)
        said = {(record.device, record.seq) for record in grouped}
        if silent := sum((record.device, record.seq) not in said for record in records):
            print(cli_text("dialect-silent", count=silent))


async def _newest_day(reader: JournalReader, lane: Lane) -> tuple[str, list[Record]]:
    """The newest day that a lane has, and its records, oldest first."""
    day = ""
    records: list[Record] = []
    before = await reader.last_pos(lane) + 1
    while len(records) < MAX_RECORDS and (packs := await reader.read_before(lane, before, 8)):
        before = packs[-1].pos
        found = [record for pack in packs for record in reversed(pack.records)]
        day = day or next((reader.day_of(record.at) for record in found), "")
        of_day = [record for record in found if reader.day_of(record.at) == day]
        records += of_day
        if len(of_day) < len(found):
            break
    return day, records[::-1]


def _print_messages(
    heading: str, messages: Iterable[Message], limit: int, schemas: _Schemas, secrets: Iterable[str] = ()
) -> None:
    made = list(messages)
    if not made:
        return
    print(f"\n== {heading}")
    for number, message in enumerate(made, 1):
        schemas.check(message)
        if not limit or number <= limit:
            print(f"\n{message.topic}")
            text = json.dumps(json.loads(message.payload), ensure_ascii=False, indent=2)
            for secret in secrets:
                text = text.replace(json.dumps(secret, ensure_ascii=False)[1:-1], "…")
            print(text)
    if limit and len(made) > limit:
        print(cli_text("dialect-more", count=len(made) - limit))


class _Schemas:
    """The JSON Schemas that a dialect names, and what does not conform to them."""

    def __init__(self, dialect: DialectFile) -> None:
        self._topics = dict(dialect.schemas())
        self._schemas: dict[Path, Schema] = {}
        self._good: dict[Path, int] = {}
        self._violations: list[str] = []

    def check(self, message: Message) -> None:
        """Remember whether a message conforms. Raises `ConfigError`."""
        for pattern, file in self._topics.items():
            if not pattern.fullmatch(message.topic):
                continue
            if file not in self._schemas:
                self._schemas[file] = Schema(file)
            found = list(self._schemas[file].violations(message.payload))
            self._good[file] = self._good.get(file, 0) + (not found)
            self._violations += [
                cli_text("dialect-schema-bad", topic=message.topic, schema=file.name, **each._asdict())
                for each in found
            ]
            return

    def report(self) -> int:
        """Print the result; the exit code."""
        for file, count in self._good.items():
            print(cli_text("dialect-schema-good", schema=file.name, count=count))
        for line in dict.fromkeys(self._violations):
            print(line, file=sys.stderr)
        return 1 if self._violations else 0
