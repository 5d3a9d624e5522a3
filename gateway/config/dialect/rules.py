"""What is in a dialect file: the keys of its tables, and the rules that they become."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from gateway.config.fields import Table
from gateway.model import Checks

from .template import Level, Names, Node, Text

DIALECT_SCHEMA = "linli/dialect/1"
NATIVE, SPARKPLUG, HOME_ASSISTANT = "native", "sparkplug", "home-assistant"
BUILT_IN = (NATIVE, SPARKPLUG, HOME_ASSISTANT)
"""The dialects that are code and have no file."""
SECRET = "secret"  # noqa: S105 - the name of a key
"""The key of an identity whose value is read from the file that the site names in `secret_file`."""
MAX_LIFETIME_S = 3600.0
"""A command may be valid for an hour at most."""
ALARM_FIELDS = (
    "id", "change", "state", "point", "hazard", "latch", "value", "raised", "by", "mode", "why", "place",
    "where", "until",
)  # fmt: skip
"""What the record of an alarm may say."""
SAMPLE_FIELDS = ("quality", "values", "bad", "error", "facts", "arrival")
OUTCOME_NAMES = ("id", "status", "detail", "device", "action", "reason", "result")

Plain = bool | int | float | str


class PointName(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a point is called on the platform, and what its values become there: times `scale`, plus
    `offset`, rounded to `decimals`, as a `type`. `words` replaces values: `{ true = "ON" }`."""

    name: str
    scale: float = 1.0
    offset: float = 0.0
    decimals: int | None = None
    type: Literal["", "int", "float", "text", "bool"] = ""
    unit: str = ""
    words: dict[str, Plain] = {}

    CHECKS: ClassVar[Checks] = {
        "name": (bool, "title-empty"),
        "scale": (lambda scale: scale != 0, "scale-zero"),
    }


class PointNames(msgspec.Struct, frozen=True, kw_only=True):
    """`[names]`: points on the platform. An unlisted one keeps its name or is skipped; `dot` stands for
    the dot in the names of repeated points; `booleans` for false and true."""

    unlisted: Literal["keep", "skip"] = "keep"
    dot: str = "."
    booleans: tuple[Plain, Plain] = (False, True)
    points: dict[str, str | PointName] = {}
    kinds: dict[str, dict[str, str | PointName]] = {}

    def find(self, kind: str, point: str) -> PointName | None:
        """What a point of a device of this kind is called; None: it is not sent."""
        stem, _, number = point.partition(".")
        for table in (self.kinds.get(kind, {}), self.points):
            for key, copy in ((point, ""), (stem, number)):
                if (found := table.get(key)) is not None:
                    listed = PointName(name=found) if isinstance(found, str) else found
                    if not copy and key == point:
                        return listed
                    joined = (
                        listed.name.replace("*", copy)
                        if "*" in listed.name
                        else f"{listed.name}{self.dot}{copy}"
                    )
                    return msgspec.structs.replace(listed, name=joined)
        return PointName(name=point.replace(".", self.dot)) if self.unlisted == "keep" else None


class SignKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`[sign.…]`: the digest of a text, with a key where the function needs one."""

    function: Literal["md5", "sha1", "sha256", "hmac_md5", "hmac_sha1", "hmac_sha256"]
    text: str
    key: str = ""
    key_encoding: Literal["text", "base64", "hex"] = "text"
    encoding: Literal["hex", "HEX", "base64"] = "hex"

    STRUCT_CHECKS: ClassVar[Checks] = {
        "key": (lambda its: its.function.startswith("hmac") == bool(its.key), "sign-key")
    }


class LoginKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`[login]`: with what the gateway connects, instead of the keys of `[uplink]`."""

    client_id: str = ""
    username: str = ""
    password: str = ""


