"""Templates become functions once; what is known beforehand is filled in, device by device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import UNSET

from gateway.config.dialect.rules import MessageRule, Sign
from gateway.config.dialect.template import (
    Array,
    Each,
    Joined,
    Level,
    Literal,
    Node,
    Object,
    Placeholder,
    Text,
    Typed,
    placeholders,
)
from gateway.model import Record, Stamp

from .facts import (
    DeviceFacts,
    Scope,
    encode,
    find_pointer,
    fixed_object,
    make_format,
    read_time,
    sign,
    text_of,
)

Item = tuple[str, Any, str, Any]
"""A value: see `DeviceFacts.items`."""
Getter = Callable[[Scope, DeviceFacts, Record, Item], Any]
"""What a placeholder stands for in a message, of a device, a record and a value."""
Turn = tuple[Scope, DeviceFacts, Record, Item]
Writer = Callable[[dict[str, Any], Scope, DeviceFacts, Record, Item], None]
"""Adds members to an object."""
T = TypeVar("T")


class Compiler:
    """Compiles the templates of one dialect at one site. `device`: what depends on it is filled in."""

    def __init__(
        self,
        gateway: DeviceFacts,
        site: str,
        epoch: str,
        zone: tzinfo,
        maps: Mapping[str, Mapping[str, Any]],
        signs: Mapping[str, Sign],
        correct_stamp: Callable[[Stamp], Stamp],
        device: DeviceFacts | None = None,
    ) -> None:
        self._given = (gateway, site, epoch, zone, maps, signs, correct_stamp)
        self._gateway = gateway
        self._site = site
        self._epoch = epoch
        self._zone = zone
        self._maps = maps
        self._signs = signs
        self._correct_stamp = correct_stamp
        self._device = device

    def bound_to(self, device: DeviceFacts) -> Compiler:
        """For templates about this device alone."""
        return Compiler(*self._given, device)

    def text(self, text: Text) -> Callable[[Scope, DeviceFacts, Record, Item], str]:
        """A text as a function."""
        parts = [part if isinstance(part, str) else self._known_or_getter(part) for part in text]
        getters = [part for part in parts if callable(part)]
        form = "".join("%s" if callable(part) else text_of(part).replace("%", "%%") for part in parts)
        if not getters:
            constant = form.replace("%%", "%")
            return lambda m, d, r, v: constant
        if len(getters) == 1:
            (one,) = getters
            return lambda m, d, r, v: form % text_of(one(m, d, r, v))
        return lambda m, d, r, v: form % tuple([text_of(get(m, d, r, v)) for get in getters])

    def json(self, node: Node) -> Callable[[Scope, DeviceFacts, Record, Item], bytes]:
        """A JSON template as a function."""
        make = self._node(node)
        return lambda m, d, r, v: encode(make(m, d, r, v))

    def value(self, text: Text) -> Getter:
        """A text that is one placeholder alone, with its type; else the text."""
        if len(text) == 1 and isinstance(text[0], Placeholder):
            return self._formatted(text[0])
        return self.text(text)

    def format(self, name: str) -> Callable[[Any], Any]:
        """The function of a format."""
        return make_format(name, self._zone, self._maps)

    def time(self, value: Any) -> int | None:
        """A time of the platform, whatever its form: see `read_time`."""
        return read_time(value, self._zone)

    def _node(self, node: Node) -> Getter:
        """A function that makes what the encoder writes as this JSON."""
        if isinstance(node, Literal):
            return _constant(msgspec.Raw(encode(node.value)))
        if isinstance(node, Typed):
            return self._typed(node.placeholder)
        if isinstance(node, Joined):
            return self.text(node.text)
        if isinstance(node, Array):
            return self._array(node)
        assert isinstance(node, Object)
        keys = [self._static_text(key) for key, _ in node.members]
        has_fixed_keys = not any(isinstance(value, Each) for _, value in node.members) and None not in keys
        if has_fixed_keys and len(set(keys)) == len(keys):
            return _fixed_object(
                [str(key) for key in keys], [self._node(value) for _, value in node.members]
            )
        return self._open_object(node)

    def _static_text(self, text: Text) -> str | None:
        """A text that is the same in every message; None if it is not."""
        if all(isinstance(part, str) or self._is_known(part) for part in text):
            return self.text(text)(*_UNUSED)
        return None

    def _open_object(self, node: Object) -> Getter:
        """An object whose keys depend on the message."""
        writers = [self._writer(key, value) for key, value in node.members]
        if len(writers) == 1:
            (one,) = writers

            def written(m: Scope, d: DeviceFacts, r: Record, v: Item) -> Any:
                members: dict[str, Any] = {}
                one(members, m, d, r, v)
                return members

            return written

        def written_in_turn(m: Scope, d: DeviceFacts, r: Record, v: Item) -> Any:
            members: dict[str, Any] = {}
            for write in writers:
                write(members, m, d, r, v)
            return members

        return written_in_turn

    def _writer(self, key: Text, node: Node) -> Writer:
        """A function that adds one member to an object, or those of a loop."""
        if isinstance(node, Each):
            return self._member_loop(node)
        name, make = self.text(key), self._node(node)

        def write(members: dict[str, Any], m: Scope, d: DeviceFacts, r: Record, v: Item) -> None:
            value = make(m, d, r, v)
            if value is not UNSET:
                members[name(m, d, r, v)] = value

        return write

    def _member_loop(self, node: Each) -> Writer:
        turns = _TURNS[node.over]
        if node.over is Level.VALUE or self._device:
            inner = [self._writer(key, value) for key, value in node.body.members]

            def write(members: dict[str, Any], m: Scope, d: DeviceFacts, r: Record, v: Item) -> None:
                for turn in turns(m, d, r, v):
                    for each in inner:
                        each(members, *turn)

            return write
        bodies = _PerDevice(
            self, lambda compiler: [compiler._writer(key, value) for key, value in node.body.members]
        )

        def write_of_devices(members: dict[str, Any], m: Scope, d: DeviceFacts, r: Record, v: Item) -> None:
            for turn in turns(m, d, r, v):
                for each in bodies.of(turn[1]):
                    each(members, *turn)

        return write_of_devices

    def _array(self, node: Array) -> Getter:
        if len(node.items) == 1 and isinstance(node.items[0], Each):
            return self._item_loop(node.items[0])
        items = [
            (isinstance(item, Each), self._item_loop(item) if isinstance(item, Each) else self._node(item))
            for item in node.items
        ]

        def listed(m: Scope, d: DeviceFacts, r: Record, v: Item) -> Any:
            made: list[Any] = []
            for is_loop, make in items:
                value = make(m, d, r, v)
                if is_loop:
                    made += value
                elif value is not UNSET:
                    made.append(value)
            return made

        return listed

    def _item_loop(self, node: Each) -> Getter:
        turns = _TURNS[node.over]
        if node.over is Level.RECORD and self._device:
            body = self._node(node.body)
            return lambda m, d, r, v: [body(m, d, record, v) for record in m.records]
        if node.over is Level.VALUE or self._device:
            body = self._node(node.body)
            return lambda m, d, r, v: [body(*turn) for turn in turns(m, d, r, v)]
        bodies = _PerDevice(self, lambda compiler: compiler._node(node.body))
        return lambda m, d, r, v: [bodies.of(turn[1])(*turn) for turn in turns(m, d, r, v)]

    def _typed(self, placeholder: Placeholder) -> Getter:
        known: Any = self._known_or_getter(placeholder)
        if not callable(known):
            return _constant(UNSET if placeholder.optional and known is None else known)
        if not placeholder.optional:
            return cast(Getter, known)

        def optional(m: Scope, d: DeviceFacts, r: Record, v: Item) -> Any:
            value = known(m, d, r, v)
            return UNSET if value is None else value

        return optional

    def _known_or_getter(self, placeholder: Placeholder) -> Any:
        """The value of a placeholder, if it is the same in every message; else a function for it."""
        get = self._formatted(placeholder)
        return get(*_UNUSED) if self._is_known(placeholder) else get

    def _is_known(self, placeholder: Placeholder) -> bool:
        """Whether its value is the same in every message, as far as this compiler is used."""
        name = placeholder.name
        if name.startswith(("sign.", "/", "topic.", "command.", "received")) or name.endswith(".secret"):
            return False
        return (
            name in ("site", "epoch")
            or name.startswith("gateway.")
            or (self._device is not None and name.startswith("device."))
        )

    def _formatted(self, placeholder: Placeholder) -> Getter:
        get = self._getter(placeholder.name)
        if not placeholder.format:
            return get
        if placeholder.format == "name":
            return lambda m, d, r, v: _point_name(d, get(m, d, r, v))
        form = make_format(placeholder.format, self._zone, self._maps)
        return lambda m, d, r, v: form(get(m, d, r, v))

    def _getter(self, name: str) -> Getter:
        head, _, field = name.partition(".")
        fields: dict[str, Callable[[str], Getter]] = {
            "data": lambda field: lambda m, d, r, v: r.body.get(field),
            "device": self._device_getter,
            "gateway": lambda field: lambda m, d, r, v: _device_fact(self._gateway, field),
            "topic": lambda field: lambda m, d, r, v: m.captures.get(field),
            "command": lambda field: lambda m, d, r, v: m.outcome.get(field),
            "sign": lambda field: self._signed(self._signs[field]),
        }
        if name in _GETTERS:
            return _GETTERS[name]
        if name.startswith("/"):
            return lambda m, d, r, v: find_pointer(m.incoming, name)
        if name.startswith("now+"):
            ahead = 1000 * int(name.removeprefix("now+"))
            return lambda m, d, r, v: m.now + ahead
        return fields[head](field) if head in fields else self._own(name)

    def _device_getter(self, field: str) -> Getter:
        bound = self._device
        return lambda m, d, r, v: _device_fact(bound or d, field)

    def _own(self, name: str) -> Getter:
        """What is the same for all messages, or needs the site's clock."""
        site, epoch, correct = self._site, self._epoch, self._correct_stamp
        own: dict[str, Getter] = {
            "site": lambda m, d, r, v: site,
            "epoch": lambda m, d, r, v: epoch,
            "record.time": lambda m, d, r, v: correct(r.at).wall_ms,
            "record.clock": lambda m, d, r, v: correct(r.at).clock,
            "record.id": lambda m, d, r, v: f"{r.epoch or epoch}-{r.device}-{r.lane.name.lower()}-{r.seq}",
        }
        return own[name]

    def _signed(self, signing: Sign) -> Getter:
        text, key = self.text(signing.text), self.text(signing.key)
        return lambda m, d, r, v: sign(signing, text(m, d, r, v), key(m, d, r, v))


