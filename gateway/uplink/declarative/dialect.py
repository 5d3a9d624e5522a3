"""The declarative dialect: the messages that one dialect file describes, at one site."""

from __future__ import annotations

import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.base.log import error_text, log_event
from gateway.config.dialect.rules import (
    AnswerRule,
    CommandRule,
    DialectFile,
    MessageRule,
    ReplyRule,
    TopicPattern,
    is_among,
)
from gateway.config.dialect.template import Level, Text, text_levels
from gateway.model import (
    GATEWAY_DEVICE,
    Command,
    GatewayError,
    Lane,
    LinkDown,
    Record,
    Stamp,
    sentence,
)
from gateway.services.commands import CommandRow
from gateway.uplink.dialect import Confirmation, Dialect, Incoming, Message, Request
from gateway.uplink.native import MAX_ATTACHMENT_BYTES, MAX_COMMAND_BYTES, check_size
from gateway.wire.broker import BrokerLogin

from .compile import CompiledRule, Compiler, Turn
from .facts import DeviceFacts, Scope, find_pointer, text_of

MAX_NUMBER = 0xFFFF_FFFF
"""Numbers of messages start anew after this one."""
MAX_OWN_ANSWERS = 256
"""Answers that are remembered: a broker may send them back, where their topic is subscribed to."""
MAX_KNOWN_COMMANDS = 1024
"""Commands whose first arrival is remembered, where the platform's numbers start anew."""
DEFAULT_MAX_DEVICES = 200
"""Devices in one message, where the file says nothing: a message that does not fit is halved anyway."""

_decode = msgspec.json.Decoder().decode
_NO_ITEM: Any = None


class Audience(NamedTuple):
    """For whom signed commands are, and who may sign them."""

    site: str = ""
    keys: Mapping[str, str] = {}
    """Public keys in Base64, by id."""


