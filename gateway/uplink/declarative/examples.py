"""The worked examples of a dialect file: records in, messages out; messages in, commands out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import msgspec

from gateway.config.dialect.identity import identity_of
from gateway.config.dialect.rules import SECRET, DialectFile
from gateway.config.fields import Table, struct_from_table
from gateway.config.options import Identity
from gateway.model import (
    GATEWAY_DEVICE,
    Checks,
    ClockQuality,
    Command,
    ConfigError,
    GatewayError,
    Lane,
    Record,
    Stamp,
)
from gateway.services.commands import CommandRow, CommandStatus
from gateway.uplink.dialect import Confirmation, Dialect, Message, Request

from .compile import Compiler
from .dialect import DeclarativeDialect
from .facts import DeviceFacts

_LANES = {lane.name.lower(): lane for lane in Lane}
_KINDS = {Lane.ALARM: "alarm", Lane.TELEMETRY: "sample"}


class ExampleSite(msgspec.Struct, frozen=True, kw_only=True):
    """`[example]`: the site of the examples, with its secrets, and the time at which they happen."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    site: str = "centre"
    epoch: str = "e1"
    timezone: str = "Asia/Shanghai"
    gateway: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}


class ExampleRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record: `values` of a sample, or `data` of a fact. Its time is that of the example if it gives
    none."""

    device: str
    seq: int = 1
    at: datetime | None = None
    kind: str = ""
    values: dict[str, Any] | None = None
    data: dict[str, Any] = {}


class ExampleMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message: its topic, and its payload as JSON."""

    topic: str
    payload: str


class ExampleCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command as the gateway understands it."""

    id: str = ""
    device: str
    action: str
    args: dict[str, Any] = {}


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """`[[examples]]`: exactly one of `records`, `opening`, `online`, `login` and `received`; then
    what becomes of it. `ended`: how the command ended whose replies are among the messages."""

    records: tuple[ExampleRecord, ...] = ()
    lane: str = "telemetry"
    backfill: bool = False
    opening: bool = False
    online: bool | None = None
    login: dict[str, str] = {}
    received: ExampleMessage | None = None
    command: ExampleCommand | None = None
    ended: str = "done"
    reply: dict[str, Any] = {}
    messages: tuple[ExampleMessage, ...] = ()

    CHECKS: ClassVar[Checks] = {"lane": (_LANES.__contains__, "lane-unknown")}


class Difference(msgspec.Struct, frozen=True):
    """What an example gives instead of what it says."""

    what: str
    wanted: str
    got: str


def example_dialect(file: DialectFile) -> DeclarativeDialect:
    """The dialect of a file at the site of its examples; its messages are numbered from 1. Raises
    `ConfigError`."""
    site: ExampleSite = _struct(ExampleSite, file.example)
    gateway = _facts(file, site, GATEWAY_DEVICE, {"kind": GATEWAY_DEVICE, **site.gateway})
    devices = {name: _facts(file, site, name, keys) for name, keys in site.devices.items()}
    compiler = Compiler(
        gateway, site.site, site.epoch, ZoneInfo(site.timezone), file.maps, file.signs, lambda at: at
    )
    now = round(site.now.timestamp() * 1000)
    return DeclarativeDialect(file, gateway, devices, compiler, lambda: now, 1)


def run_example(file: DialectFile, table: Table) -> Iterator[Difference]:
    """Whatever an example promises and does not keep. Raises `ConfigError`."""
    example: Example = _struct(Example, table)
    made = _run(file, example)
    if example.login:
        login = example_dialect(file).login()
        for name, text in example.login.items():
            yield from _compared(f"login.{name}", text, getattr(login, name, None))
    if example.reply:
        said = msgspec.structs.asdict(made.confirmation) if made.confirmation else {}
        yield from _compared("reply", example.reply, {key: said.get(key) for key in example.reply})
    if example.command:
        wanted = msgspec.structs.asdict(example.command)
        kept = {key: value for key, value in wanted.items() if value != "" or key != "id"}
        yield from _compared("command", kept, {key: getattr(made.command, key, None) for key in kept})
    yield from _compared_messages(example.messages, made.messages)


def example_messages(file: DialectFile) -> Iterator[list[Message]]:
    """The messages of each example. Raises `ConfigError`."""
    for table in file.examples:
        yield _run(file, _struct(Example, table)).messages


def messages_of(dialect: Dialect, records: list[Record], *, backfill: bool = False) -> list[Message]:
    """What records of one lane become."""
    groups = dialect.group(records, backfill=backfill)
    made = (dialect.records_message(group, backfill=backfill) for group in groups)
    return [message for message in made if message]


class _Made(msgspec.Struct):
    """What became of an example."""

    messages: list[Message] = []
    command: Command | None = None
    confirmation: Confirmation | None = None


def _run(file: DialectFile, example: Example) -> _Made:
    dialect, site = example_dialect(file), _struct(ExampleSite, file.example)
    now = round(site.now.timestamp() * 1000)
    if example.opening:
        return _Made([message for step in dialect.opening_messages({}) for message in step])
    if example.online is not None:
        return _Made([each for each in (dialect.status_message(example.online),) if each])
    if example.received:
        return _received(example, example.received, dialect, now)
    records = [_record(record, _LANES[example.lane], now) for record in example.records]
    return _Made(messages_of(dialect, records, backfill=example.backfill))


def _received(example: Example, received: ExampleMessage, dialect: DeclarativeDialect, now: int) -> _Made:
    at = Stamp(now, 0, "example", ClockQuality.SYNCED)
    made = _Made([])
    try:
        for meaning in dialect.parse(received.topic, received.payload.encode(), at):
            if isinstance(meaning, Message):
                made.messages.append(meaning)
            elif isinstance(meaning, Confirmation):
                made.confirmation = meaning
            elif isinstance(meaning, Request):
                order = made.command = meaning.command
                status = CommandStatus(example.ended)
                row = CommandRow(order.device, order.action, order.origin, "", at, order.expires, status)
                if answer := dialect.reply_message(meaning, row):
                    made.messages.append(answer)
    except GatewayError as error:
        raise ConfigError("example-message", reason=error) from error
    return made


def _facts(file: DialectFile, site: ExampleSite, name: str, given: Mapping[str, str]) -> DeviceFacts:
    kind, secret = given.get("kind", ""), given.get(SECRET, "")
    identity = Identity(gateway=site.gateway, device=site.devices)
    keys, _ = identity_of(file, identity, site.site, name, kind)
    return DeviceFacts(
        name, kind, keys, file.names,
        title=given.get("title", ""), room=given.get("room", ""), secret=lambda: secret,
    )  # fmt: skip


def _record(record: ExampleRecord, lane: Lane, now: int) -> Record:
    wall = round(record.at.timestamp() * 1000) if record.at else now
    sample = {} if record.values is None else {"quality": "good", "values": record.values}
    at = Stamp(wall, 0, "example", ClockQuality.SYNCED)
    return Record(
        lane, record.device, record.seq, record.kind or _KINDS.get(lane, ""), at, {**sample, **record.data}
    )


def _struct(kind: type[Any], table: Table) -> Any:
    built, mistakes = struct_from_table(kind, table)
    if mistakes:
        wrong = mistakes[0]
        raise ConfigError(wrong.key, **wrong.facts)
    return built


def _compared(what: str, wanted: Any, got: Any) -> Iterator[Difference]:
    if wanted != got:
        yield Difference(what, _shown(wanted), _shown(got))


def _compared_messages(wanted: tuple[ExampleMessage, ...], got: list[Message]) -> Iterator[Difference]:
    if len(wanted) != len(got):
        yield Difference("messages", str(len(wanted)), _shown([message.topic for message in got]))
        return
    for number, (one, other) in enumerate(zip(wanted, got, strict=True), 1):
        yield from _compared(f"messages.{number}.topic", one.topic, other.topic)
        try:
            payload = json.loads(one.payload)
        except ValueError as error:
            raise ConfigError("example-message", reason=error) from error
        yield from _compared(f"messages.{number}.payload", payload, json.loads(other.payload))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