class _PerDevice(Generic[T]):
    """A part of a template, compiled for each device that it is made for."""

    def __init__(self, compiler: Compiler, compile_for: Callable[[Compiler], T]) -> None:
        self._compiler = compiler
        self._compile_for = compile_for
        self._made: dict[str, T] = {}

    def of(self, device: DeviceFacts) -> T:
        made = self._made.get(device.name)
        if made is None:
            made = self._made[device.name] = self._compile_for(self._compiler.bound_to(device))
        return made


class CompiledRule:
    """One kind of message, compiled for each device that it has been made for."""

    def __init__(self, rule: MessageRule, compiler: Compiler) -> None:
        self.rule = rule
        self._compiler = compiler
        named = (each.name for part in (rule.topic, rule.payload) for each in placeholders(part))
        self._needs = {
            name.removeprefix("device.")
            for name in named
            if name.startswith("device.") and name not in _OWN_FACTS
        }
        """Keys of a device's identity."""
        self._made: dict[str, tuple[Callable[..., str], Callable[..., bytes], Callable[..., str]]] = {}

    def knows(self, device: DeviceFacts) -> bool:
        """Whether the device has all that this message names."""
        return self._needs <= device.keys.keys()

    def render(self, scope: Scope) -> tuple[str, bytes, str]:
        """Topic, payload and the id of the reply, of a message of these groups of records."""
        device, records = scope.groups[0] if scope.groups else (_NO_DEVICE, ())
        key = device.name if self.rule.device_level else ""
        if key not in self._made:
            compiler = self._compiler.bound_to(device) if self.rule.device_level else self._compiler
            self._made[key] = (
                compiler.text(self.rule.topic),
                compiler.json(self.rule.payload),
                compiler.text(self.rule.reply_id),
            )
        topic, payload, reply_id = self._made[key]
        # Outside `$each`, nothing of several devices can be meant.
        own = device if self.rule.device_level else _NO_DEVICE
        record = records[0] if records else _NO_RECORD
        item = device.items(record.body)[0] if self.rule.one_value else _NO_ITEM
        at = (scope, own, record, item)
        return topic(*at), payload(*at), reply_id(*at)