class DeclarativeDialect(Dialect):
    """The messages of a dialect file. `now` is Unix time in milliseconds, for what is signed."""

    def __init__(
        self,
        file: DialectFile,
        gateway: DeviceFacts,
        devices: Mapping[str, DeviceFacts],
        compiler: Compiler,
        now: Callable[[], int],
        first_number: int | None = None,
        audience: Audience = Audience(),  # noqa: B008  it never changes
    ) -> None:
        """`first_number`: of the messages; a random one if None, so that late replies to messages of an
        earlier start belong to none."""
        self._file = file
        self.max_message_bytes = file.max_bytes
        self.heartbeat_interval_s = file.heartbeat_interval_s
        self._gateway = gateway
        self._devices = devices
        self._facts = {**devices, GATEWAY_DEVICE: gateway}
        self._compiler = compiler
        self._audience = audience
        self._now = now
        self._number = secrets.randbelow(MAX_NUMBER // 2) if first_number is None else first_number - 1
        compiled = {
            name: [CompiledRule(rule, compiler) for rule in rules]
            for name, rules in {
                "opening": file.opening, "telemetry": file.telemetry, "history": file.history,
                "alarm": file.alarm, "event": file.event,
                "heartbeat": filter(None, [file.heartbeat]),
                "online": filter(None, [file.online]), "offline": filter(None, [file.offline]),
            }.items()
        }  # fmt: skip
        self._opening, self._single = compiled["opening"], compiled
        self._lanes = {
            (Lane.ALARM, False): compiled["alarm"],
            (Lane.EVENT, False): compiled["event"],
            (Lane.TELEMETRY, False): compiled["telemetry"],
            (Lane.TELEMETRY, True): compiled["history"] or compiled["telemetry"],
        }
        self._routes: dict[tuple[Lane, bool], dict[str, tuple[CompiledRule, DeviceFacts] | None]] = {
            lane: {}
            for lane, rules in self._lanes.items()
            if not any(rule.rule.keys.kinds or rule.rule.keys.when for rule in rules)
        }
        """By lane and device how a record is said, where that depends on nothing else."""
        self._replies = [(rule, self._topic_expression(rule.topic)) for rule in file.replies]
        self._commands = [(rule, self._topic_expression(rule.topic)) for rule in file.commands]
        self._without_secret: set[str] = set()
        """Devices whose secret could not be read."""
        self._own_answers: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._known_commands: OrderedDict[tuple[str, bytes], str] = OrderedDict()

    @property
    def command_topics(self) -> Sequence[str]:
        return self._subscriptions(rule.topic for rule in self._file.commands)

    @property
    def reply_topics(self) -> Sequence[str]:
        return self._subscriptions(rule.topic for rule in self._file.replies)

    @property
    def opening_grants_topics(self) -> bool:
        return bool(self._opening)

    @property
    def has_signatures(self) -> bool:
        return self._file.has_signatures

    def secrets(self) -> set[str]:
        """What nobody is to read. Raises `LinkDown`."""
        return {each.secret() for each in self._facts.values()} - {""}

    def login(self) -> BrokerLogin | None:
        login = self._file.login
        if not login:
            return None
        scope = Scope(now=self._now())
        made = {
            name: self._compiler.text(text)(scope, self._gateway, _NO_ITEM, _NO_ITEM)
            for name, text in login.items()
        }
        return BrokerLogin(made.get("client_id", ""), made.get("username", ""), made.get("password", ""))

    def status_message(self, online: bool) -> Message | None:
        rules = self._single["online" if online else "offline"]
        return (
            self._message(rules[0], Scope(self._next_number() if online else 0, self._now()))
            if rules
            else None
        )

    def heartbeat_message(self) -> Message | None:
        rules = self._single["heartbeat"]
        return self._message(rules[0], Scope(self._next_number(), self._now())) if rules else None

    def opening_messages(self, latest: Mapping[str, Record]) -> Iterable[Sequence[Message]]:
        for rule in self._opening:
            yield list(self._opening_of(rule, latest))

    def _opening_of(self, rule: CompiledRule, latest: Mapping[str, Record]) -> Iterator[Message]:
        """About the devices that it fits by their newest sample; one without a sample may be well."""
        devices = [
            each
            for name, each in self._devices.items()
            if rule.knows(each)
            and rule.rule.fits("sample", each.kind, latest[name].body if name in latest else None)
            and self._has_readable_secret(each)
        ]
        if not rule.rule.device_loops:
            groups: list[list[DeviceFacts]] = [[]]
        else:
            most = 1 if rule.rule.device_level else rule.rule.keys.max_devices or DEFAULT_MAX_DEVICES
            groups = [devices[first : first + most] for first in range(0, len(devices), most)]
        for group in groups:
            scope = Scope(self._next_number(), self._now(), [(device, ()) for device in group])
            yield self._message(rule, scope)

    def _has_readable_secret(self, device: DeviceFacts) -> bool:
        """Whether it can be logged in; one without needs none. The others are not to wait for its file."""
        try:
            device.secret()
        except LinkDown as error:
            if device.name not in self._without_secret:
                self._without_secret.add(device.name)
                log_event(logging.ERROR, "device-secret", device=device.name, reason=error.as_sentence())
            return False
        self._without_secret.discard(device.name)
        return True

    def group(self, records: Iterable[Record], *, backfill: bool = False) -> Iterator[list[Record]]:
        records = list(records)
        if not records:
            return
        only = self._only_rule(records[0].lane, backfill)
        if only is None:
            yield from self._group_by_rule(records, backfill)
            return
        most = only.rule.keys.max_records or len(records)
        for device, of_device in _by_device(records).items():
            facts = self._facts.get(device)
            if facts is None or facts is self._gateway or not only.knows(facts):
                continue
            said = [record for record in of_device if facts.has_values(record.body)]
            yield from (said[first : first + most] for first in range(0, len(said), most))

    def _only_rule(self, lane: Lane, backfill: bool) -> CompiledRule | None:
        """The rule of a lane of samples, if it is one, without conditions, for messages that each are of
        one device."""
        if lane is not Lane.TELEMETRY or len(rules := self._lanes[lane, backfill]) != 1:
            return None
        rule = rules[0].rule
        keys = rule.keys
        conditions = keys.kinds or keys.device_kinds or keys.when or rule.max_values or rule.record_level
        return rules[0] if rule.device_level and not conditions else None

    def _group_by_rule(self, records: Iterable[Record], backfill: bool) -> Iterator[list[Record]]:
        open_groups: dict[Any, _Group] = {}
        where: dict[str, Any] = {}
        for record in records:
            found = self._rule_of(record, backfill)
            if found is None:
                continue
            rule, facts = found
            key: Any = (id(rule), record.device) if rule.rule.device_level else id(rule)
            if where.get(record.device, key) != key:
                # A device's records stay in order, though two kinds of messages carry them.
                yield from (group.records for group in open_groups.values())
                open_groups.clear()
            where[record.device] = key
            for part in _parts(record, facts, rule.rule.max_values):
                group = open_groups.get(key)
                values = _count_values(part)
                if group and not group.has_room(rule.rule, record.device, values):
                    yield open_groups.pop(key).records
                    group = None
                if group is None:
                    group = open_groups[key] = _Group()
                group.add(part, values)
        yield from (group.records for group in open_groups.values())

    def records_message(self, records: Sequence[Record], *, backfill: bool = False) -> Message | None:
        found = self._rule_of(records[0], backfill)
        if found is None:
            return None
        rule, facts = found
        if rule.rule.device_level:
            groups: list[tuple[DeviceFacts, Sequence[Record]]] = [(facts, records)]
        else:
            groups = [
                (self._facts[device], each)
                for device, each in _by_device(records).items()
                if device in self._facts
            ]
        return self._message(rule, Scope(self._next_number(), self._now(), groups, backfill=backfill))

    def latest_groups(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        # Without a topic for history the platform could not tell them from those that follow.
        return self.group(records) if self._file.history else iter(())

    def latest_message(self, records: Sequence[Record]) -> Message | None:
        message = self.records_message(records)
        return message and message._replace(reply_id="")

    def urgent_message(self, alarm: Record) -> Message | None:
        message = self.records_message([alarm])
        return message and message._replace(reply_id="")

    def parse(self, topic: str, payload: bytes, at: Stamp) -> Iterable[Incoming]:
        if (topic, payload) in self._own_answers:
            return
        for reply, expression in self._replies:
            if found := expression.fullmatch(topic):
                yield from self._confirmation(reply, found, payload)
                return
        for command, expression in self._commands:
            if found := expression.fullmatch(topic):
                yield from self._request(command, found, payload, at)
                return

    def confirm_response(self, message: Message, response: bytes) -> Confirmation:
        for rule, expression in self._replies:
            if found := expression.fullmatch(message.topic):
                try:
                    (said,) = self._confirmation(rule, found, response)
                except GatewayError as error:
                    # What is no reply of the platform comes from something before it.
                    return Confirmation(message.reply_id, error.key, is_passing=True)
                return msgspec.structs.replace(said, reply_id=message.reply_id)
        return Confirmation(message.reply_id)

    def reply_message(self, request: Request, row: CommandRow) -> Message | None:
        rule, scope, device = request.context
        if rule.reply is None:
            return None
        scope.outcome = {
            "id": request.command.id, "status": row.status.value, "detail": row.detail,
            "device": row.device, "action": row.action, "result": row.result,
            "reason": error_text(row.detail, **row.facts) if row.detail else "",
        }  # fmt: skip
        scope.now = self._now()
        return self._answer(rule.reply, scope, device)

    def _rule_of(self, record: Record, backfill: bool) -> tuple[CompiledRule, DeviceFacts] | None:
        """How a record is said; None if the platform has no word for it."""
        facts = self._facts.get(record.device)
        if facts is None:
            return None
        is_sample = record.lane is Lane.TELEMETRY
        if is_sample and not facts.has_values(record.body):
            return None
        lane = record.lane, backfill and is_sample
        routes = self._routes.get(lane)
        if routes is None or facts is self._gateway:  # its route also depends on the kind of record
            return self._first_that_fits(lane, facts, record)
        if record.device not in routes:
            routes[record.device] = self._first_that_fits(lane, facts, record)
        return routes[record.device]

    def _first_that_fits(
        self, lane: tuple[Lane, bool], facts: DeviceFacts, record: Record
    ) -> tuple[CompiledRule, DeviceFacts] | None:
        # To a platform the gateway is no device behind itself, unless a rule names it.
        is_named = facts is self._gateway and (record.lane is Lane.TELEMETRY or record.kind == "link")
        for rule in self._lanes[lane]:
            if is_named and GATEWAY_DEVICE not in rule.rule.keys.device_kinds:
                continue
            if rule.rule.fits(record.kind, facts.kind, record.body) and rule.knows(facts):
                return rule, facts
        return None

    def _message(self, rule: CompiledRule, scope: Scope) -> Message:
        topic, payload, reply_id = rule.render(scope)
        return Message(topic, payload, rule.rule.keys.retain, reply_id)

    def _next_number(self) -> int:
        self._number = self._number % MAX_NUMBER + 1
        return self._number

    def _topic_expression(self, pattern: TopicPattern) -> re.Pattern[str]:
        """What recognises a topic; its groups are numbered by the placeholders that capture."""
        parts = re.split(r"(\{[\w.]+\})", pattern.text)
        at = (Scope(), self._gateway, _NO_ITEM, _NO_ITEM)
        expression = ""
        for part in parts:
            if not re.fullmatch(r"\{[\w.]+\}", part):
                expression += re.escape(part).replace(r"\+", "[^/]*").replace(r"\#", ".*")
            elif _captures(part[1:-1]):
                expression += f"(?P<{part[1:-1].replace('.', '__')}>[^/]+)"
            else:
                expression += re.escape(text_of(self._compiler._getter(part[1:-1])(*at)))
        return re.compile(expression)

    def _subscriptions(self, patterns: Iterable[TopicPattern]) -> Sequence[str]:
        """Filters; one for each device where the topic names it."""
        filters: dict[str, None] = {}
        for pattern in patterns:
            text = pattern.subscribe
            if text is not None:
                about_devices = Level.DEVICE in text_levels(text)
                for device in self._devices.values() if about_devices else (self._gateway,):
                    filters[self._compiler.text(text)(Scope(), device, _NO_ITEM, _NO_ITEM)] = None
                continue
            about_devices = "{device." in pattern.text
            for device in (self._gateway, *self._devices.values()) if about_devices else (self._gateway,):
                made = self._filter(pattern.text, device)
                if made:
                    filters[made] = None
        return tuple(filters)

    def _filter(self, text: str, device: DeviceFacts) -> str:
        """The filter for a topic about a device; empty for a device without what the topic names."""
        for name in re.findall(r"\{device\.(\w+)\}", text):
            fact = device.name if name == "name" else device.keys.get(name)
            if not fact:
                return ""
            text = text.replace(f"{{device.{name}}}", fact)
        at = (Scope(), self._gateway, _NO_ITEM, _NO_ITEM)
        for name in re.findall(r"\{(gateway\.\w+|site|epoch)\}", text):
            text = text.replace(f"{{{name}}}", text_of(self._compiler._getter(name)(*at)))
        return "/".join("+" if "{" in level else level for level in text.split("/"))

    def _scope(self, found: re.Match[str], payload: bytes, at: Stamp | None) -> Scope:
        scope = Scope(now=self._now())
        scope.captures = {name: text for name, text in found.groupdict().items() if "__" not in name}
        scope.received = at.wall_ms if at else scope.now
        try:
            scope.incoming = _decode(payload) if payload else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise GatewayError("command-form", reason=error) from error
        return scope

    def _confirmation(
        self, rule: ReplyRule, found: re.Match[str], payload: bytes
    ) -> Iterator[Confirmation]:
        scope = self._scope(found, payload, None)
        at = (scope, self._gateway, _NO_ITEM, _NO_ITEM)
        reply_id = self._compiler.text(rule.id)(*at)
        if _all_hold(rule.keys.accepted, scope.incoming):
            yield Confirmation(reply_id)
            return
        said = self._compiler.text(rule.error)(*at) or ", ".join(
            f"{pointer} = {text_of(find_pointer(scope.incoming, pointer))}"
            for pointer in rule.keys.accepted
        )
        is_passing = bool(rule.keys.passing) and _all_hold(rule.keys.passing, scope.incoming)
        yield Confirmation(reply_id, said[:200], is_passing)

    def _request(
        self, rule: CommandRule, found: re.Match[str], payload: bytes, at: Stamp
    ) -> Iterator[Request | Message]:
        attached = 6 * MAX_ATTACHMENT_BYTES if rule.attachment else 0
        check_size(payload, MAX_COMMAND_BYTES + attached)
        scope = self._scope(found, payload, at)
        device = self._device_meant(rule, found, scope)
        if rule.answer:
            yield self._answer(rule.answer, scope, device)
        if not rule.keys.action:
            return
        values = (scope, device, _NO_ITEM, _NO_ITEM)
        action = self._compiler.text(rule.action)(*values)
        if rule.keys.actions and action not in rule.keys.actions:
            raise GatewayError("command-form", reason=sentence("cause.action-unlisted", action=action[:64]))
        lifetime_ms = round(rule.keys.lifetime * 1000)
        sent = (
            self._compiler.time(self._compiler.value(rule.sent)(*values)) if rule.sent else scope.received
        )
        expires = sent + lifetime_ms if lifetime_ms and sent is not None else None
        if rule.expires:
            expires = self._compiler.time(self._compiler.value(rule.expires)(*values)) or expires
        added = {name: self._compiler.value(text)(*values) for name, text in rule.added.items()}
        attachment = self._compiler.text(rule.attachment)(*values)
        if not attachment:
            check_size(payload, MAX_COMMAND_BYTES)
        check_size(attachment.encode(), MAX_ATTACHMENT_BYTES)
        try:
            command = msgspec.convert(
                {
                    "id": self._command_id(
                        rule, self._compiler.text(rule.id)(*values), found[0], payload, scope
                    ),
                    "at": at,
                    "device": device.name,
                    "action": rule.keys.actions.get(action, action),
                    "args": {**self._arguments(rule, scope.incoming), **added},
                    "expires": expires,
                    "origin": "upstream",
                    "attachment": attachment,
                },
                Command,
            )
        except msgspec.ValidationError as error:
            raise GatewayError("command-form", reason=error) from error
        key, signature = (self._compiler.text(text)(*values) for text in (rule.key, rule.signature))
        if signature and (objection := self._signature_objection(command, key, signature)):
            command = msgspec.structs.replace(command, objection=objection)
        signed_with = key if signature and not command.objection else ""
        yield Request(command, (rule, scope, device), signed_with)

    def _signature_objection(self, command: Command, key: str, signature: str) -> str:
        """The signature is of the command as we name it."""
        from gateway.uplink.signature import signature_objection  # noqa: PLC0415  its library is large

        names = ("id", "device", "action", "expires", "args", "by")
        signed = {name: getattr(command, name) for name in names}
        signed["audience"] = self._audience.site
        return signature_objection(self._audience.keys, key, signature, signed)

    def _time(self, text: Text, values: Turn) -> int | None:
        return self._compiler.time(self._compiler.value(text)(*values))

    def _device_meant(self, rule: CommandRule, found: re.Match[str], scope: Scope) -> DeviceFacts:
        """The device that a command is for: the gateway itself, where nothing names another."""
        at = (scope, self._gateway, _NO_ITEM, _NO_ITEM)
        wanted = {
            name.removeprefix("device__"): text
            for name, text in found.groupdict().items()
            if name.startswith("device__")
        }
        wanted |= {
            key: text
            for key, template in rule.device.items()
            if (text := self._compiler.text(template)(*at))
        }
        if not wanted:
            return self._gateway
        for facts in (*self._devices.values(), self._gateway):
            if all(
                (facts.name if key == "name" else facts.keys.get(key)) == text
                for key, text in wanted.items()
            ):
                return facts
        named = ", ".join(f"{key} = {text}" for key, text in wanted.items())
        raise GatewayError("command-form", reason=sentence("cause.device-unnamed", named=named[:200]))

    def _command_id(
        self, rule: CommandRule, their_id: str, topic: str, payload: bytes, scope: Scope
    ) -> str:
        """The id of a command. Where the platform's numbers start anew, with the time of its first arrival:
        a repetition within its lifetime has the same."""
        if not rule.keys.numbers_restart:
            return their_id
        key, lifetime_ms = (topic, payload), round(rule.keys.lifetime * 1000)
        known = self._known_commands.get(key)
        if known is None or scope.received - int(known) > lifetime_ms:
            known = str(scope.received)
        self._known_commands[key] = known
        self._known_commands.move_to_end(key)
        if len(self._known_commands) > MAX_KNOWN_COMMANDS:
            self._known_commands.popitem(last=False)
        return f"{their_id[:40]}-{known}"

    def _arguments(self, rule: CommandRule, incoming: Any) -> dict[str, Any]:
        """The arguments by our names: of an object, or of a list of names and values."""
        found = find_pointer(incoming, rule.keys.args) if rule.keys.args else None
        if isinstance(found, list):
            key, value = rule.keys.args_list
            members = (each for each in found if isinstance(each, dict) and isinstance(each.get(key), str))
            found = {each[key]: each.get(value) for each in members}
        if not isinstance(found, dict):
            return {}
        arguments = {}
        for name, value in found.items():
            ours, _, form = rule.keys.arguments.get(name, name).partition(":")
            arguments[ours] = self._compiler.format(form)(value)
        return {name: value for name, value in arguments.items() if value is not None}

    def _answer(self, rule: AnswerRule, scope: Scope, device: DeviceFacts) -> Message:
        at = (scope, device, _NO_ITEM, _NO_ITEM)
        message = Message(self._compiler.text(rule.topic)(*at), self._compiler.json(rule.payload)(*at))
        self._own_answers[message.topic, message.payload] = None
        if len(self._own_answers) > MAX_OWN_ANSWERS:
            self._own_answers.popitem(last=False)
        return message


class _Group:
    """The records of one message in the making."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._devices: set[str] = set()
        self._values = 0

    def has_room(self, rule: MessageRule, device: str, values: int) -> bool:
        keys = rule.keys
        if rule.one_record or (rule.record_level and device in self._devices):
            return False
        return (
            (not keys.max_records or len(self.records) < keys.max_records)
            and (not rule.max_values or self._values + values <= rule.max_values)
            and (device in self._devices or len(self._devices) < (keys.max_devices or DEFAULT_MAX_DEVICES))
        )

    def add(self, record: Record, values: int) -> None:
        self.records.append(record)
        self._devices.add(record.device)
        self._values += values


def _by_device(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        of_device = found.get(record.device)
        if of_device is None:
            found[record.device] = [record]
        else:
            of_device.append(record)
    return found


def _parts(record: Record, facts: DeviceFacts, most: int) -> Iterable[Record]:
    """The record, or several with `most` of its values each."""
    values = record.body.get("values")
    if not most or not isinstance(values, dict) or len(values) <= most:
        return (record,)
    sent = [(point, value) for point, value in values.items() if facts.point(point) is not None]
    return [
        msgspec.structs.replace(record, body={**record.body, "values": dict(sent[first : first + most])})
        for first in range(0, len(sent), most)
    ]


def _count_values(record: Record) -> int:
    values = record.body.get("values")
    return len(values) if isinstance(values, dict) else 0


def _captures(name: str) -> bool:
    return not (name in ("site", "epoch") or name.startswith("gateway."))


def _all_hold(wanted: Mapping[str, Any], document: Any) -> bool:
    return all(is_among(find_pointer(document, pointer), values) for pointer, values in wanted.items())