class MessageKeys(msgspec.Struct, frozen=True, kw_only=True):
    """A message to the platform."""

    topic: str
    payload: str
    retain: bool = False
    reply_id: str = ""
    json_schema: str = ""
    kinds: tuple[str, ...] = ()
    device_kinds: tuple[str, ...] = ()
    when: dict[str, Plain | tuple[Plain, ...]] = {}
    max_devices: int = 0
    max_records: int = 0
    max_values: int = 0

    CHECKS: ClassVar[Checks] = {
        "topic": (lambda topic: bool(topic) and not set(topic) & set("+#"), "topic-form"),
        "max_devices": (lambda count: count >= 0, "not-negative"),
        "max_records": (lambda count: count >= 0, "not-negative"),
        "max_values": (lambda count: count >= 0, "not-negative"),
    }


class HeartbeatKeys(MessageKeys, frozen=True, kw_only=True):
    """`[heartbeat]`: a message that is sent `every` so many seconds."""

    every: float

    CHECKS: ClassVar[Checks] = {"every": (lambda seconds: 1 <= seconds <= 86_400, "every-range")}


class ReplyKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`[[reply]]`: the platform's reply to a message with a `reply_id`."""

    topic: str
    id: str
    subscribe: str = ""
    accepted: dict[str, Plain | tuple[Plain, ...]] = {}
    passing: dict[str, Plain | tuple[Plain, ...]] = {}
    error: str = ""


class AnswerKeys(msgspec.Struct, frozen=True, kw_only=True):
    """A message about one command."""

    topic: str
    payload: str


class CommandKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`[[command]]`: a message that is a command, or only wants an answer."""

    topic: str
    subscribe: str = ""
    id: str = ""
    action: str = ""
    device: dict[str, str] = {}
    args: str = ""
    args_list: tuple[str, str] = ("name", "value")
    sent: str = ""
    expires: str = ""
    lifetime: float = 0.0
    numbers_restart: bool = False
    actions: dict[str, str] = {}
    arguments: dict[str, str] = {}
    added: dict[str, str] = {}
    attachment: str = ""
    key: str = ""
    signature: str = ""
    answer: AnswerKeys | None = None
    reply: AnswerKeys | None = None

    CHECKS: ClassVar[Checks] = {
        "lifetime": (lambda seconds: 0 <= seconds <= MAX_LIFETIME_S, "lifetime-range")
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "id": (lambda its: not its.action or bool(its.id), "command-id-missing"),
        "lifetime": (
            lambda its: not its.action or bool(its.expires or its.lifetime),
            "command-lifetime-missing",
        ),
        "answer": (lambda its: bool(its.action or its.answer), "command-empty"),
        "signature": (
            lambda its: bool(its.key) == bool(its.signature) and not (its.key and its.numbers_restart),
            "command-signature",
        ),
    }


class Sign(msgspec.Struct, frozen=True):
    """A signing function with its templates."""

    keys: SignKeys
    text: Text
    key: Text
    level: Level


class MessageRule(msgspec.Struct, frozen=True):
    """A message, with its templates and what they can hold."""

    keys: MessageKeys
    topic: Text
    payload: Node
    reply_id: Text
    device_level: bool
    """One message is of one device: its topic, or its payload outside `$each`, depends on it."""
    device_loops: bool
    """It is about devices, alone or in `$each`."""
    record_level: bool
    """One message has one record of each device, for the same reason."""
    one_record: bool
    """One message has one record."""
    one_value: bool
    """One message has one value of it."""

    @property
    def max_values(self) -> int:
        """How many values one message may have; 0: any number."""
        return 1 if self.one_value else self.keys.max_values

    def fits(self, kind: str, device_kind: str, body: Mapping[str, Any] | None) -> bool:
        """Whether a record is said by this message; None: it is not known yet."""
        keys = self.keys
        return (
            (not keys.kinds or kind in keys.kinds)
            and (not keys.device_kinds or device_kind in keys.device_kinds)
            and (
                body is None or all(is_among(body.get(name), wanted) for name, wanted in keys.when.items())
            )
        )


class TopicPattern(msgspec.Struct, frozen=True):
    """A topic that is received. Placeholders of the gateway are filled in; `device.…` names the device,
    and any other name captures what stands there."""

    text: str
    names: Names
    subscribe: Text | None


class ReplyRule(msgspec.Struct, frozen=True):
    """See `ReplyKeys`."""

    keys: ReplyKeys
    topic: TopicPattern
    id: Text
    error: Text


class AnswerRule(msgspec.Struct, frozen=True):
    """See `AnswerKeys`."""

    topic: Text
    payload: Node


class CommandRule(msgspec.Struct, frozen=True):
    """See `CommandKeys`."""

    keys: CommandKeys
    topic: TopicPattern
    id: Text
    action: Text
    device: dict[str, Text]
    sent: Text
    expires: Text
    added: dict[str, Text]
    attachment: Text
    key: Text
    signature: Text
    answer: AnswerRule | None
    reply: AnswerRule | None


class DialectFile(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of one file of `config/dialects/`."""

    name: str
    file: Path
    title: str | dict[str, str]
    source: str
    verified: str
    """What it was tried against, in the words of who wrote it."""
    gateway_keys: dict[str, Text]
    """Keys of the gateway's identity, each with its default (empty: the site must give it)."""
    device_keys: dict[str, Text]
    names: PointNames
    maps: dict[str, dict[str, Plain]]
    signs: dict[str, Sign]
    login: dict[str, Text]
    max_bytes: int
    heartbeat: MessageRule | None
    online: MessageRule | None
    offline: MessageRule | None
    opening: tuple[MessageRule, ...]
    telemetry: tuple[MessageRule, ...]
    history: tuple[MessageRule, ...]
    alarm: tuple[MessageRule, ...]
    event: tuple[MessageRule, ...]
    replies: tuple[ReplyRule, ...]
    commands: tuple[CommandRule, ...]
    example: Table
    """The site that the examples are of."""
    examples: tuple[Table, ...]
    texts: dict[str, str]
    """The texts of this file and of those that it extends, by name."""

    @property
    def heartbeat_interval_s(self) -> float:
        """Seconds between heartbeats; 0: none."""
        keys = self.heartbeat.keys if self.heartbeat else None
        return keys.every if isinstance(keys, HeartbeatKeys) else 0.0

    @property
    def has_signatures(self) -> bool:
        """Whether commands may be signed."""
        return any(rule.keys.signature for rule in self.commands)

    def schemas(self) -> Iterator[tuple[re.Pattern[str], Path]]:
        """The JSON Schemas of the platform, each with the topics whose payloads it describes."""
        rules = (*self.opening, *self.telemetry, *self.history, *self.alarm, *self.event)
        for rule in rules:
            if rule.keys.json_schema:
                topic = "".join(re.escape(part) if isinstance(part, str) else ".+" for part in rule.topic)
                yield re.compile(topic), self.file.parent / rule.keys.json_schema

    @property
    def actions(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """The actions that its commands name, each with the path of its key."""
        for number, rule in enumerate(self.commands, 1):
            for theirs, ours in rule.keys.actions.items():
                yield ("command", str(number), "actions", theirs), ours


def is_among(value: Any, wanted: Plain | tuple[Plain, ...]) -> bool:
    """Whether a value is one of those wanted; `1` is not `true`, and "" is also a value that is missing."""
    each = wanted if isinstance(wanted, tuple) else (wanted,)
    found = "" if value is None else value
    return any(found == one and isinstance(found, bool) == isinstance(one, bool) for one in each)


def is_secret(name: str) -> bool:
    """Whether a placeholder's name is that of a secret."""
    return name.endswith(f".{SECRET}")


def source_name(dialect: str) -> str:
    """The name of a dialect's text among the `sources` of a site."""
    return f"dialects/{dialect}"