def _point_name(device: DeviceFacts, point: Any) -> str | None:
    found = device.point(point) if isinstance(point, str) else None
    return found.name if found else None


def _device_fact(device: DeviceFacts, field: str) -> str | None:
    if field == "secret":
        return device.secret()
    own = {"name": device.name, "kind": device.kind, "title": device.title, "room": device.room}
    return own[field] if field in own else device.keys.get(field)


_GETTERS: dict[str, Getter] = {
    "now": lambda m, d, r, v: m.now,
    "message.number": lambda m, d, r, v: m.number,
    "message.id": lambda m, d, r, v: str(m.number),
    "backfill": lambda m, d, r, v: m.backfill,
    "record.seq": lambda m, d, r, v: r.seq,
    "record.kind": lambda m, d, r, v: r.kind,
    "record.lane": lambda m, d, r, v: r.lane.name.lower(),
    "data": lambda m, d, r, v: r.body,
    "values": lambda m, d, r, v: d.values(r.body),
    "value": lambda m, d, r, v: v[1],
    "value.name": lambda m, d, r, v: v[0],
    "value.point": lambda m, d, r, v: v[2],
    "value.unit": lambda m, d, r, v: v[3].unit,
    "received": lambda m, d, r, v: m.received,
}
_OWN_FACTS = ("device.name", "device.kind", "device.title", "device.room", "device.secret")
_UNUSED: Any = (None, None, None, None)
_NO_DEVICE: Any = None
_NO_RECORD: Any = None
_NO_ITEM: Any = None


