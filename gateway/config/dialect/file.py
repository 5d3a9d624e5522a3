"""A dialect file: one platform's topics, payloads, names, login, replies and commands, read and checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from gateway.config.capability import service_actions
from gateway.config.fields import Table
from gateway.config.reading import Mistakes, TomlReader
from gateway.model import GATEWAY_ACTIONS, Checks
from gateway.words import words

from .rules import (
    ALARM_FIELDS,
    BUILT_IN,
    DIALECT_SCHEMA,
    NATIVE,
    OUTCOME_NAMES,
    SAMPLE_FIELDS,
    SECRET,
    AnswerKeys,
    AnswerRule,
    CommandKeys,
    CommandRule,
    DialectFile,
    HeartbeatKeys,
    LoginKeys,
    MessageKeys,
    MessageRule,
    Plain,
    PointNames,
    ReplyKeys,
    ReplyRule,
    Sign,
    SignKeys,
    TopicPattern,
    is_secret,
    source_name,
)
from .template import (
    Level,
    Names,
    Node,
    TemplateMistake,
    Text,
    levels_outside_loops,
    loops,
    parse_json,
    parse_text,
    placeholders,
    text_levels,
)


class _FileKeys(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    title: str | dict[str, str]
    source: str
    verified: str = ""
    extends: str = ""
    max_bytes: int = 0

    CHECKS: ClassVar[Checks] = {
        "max_bytes": (lambda size: size >= 0, "not-negative"),
        "source": (lambda source: bool(source.strip()), "source-empty"),
    }


def dialect_names(folders: Iterable[Path]) -> list[str]:
    """Every dialect that a site can use."""
    return sorted({*BUILT_IN, *(file.stem for folder in folders for file in folder.glob("*.toml"))})


def find_dialect(name: str, folders: Sequence[Path], saved: Mapping[str, str] | None = None) -> Path | None:
    """The file of a dialect, in the first folder that has it."""
    if saved is not None and source_name(name) in saved:
        return folders[0] / f"{name}.toml"
    return next((file for folder in folders if (file := folder / f"{name}.toml").is_file()), None)


def load_dialect(
    file: Path, folders: Sequence[Path] = (), saved: Mapping[str, str] | None = None
) -> DialectFile:
    """Read and check a dialect; `folders` have those that it may extend. `saved`: the texts of a site that
    are read instead of the files. Raises `Mistakes`."""
    reader = _DialectReader(file, folders, saved)
    dialect = reader.read_dialect()
    if reader.mistakes:
        raise Mistakes(reader.mistakes)
    assert dialect is not None
    return dialect


_MESSAGE_SECTIONS = ("opening", "telemetry", "history", "alarm", "event")
_SECTIONS = (
    "schema", "title", "source", "verified", "extends", "identity", "names", "maps", "sign", "login",
    "max_bytes", "heartbeat", "online", "offline", *_MESSAGE_SECTIONS, "reply", "command", "example",
    "examples",
)  # fmt: skip
_FIELDS = {
    "opening": SAMPLE_FIELDS, "telemetry": SAMPLE_FIELDS, "history": SAMPLE_FIELDS, "alarm": ALARM_FIELDS,
    "event": ("*",),
}  # fmt: skip
"""What the body of a record may hold, by section; of the opening, that of the newest sample of a device."""
_HEADER = re.compile(r"\s*\[\[?\s*([\w.\"'-]+)\s*\]?\]")
_KEY = re.compile(r"\s*([\w-]+|\"[^\"]*\"|'[^']*')\s*=")
_CAPTURE = re.compile(r"\{([\w.]+)\}")
_POINTER = re.compile(r"(/[^/]*)+")


class _DialectReader(TomlReader):
    """The file of a dialect."""

    def __init__(self, file: Path, folders: Sequence[Path], saved: Mapping[str, str] | None) -> None:
        super().__init__(file, saved.get(source_name(file.stem)) if saved else None)
        self._folders = folders
        self._saved = saved
        self._texts: dict[str, str] = {}
        self._levels: dict[str, Level] = {}
        self._maps: frozenset[str] = frozenset()

    def add_mistake(self, path: tuple[str, ...], key: str, at_line: int = 0, /, **facts: object) -> None:
        super().add_mistake(path, key, at_line or self._line_of(path), **facts)

    def _line_of(self, path: tuple[str, ...]) -> int:
        """The line of a key in one of several tables of one name; 0 where there is none such."""
        if len(path) < 2 or not path[1].isdecimal():
            return 0
        section, number, *keys = path
        lines = self.text.split("\n")
        begins = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{section}\s*\]\]", line)]
        if int(number) > len(begins):
            return 0
        begin = begins[int(number) - 1]
        found: dict[tuple[str, ...], int] = {(): begin}
        table: tuple[str, ...] = ()
        for n, line in enumerate(lines[begin + 1 :], begin + 1):
            if header := _HEADER.match(line):
                first, *rest = header[1].split(".")
                if first != section or not rest:
                    break
                table = tuple(rest)
                found.setdefault(table, n)
            elif key := _KEY.match(line):
                found.setdefault((*table, key[1].strip("\"'")), n)
        prefixes = (tuple(keys[:length]) for length in range(len(keys), -1, -1))
        return next(found[prefix] for prefix in prefixes if prefix in found) + 1

    def read_dialect(self) -> DialectFile | None:
        data = self._read_merged()
        if data is None:
            return None
        self.check_keys(data, _SECTIONS, ())
        general = {key: data[key] for key in (*_SECTIONS[:5], "max_bytes") if key in data}
        keys = self.build_struct(_FileKeys, general, ())
        gateway_keys, device_keys = self._read_identity(data)
        names = self._read_names(data)
        maps = self._read_maps(data)
        signs = self._read_signs(data)
        messages = {name: self._read_rules(data, name) for name in _MESSAGE_SECTIONS}
        single = {
            name: self._read_rule(data[name], name, (name,))
            for name in ("heartbeat", "online", "offline")
            if name in data
        }
        replies = tuple(filter(None, (self._read_reply(t, p) for t, p in self._tables(data, "reply"))))
        commands = tuple(filter(None, (self._read_command(t, p) for t, p in self._tables(data, "command"))))
        login = self._read_login(data)
        example = data.get("example", {})
        examples = [table for table, _ in self._tables(data, "examples")]
        if keys is None or names is None:
            return None
        for section, rules in messages.items():
            for number, rule in enumerate(rules, 1):
                if rule.reply_id and not replies:
                    self.add_mistake((section, str(number), "reply_id"), "reply-missing")
        dialect = DialectFile(
            name=self._file.stem,
            file=self._file,
            title=keys.title,
            source=keys.source,
            verified=keys.verified,
            gateway_keys=gateway_keys,
            device_keys=device_keys,
            names=names,
            maps=maps,
            signs=signs,
            login=login,
            max_bytes=keys.max_bytes,
            heartbeat=single.get("heartbeat"),
            online=single.get("online"),
            offline=single.get("offline"),
            replies=replies,
            commands=commands,
            example=example,
            examples=tuple(examples),
            texts={**self._texts, self._file.stem: self.text},
            **messages,
        )
        known = known_actions()
        for path, action in dialect.actions:
            if action not in known:
                self.add_unknown_action(path, action, known)
        return dialect

    def add_unknown_action(self, path: tuple[str, ...], action: str, known: Iterable[str]) -> None:
        near = difflib.get_close_matches(action, list(known), 3) or sorted(known)
        self.add_mistake(path, "action-nobody", action=action, known=", ".join(near))

    def _read_merged(self) -> Table | None:
        """The tables of this file over those of the file that it extends."""
        data = self.parse_file(DIALECT_SCHEMA)
        if data is None:
            return None
        base = data.get("extends")
        if not isinstance(base, str) or not base:
            return data
        found = find_dialect(base, self._folders, self._saved)
        if found is None or base == self._file.stem:
            known = [name for name in dialect_names(self._folders) if name not in (NATIVE, self._file.stem)]
            near = difflib.get_close_matches(base, known, 3) or known
            self.add_mistake(("extends",), "dialect-unknown", dialect=base, known=", ".join(near))
            return None
        reader = _DialectReader(
            found,
            [folder for folder in self._folders if folder != self._file.parent] or self._folders,
            self._saved,
        )
        inherited = reader._read_merged()
        if inherited is None:
            self.mistakes += reader.mistakes
            return None
        self._texts |= {**reader._texts, base: reader.text}
        return _merged_tables(inherited, data)

    def _tables(self, data: Table, section: str) -> Iterator[tuple[Table, tuple[str, ...]]]:
        """The tables `[[section]]`."""
        tables = data.get(section, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.add_mistake((section,), "tables-expected", section=section)
            return
        for number, table in enumerate(tables, 1):
            yield table, (section, str(number))

    def _table(self, data: Table, section: str, path: tuple[str, ...] = ()) -> Table:
        table = data.get(section, {})
        if isinstance(table, dict):
            return table
        self.add_mistake((*path, section), "table-expected", key=".".join((*path, section)))
        return {}

    def _read_identity(self, data: Table) -> tuple[dict[str, Text], dict[str, Text]]:
        identity = self._table(data, "identity")
        self.check_keys(identity, ("gateway", "device"), ("identity",))
        found: list[dict[str, Text]] = []
        for owner in ("gateway", "device"):
            texts: dict[str, Text] = {}
            names = Names(
                {
                    "site": Level.GATEWAY,
                    **(
                        {"device.name": Level.DEVICE, "device.kind": Level.DEVICE}
                        if owner == "device"
                        else {}
                    ),
                }
            )
            for key, default in self._table(identity, owner, ("identity",)).items():
                path = ("identity", owner, key)
                if key in ("name", "kind", "title", "room") or not re.fullmatch(r"[a-z][a-z0-9_]*", key):
                    self.add_mistake(path, "identity-key", key=key)
                elif not isinstance(default, str) or (key == SECRET and default):
                    self.add_mistake(path, "value-text" if key != SECRET else "identity-secret")
                else:
                    texts[key] = self._text(default, names, path)
            found.append(texts)
            self._levels |= {
                f"{owner}.{key}": Level.DEVICE if owner == "device" else Level.GATEWAY for key in texts
            }
        return found[0], found[1]

    def _read_names(self, data: Table) -> PointNames | None:
        table = dict(self._table(data, "names"))
        if isinstance(table.get("booleans"), list) and len(table["booleans"]) != 2:
            self.add_mistake(("names", "booleans"), "booleans-two")
            return None
        names = self.build_struct(PointNames, table, ("names",))
        for path, points in [(("names", "points"), names.points if names else {})] + [
            (("names", "kinds", kind), points) for kind, points in (names.kinds if names else {}).items()
        ]:
            seen: dict[str, str] = {}
            for point, named in points.items():
                name = named if isinstance(named, str) else named.name
                if (other := seen.setdefault(name, point)) != point:
                    self.add_mistake((*path, point), "point-name-twice", name=name, other=other)
        return names

    def _read_maps(self, data: Table) -> dict[str, dict[str, Plain]]:
        maps = self._table(data, "maps")
        for name, table in maps.items():
            if not isinstance(table, dict) or not all(isinstance(value, Plain) for value in table.values()):
                self.add_mistake(("maps", name), "map-form")
        self._maps = frozenset(maps)
        return {name: table for name, table in maps.items() if isinstance(table, dict)}

    def _read_signs(self, data: Table) -> dict[str, Sign]:
        signs: dict[str, Sign] = {}
        names = self._names(Level.RECORD, secrets=True, fields=("*",))
        for name, table in self._table(data, "sign").items():
            path = ("sign", name)
            keys = self.build_struct(SignKeys, table, path)
            if keys is None:
                self._levels[f"sign.{name}"] = Level.GATEWAY
                continue
            text, key = (
                self._text(each, names, (*path, part))
                for part, each in (("text", keys.text), ("key", keys.key))
            )
            level = max([Level.GATEWAY, *text_levels(text), *text_levels(key)])
            signs[name] = Sign(keys, text, key, level)
            self._levels[f"sign.{name}"] = level
        return signs

    def _read_login(self, data: Table) -> dict[str, Text]:
        keys = self.build_struct(LoginKeys, self._table(data, "login"), ("login",))
        if keys is None:
            return {}
        found = {}
        for name, text in msgspec.structs.asdict(keys).items():
            names = self._names(
                Level.MESSAGE,
                secrets=name != "client_id",
                leave_out=("message.id", "message.number", "backfill"),
            )
            found[name] = self._text(text, names, ("login", name))
        return {name: text for name, text in found.items() if text}

    def _names(
        self,
        most: Level,
        *,
        secrets: bool = False,
        fields: Iterable[str] = (),
        leave_out: Iterable[str] = (),
        pointers: bool = False,
    ) -> Names:
        """What may be named up to a level; `fields`: of a record's body."""
        levels = {
            "site": Level.GATEWAY, "epoch": Level.GATEWAY,
            **{name: level for name, level in self._levels.items() if secrets or not is_secret(name)},
            "now": Level.MESSAGE, "message.id": Level.MESSAGE, "message.number": Level.MESSAGE,
            "backfill": Level.MESSAGE,
            "device.name": Level.DEVICE, "device.kind": Level.DEVICE, "device.title": Level.DEVICE,
            "device.room": Level.DEVICE,
            "record.id": Level.RECORD, "record.seq": Level.RECORD, "record.kind": Level.RECORD,
            "record.lane": Level.RECORD, "record.time": Level.RECORD, "record.clock": Level.RECORD,
            "data": Level.RECORD, **{f"data.{field}": Level.RECORD for field in fields},
            "values": Level.RECORD,
            "value": Level.VALUE, "value.name": Level.VALUE, "value.point": Level.VALUE,
            "value.unit": Level.VALUE,
        }  # fmt: skip
        kept = {name: level for name, level in levels.items() if level <= most and name not in leave_out}
        return Names(kept, self._maps, pointers)

    def _read_rules(self, data: Table, section: str) -> tuple[MessageRule, ...]:
        return tuple(
            rule
            for table, path in self._tables(data, section)
            if (rule := self._read_rule(table, section, path))
        )

    def _read_rule(self, table: Table, section: str, path: tuple[str, ...]) -> MessageRule | None:
        kind = HeartbeatKeys if section == "heartbeat" else MessageKeys
        keys: MessageKeys | None = self.build_struct(kind, table, path)
        if keys is None:
            return None
        names = self._message_names(section)
        before = len(self.mistakes)
        known = _FIELDS.get(section, ())
        for key in keys.when:
            if key not in known and "*" not in known:
                self.add_mistake((*path, "when"), "when-name", name=key, known=", ".join(known) or "–")
        topic = self._text(keys.topic, names, (*path, "topic"))
        reply_id = self._text(keys.reply_id, names, (*path, "reply_id"))
        payload_names = self._message_names(section, secrets=section == "opening")
        payload = self._json(keys.payload, payload_names, (*path, "payload"))
        if payload is None or len(self.mistakes) > before:
            return None
        for within, loop in loops(payload):
            if not _may_nest(within, loop.over):
                around = next(
                    (
                        name
                        for name in ("device", "record", "value")
                        if within and Level[name.upper()] == within[-1]
                    ),
                    "–",
                )
                self.add_mistake(
                    (*path, "payload"), "template-nested", over=loop.over.name.lower(), within=around
                )
        if _names_value_in_other_loop(payload):
            self.add_mistake((*path, "payload"), "template-value-outside")
        return _rule(
            keys, topic, payload, reply_id, has_records=section in _FIELDS and section != "opening"
        )

    def _message_names(self, section: str, *, secrets: bool = False) -> Names:
        """What a message of this section may name: a token of a device only where it logs in, and never in
        a topic, which is logged."""
        if section not in _FIELDS:
            return self._names(
                Level.MESSAGE,
                leave_out=(
                    "backfill",
                    *(("now", "message.id", "message.number") if section == "offline" else ()),
                ),
            )
        if section == "opening":
            return self._names(Level.DEVICE, leave_out=("backfill",), secrets=secrets)
        return self._names(
            Level.VALUE,
            fields=_FIELDS[section],
            leave_out=()
            if section in ("telemetry", "history")
            else ("values", "value", "value.name", "value.point", "value.unit"),
        )

    def _read_reply(self, table: Table, path: tuple[str, ...]) -> ReplyRule | None:
        keys = self.build_struct(ReplyKeys, table, path)
        if keys is None:
            return None
        topic = self._read_pattern(keys.topic, keys.subscribe, path)
        for key in ("accepted", "passing"):
            self._check_pointers(getattr(keys, key), (*path, key))
        return ReplyRule(
            keys,
            topic,
            self._text(keys.id, topic.names, (*path, "id")),
            self._text(keys.error, topic.names, (*path, "error")),
        )

    def _read_command(self, table: Table, path: tuple[str, ...]) -> CommandRule | None:
        keys = self.build_struct(CommandKeys, table, path)
        if keys is None:
            return None
        topic = self._read_pattern(keys.topic, keys.subscribe, path)
        if keys.args and not _POINTER.fullmatch(keys.args):
            self.add_mistake((*path, "args"), "pointer-form", read=keys.args)
        for theirs, ours in keys.arguments.items():
            self._text(
                f"{{/x:{form}}}" if (form := ours.partition(":")[2]) else "",
                topic.names,
                (*path, "arguments", theirs),
            )
        for key in keys.device:
            if key != "name" and f"device.{key}" not in self._levels:
                known = ", ".join(
                    [
                        "name",
                        *(
                            name.removeprefix("device.")
                            for name in self._levels
                            if name.startswith("device.")
                        ),
                    ]
                )
                self.add_mistake((*path, "device", key), "key-unknown", known=known)
        texts: dict[str, Any] = {
            name: self._text(getattr(keys, name), topic.names, (*path, name))
            for name in ("id", "action", "sent", "expires", "attachment", "key", "signature")
        }
        tables: dict[str, Any] = {
            name: {
                key: self._text(text, topic.names, (*path, name, key))
                for key, text in getattr(keys, name).items()
            }
            for name in ("device", "added")
        }
        answer = self._read_answer(keys.answer, topic.names, (*path, "answer"))
        outcome = {f"command.{name}": Level.GATEWAY for name in OUTCOME_NAMES}
        names = msgspec.structs.replace(topic.names, levels={**topic.names.levels, **outcome})
        reply = self._read_answer(keys.reply, names, (*path, "reply"))
        return CommandRule(keys, topic, answer=answer, reply=reply, **tables, **texts)

    def _read_answer(
        self, keys: AnswerKeys | None, names: Names, path: tuple[str, ...]
    ) -> AnswerRule | None:
        if keys is None:
            return None
        payload = self._json(keys.payload, names, (*path, "payload"))
        topic = self._text(keys.topic, names, (*path, "topic"))
        if payload is not None and any(True for _ in loops(payload)):
            self.add_mistake((*path, "payload"), "template-each-none")
        return AnswerRule(topic, payload) if payload is not None else None

    def _read_pattern(self, topic: str, subscribe: str, path: tuple[str, ...]) -> TopicPattern:
        """A topic that is received, and what templates about its messages may name."""
        captured = {}
        for name in _CAPTURE.findall(topic):
            if name.startswith("device."):
                if name not in self._levels and name != "device.name":
                    known = sorted(each for each in self._levels if each.startswith("device."))
                    self.add_mistake(
                        (*path, "topic"),
                        "template-name",
                        name=name,
                        near=(known or ["device.name"])[0],
                        known=", ".join(known),
                    )
            elif name not in self._levels and name not in ("site", "epoch"):
                captured[f"topic.{name}"] = Level.GATEWAY
        if set(_CAPTURE.sub("", topic)) & set("{}"):
            self.add_mistake((*path, "topic"), "template-brace", read=topic)
        general = self._names(Level.DEVICE, leave_out=("backfill", "message.id", "message.number"))
        flat = dict.fromkeys(general.levels, Level.GATEWAY)
        names = Names({**flat, **captured, "received": Level.GATEWAY}, self._maps, pointers=True)
        text = self._text(subscribe, self._names(Level.DEVICE), (*path, "subscribe")) if subscribe else None
        return TopicPattern(topic, names, text)

    def _check_pointers(self, table: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for pointer in table:
            if not _POINTER.fullmatch(pointer):
                self.add_mistake(path, "pointer-form", read=pointer)

    def _text(self, text: str, names: Names, path: tuple[str, ...]) -> Text:
        try:
            return parse_text(text, names)
        except TemplateMistake as wrong:
            self.add_mistake(path, wrong.key, 0, **wrong.facts)
            return ()

    def _json(self, text: str, names: Names, path: tuple[str, ...]) -> Node | None:
        try:
            return parse_json(text, names)
        except TemplateMistake as wrong:
            self.add_mistake(path, wrong.key, self._line_in_value(path, text, wrong.line), **wrong.facts)
            return None

    def _line_in_value(self, path: tuple[str, ...], text: str, line: int) -> int:
        """The line of the file that is so many below the first one of a text of several lines."""
        begin = self.text.find(text)
        return self.text.count("\n", 0, begin) + line + 1 if begin >= 0 else 0


def known_actions() -> frozenset[str]:
    """Every action that has a name for people: those of services, drivers and device models."""
    prefix = "action."
    return frozenset({
        *service_actions(),
        *GATEWAY_ACTIONS,
        *(key.removeprefix(prefix) for key in words("en") if key.startswith(prefix)),
    })  # fmt: skip


def _rule(
    keys: MessageKeys, topic: Text, payload: Node, reply_id: Text, *, has_records: bool
) -> MessageRule:
    outside = {*levels_outside_loops(payload), *text_levels(topic), *text_levels(reply_id)}
    one_value = has_records and Level.VALUE in outside
    over = {loop.over for within, loop in loops(payload) if not within}
    one_record = has_records and (
        one_value or Level.RECORD in outside or not over & {Level.DEVICE, Level.RECORD}
    )
    inner_records = any(loop.over is Level.RECORD for within, loop in loops(payload) if within)
    return MessageRule(
        keys,
        topic,
        payload,
        reply_id,
        device_level=Level.DEVICE in outside or one_record,
        device_loops=Level.DEVICE in outside or Level.DEVICE in over,
        record_level=one_record or (Level.DEVICE in over and not inner_records),
        one_record=one_record,
        one_value=one_value,
    )


def _may_nest(within: tuple[Level, ...], over: Level) -> bool:
    return all(outer < over for outer in within)


def _names_value_in_other_loop(node: Node) -> bool:
    """Whether a value is named within `$each` device or record, and not within `$each` value."""
    found = [loop for _, loop in loops(node)]
    inside = {id(each) for loop in found if loop.over is Level.VALUE for each in placeholders(loop)}
    return any(
        each.level is Level.VALUE and id(each) not in inside
        for loop in found
        for each in placeholders(loop)
    )


def _merged_tables(base: Table, over: Table) -> Table:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged_tables(base[key], value) if both else value
    return merged