def _device_turns(m: Scope, d: DeviceFacts, r: Record, v: Item) -> Iterator[Turn]:
    for device, records in m.groups:
        m.records = records
        yield m, device, records[0] if records else r, v


def _record_turns(m: Scope, d: DeviceFacts, r: Record, v: Item) -> Iterator[Turn]:
    """The records of the device in turn or, outside `$each: device`, of all."""
    if d is not _NO_DEVICE:
        for record in m.records:
            yield m, d, record, v
        return
    for device, records in m.groups:
        for record in records:
            yield m, device, record, v


def _value_turns(m: Scope, d: DeviceFacts, r: Record, v: Item) -> Iterator[Turn]:
    for item in d.items(r.body):
        yield m, d, r, item


_TURNS: dict[Level, Callable[[Scope, DeviceFacts, Record, Item], Iterator[Turn]]] = {
    Level.DEVICE: _device_turns,
    Level.RECORD: _record_turns,
    Level.VALUE: _value_turns,
}


def _constant(value: Any) -> Getter:
    return lambda m, d, r, v: value


def _fixed_object(keys: list[str], makers: list[Getter]) -> Getter:
    """An object with these keys."""
    make = fixed_object(tuple(keys))
    if len(makers) == 1:
        (one,) = makers
        return lambda m, d, r, v: make(one(m, d, r, v))
    if len(makers) == 2:
        first, second = makers
        return lambda m, d, r, v: make(first(m, d, r, v), second(m, d, r, v))
    if len(makers) == 3:
        first, second, third = makers
        return lambda m, d, r, v: make(first(m, d, r, v), second(m, d, r, v), third(m, d, r, v))
    if len(makers) == 4:
        first, second, third, fourth = makers
        return lambda m, d, r, v: make(
            first(m, d, r, v), second(m, d, r, v), third(m, d, r, v), fourth(m, d, r, v)
        )
    return lambda m, d, r, v: make(*[maker(m, d, r, v) for maker in makers])
