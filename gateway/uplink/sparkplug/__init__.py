"""Sparkplug B (Eclipse Sparkplug 3.0.0): the gateway is an edge node, with each device below it.

Telemetry is DDATA. By the specification it is QoS 0, so a record counts as delivered when the broker has
read it: nothing tells whether a host was subscribed. What is older than the newest value that was said of
its device is marked `is_historical`. A device is born (DBIRTH, with the names and aliases of all its
points) when it is first heard or has a new point, and dies (DDEATH) when it does not answer; a past outage
is not repeated. Alarms and events are sent in the native dialect, with QoS 1 on
`linli/v1/{site}/{device}/alarm` and `…/event`, and count as delivered with their PUBACK; the state of an
alarm is a metric `Alarm/{point}` too. What a device has measured that has left the site since is native as
well: it can neither be born nor die.

A host commands by writing to the metric `Command/{action}` of a device, or of the node: true, or a text
with the arguments as a JSON object (`{"lock": 3}`); an empty text has none. The timestamp of its message
is the time of the command, which is valid for `COMMAND_LIFETIME_MS`; the same message again is the same
command. Sparkplug cannot sign: actions of consequence need `trust`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway import __version__
from gateway.config.options import SparkplugOptions
from gateway.model import (
    GATEWAY_DEVICE,
    Argument,
    Command,
    Device,
    GatewayError,
    Lane,
    Point,
    Record,
    Stamp,
    Value,
    sentence,
)
from gateway.uplink.dialect import Dialect, Incoming, Message, PlatformPresence, Request, group_by_device
from gateway.uplink.native import MAX_COMMAND_BYTES, CorrectStamp, NativeDialect
from gateway.wire.broker import BrokerLogin

from .payload import DataType, Metric, decode_payload, encode_payload, encode_seq

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
BD_SEQ_ALIAS = 0
NODE = ""
"""In place of the name of a device: the node itself."""
COMMAND_LIFETIME_MS = 60_000
MIN_REBIRTH_INTERVAL_S = 1.0
"""A rebirth that is asked for sooner after another one is not carried out."""
COMMAND_PREFIX, ALARM_PREFIX = "Command/", "Alarm/"

_encode_json = msgspec.json.Encoder().encode
_decode_arguments = msgspec.json.Decoder(dict[str, Argument]).decode


class _State(msgspec.Struct):
    """The state of a host application (6.4.24)."""

    online: bool
    timestamp: int


_decode_state = msgspec.json.Decoder(_State).decode


class _Slot:
    """A metric of a device, and its newest value."""

    def __init__(self, name: str, alias: int, datatype: DataType) -> None:
        self.name = name
        self.alias = alias
        self.datatype = datatype
        self.value: Value | None = None
        self.at_ms: int | None = None
        self.is_known = False
        """Whether a value has shown its type."""

    def admit(self, value: Value) -> bool:
        """Make its type one that the value has; returns whether it is another than before."""
        before, shown = self.datatype, _type_of(value)
        if not self.is_known or {before, shown} == {DataType.INT64, DataType.DOUBLE}:
            self.datatype = DataType.DOUBLE if self.is_known else shown
        elif shown is not before:
            self.datatype = DataType.STRING
        self.is_known = True
        return self.datatype is not before

    def metric(self, value: Value | None, at_ms: int, *, is_historical: bool = False) -> Metric:
        """The metric in DATA: its alias stands for its name."""
        said = None if value is None else _as_type(value, self.datatype)
        return Metric(
            alias=self.alias,
            timestamp=at_ms,
            datatype=self.datatype,
            is_historical=is_historical,
            value=said,
        )

    def birth(self, now_ms: int) -> Metric:
        """The metric in BIRTH, with its name."""
        at_ms = now_ms if self.at_ms is None else self.at_ms
        return msgspec.structs.replace(self.metric(self.value, at_ms), name=self.name)


class SparkplugDialect(Dialect):
    """The messages of one edge node. `alarms_and_events` is the dialect of these."""

    def __init__(
        self,
        options: SparkplugOptions,
        site: str,
        devices: Mapping[str, Device],
        alarms_and_events: NativeDialect,
        *,
        client_id: str,
        actions: Mapping[str, bool],
        others: Collection[str],
        selects: Callable[[str], bool],
        correct_stamp: CorrectStamp,
        now: Callable[[], int],
    ) -> None:
        """`client_id`: the same for each connection, so that the death of an earlier one comes before the
        next birth. `actions`: that the platform may command, each with whether services carry it out, for
        any device. `others`: what else may report values: services and uplinks. `selects`: whether the
        telemetry of a device is sent. `now`: Unix time in ms."""
        self._group = options.group
        self._node = options.node or site
        self._host_topic = f"{NAMESPACE}/STATE/{options.primary_host}" if options.primary_host else ""
        self._devices = devices
        self._native = alarms_and_events
        self._client_id = client_id
        self._actions = actions
        self._others = others
        self._selects = selects
        self._correct_stamp = correct_stamp
        self._now = now
        self._aliases = itertools.count(BD_SEQ_ALIAS + 1)
        self._slots: dict[str, dict[str, _Slot]] = {}
        """By device and name."""
        self._names: dict[int, tuple[str, str]] = {}
        """Device and name by alias."""
        version = self._add_slot(NODE, "Properties/Version", DataType.STRING)
        version.value = __version__
        self._declare_actions(NODE, (action for action, of_service in actions.items() if of_service))
        self._bd_seq = -1
        self._seq = 0
        self._born: set[str] = set()
        """Devices with a DBIRTH that is in force on this connection."""
        self._newest: dict[str, int] = {}
        """The number of the newest record that was said of each device on this connection."""
        self._latest: Mapping[str, Record] = {}
        self._host_at_ms = 0
        self._last_rebirth: Stamp | None = None

    @property
    def reply_topics(self) -> Sequence[str]:
        topics = (self._topic("NCMD"), self._topic("DCMD", "+"))
        return (*topics, self._host_topic) if self._host_topic else topics

    @property
    def waits_for_presence(self) -> bool:
        return bool(self._host_topic)

    def reads_retained(self, topic: str) -> bool:
        return topic == self._host_topic

    def begin_connection(self) -> None:
        self._bd_seq = (self._bd_seq + 1) % 256
        self._host_at_ms = 0
        self._born.clear()
        self._newest.clear()

    def login(self) -> BrokerLogin:
        return BrokerLogin(self._client_id)

    def status_message(self, online: bool) -> Message:
        """The birth or the death of the node."""
        now = self._now()
        bd_seq = Metric(name="bdSeq", timestamp=now, datatype=DataType.INT64, value=self._bd_seq)
        if not online:
            return Message(self._topic("NDEATH"), encode_payload(now, [bd_seq]))
        rebirth = Metric(name=REBIRTH, timestamp=now, datatype=DataType.BOOLEAN, value=False)
        others = [slot.birth(now) for slot in self._slots_of(NODE).values()]
        bd_seq = msgspec.structs.replace(bd_seq, alias=BD_SEQ_ALIAS)
        return self._message("NBIRTH", NODE, [rebirth, bd_seq, *others])

    def opening_messages(self, latest: Mapping[str, Record]) -> Iterable[Sequence[Message]]:
        self._latest = latest
        self._newest = {name: record.seq for name, record in latest.items()}
        yield self._births()

    def group(self, records: Iterable[Record], *, backfill: bool = False) -> Iterator[list[Record]]:
        for stream in group_by_device(records):
            for _, run in itertools.groupby(stream, _is_outage):
                yield list(run)

    def records_message(self, records: Sequence[Record], *, backfill: bool = False) -> Message | None:
        first = records[0]
        is_present = first.device in self._devices or first.device in self._others
        if first.lane is not Lane.TELEMETRY or not is_present:
            native = self._native.records_message(records, backfill=backfill)
            return native._replace(before=self._alarm_messages(records))
        if _is_outage(first):
            return self._death(records[-1])
        for record in records:
            self._take(record)
        metrics = [metric for record in records for metric in self._data_metrics(record)]
        return self._message("DDATA", first.device, metrics) if metrics else None

    def latest_groups(self, records: Sequence[Record]) -> Iterator[list[Record]]:
        return group_by_device(records)

    def latest_message(self, records: Sequence[Record]) -> Message | None:
        """The present values, or the death, of one device."""
        record = records[-1]
        is_news = _is_outage(record) or record.seq > self._newest.get(record.device, 0)
        return self.records_message([record]) if is_news else None

    def urgent_message(self, alarm: Record) -> Message:
        return self._native.urgent_message(alarm)

    def messages_before(self, message: Message) -> Iterator[Message]:
        yield from message.before
        kind, device = self._kind_and_device(message)
        if kind == "DDATA" and device not in self._born:
            yield self._birth(device)

    def number(self, message: Message) -> Message:
        kind, device = self._kind_and_device(message)
        if kind in ("", "NDEATH"):
            return message
        self._seq = 0 if kind == "NBIRTH" else (self._seq + 1) % 256
        if kind == "NBIRTH":
            self._born.clear()
        elif kind == "DBIRTH":
            self._born.add(device)
        elif kind == "DDEATH":
            self._born.discard(device)
        return message._replace(payload=message.payload + encode_seq(self._seq))

    def parse(self, topic: str, payload: bytes, at: Stamp) -> Iterator[Incoming]:
        if topic == self._host_topic:
            yield from self._presence(payload)
            return
        if len(payload) > MAX_COMMAND_BYTES:
            raise GatewayError(
                "command-form", reason=sentence("cause.message-long", bytes=MAX_COMMAND_BYTES)
            )
        device = topic.split("/")[4] if topic.count("/") == 4 else NODE
        received = decode_payload(payload)
        for number, metric in enumerate(received.metrics):
            of, name = (
                self._names.get(-1 if metric.alias is None else metric.alias, ("", ""))
                if not metric.name
                else ("", "")
            )
            name = metric.name or (name if of == device else "")
            if device == NODE and name == REBIRTH and metric.value is True:
                yield from self._rebirth(at)
            else:
                digest = hashlib.sha256(topic.encode() + b"\0" + payload).hexdigest()
                id_ = f"spb-{digest[:32]}-{number}"
                yield Request(self._command(id_, device, name, metric.value, received.timestamp, at))

    def _presence(self, payload: bytes) -> Iterator[PlatformPresence]:
        """Of the primary host (5.7.1): what is older than what it said last does not count."""
        try:
            state = _decode_state(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise GatewayError("command-form", reason=error) from error
        if state.timestamp >= self._host_at_ms:
            self._host_at_ms = state.timestamp
            yield PlatformPresence(state.online)

    def _rebirth(self, at: Stamp) -> Iterator[Message]:
        last = self._last_rebirth
        if (
            last is None
            or at.seconds_since(last, if_unknown=MIN_REBIRTH_INTERVAL_S) >= MIN_REBIRTH_INTERVAL_S
        ):
            self._last_rebirth = at
            yield self.status_message(True)
            yield from self._births()

    def _command(
        self, id_: str, device: str, name: str, value: Value | None, sent_ms: int | None, at: Stamp
    ) -> Command:
        """What a write asks for. Raises `GatewayError`."""
        action = name.removeprefix(COMMAND_PREFIX)
        slots = self._slots_of(device) if device == NODE or device in self._devices else {}
        if name not in slots or not name.startswith(COMMAND_PREFIX):
            raise GatewayError("metric-read-only", metric=name[:64], device=device[:64] or GATEWAY_DEVICE)
        if sent_ms is None:
            raise GatewayError("command-form", reason=sentence("cause.without-timestamp"))
        if not (value is True or isinstance(value, str)):
            raise GatewayError("command-form", reason=sentence("cause.not-true-or-text", metric=name))
        try:
            args = _decode_arguments(value) if isinstance(value, str) and value.strip() else {}
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise GatewayError("command-form", reason=error) from error
        return Command(
            id=id_,
            at=at,
            device=device or GATEWAY_DEVICE,
            action=action,
            args=args,
            expires=min(sent_ms, 1 << 62) + COMMAND_LIFETIME_MS,
            origin="upstream",
        )

    def _births(self) -> list[Message]:
        """Of the devices that answer."""
        return [
            self._birth(name)
            for name, record in self._latest.items()
            if self._selects(name) and not _is_outage(record)
        ]

    def _birth(self, device: str) -> Message:
        slots = self._slots_of(device)
        latest = self._latest.get(device)
        if latest is not None:
            self._take(latest)
        now = self._now()
        return self._message("DBIRTH", device, [slot.birth(now) for slot in slots.values()])

    def _death(self, record: Record) -> Message | None:
        """A device does not answer: said if it is so still, and was not said before."""
        latest = self._latest.get(record.device, record)
        if latest.seq > record.seq or record.device not in self._born:
            return None
        return self._message("DDEATH", record.device, [])

    def _take(self, record: Record) -> None:
        """Learn the types of its values, and the values if none newer were said."""
        newest = self._newest[record.device] = max(record.seq, self._newest.get(record.device, 0))
        at_ms = self._ms(record.at)
        for name, value in _values_of(record).items():
            slot = self._slot(record.device, name)
            if value is not None and slot.admit(value):
                self._born.discard(record.device)
            if record.seq == newest:
                slot.value, slot.at_ms = value, at_ms

    def _data_metrics(self, record: Record) -> Iterator[Metric]:
        at_ms, is_historical = self._ms(record.at), record.seq < self._newest[record.device]
        for name, value in _values_of(record).items():
            yield self._slot(record.device, name).metric(value, at_ms, is_historical=is_historical)

    def _alarm_messages(self, records: Sequence[Record]) -> tuple[Message, ...]:
        """The states of alarms, where their device is born; else they are in its next birth."""
        said: dict[str, list[Metric]] = {}
        for record in records:
            point, state = record.body.get("point"), record.body.get("state")
            if record.lane is Lane.ALARM and point and state:
                place = record.body.get("place")
                name = f"{ALARM_PREFIX}{point}/{place}" if place else f"{ALARM_PREFIX}{point}"
                slot = self._slot(record.device, name)
                slot.value, slot.at_ms = str(state), self._ms(record.at)
                slot.is_known, slot.datatype = True, DataType.STRING
                said.setdefault(record.device, []).append(slot.metric(slot.value, slot.at_ms))
        return tuple(
            self._message("DDATA", device, metrics)
            for device, metrics in said.items()
            if self._latest.get(device) is not None and not _is_outage(self._latest[device])
            if self._selects(device)
        )

    def _slots_of(self, device: str) -> dict[str, _Slot]:
        """The metrics of a device; at first those of its profile, and its actions."""
        if device not in self._slots:
            self._slots[device] = {}
            known = self._devices.get(device)
            for name, point in known.points.items() if known else ():
                self._add_slot(device, name, _guessed_type(point))
            if known:
                self._declare_actions(
                    device,
                    (name for name, of_all in self._actions.items() if of_all or name in known.actions),
                )
        return self._slots[device]

    def _slot(self, device: str, name: str) -> _Slot:
        slots = self._slots_of(device)
        if name not in slots:
            self._born.discard(device)
            self._add_slot(device, name, DataType.DOUBLE)
        return slots[name]

    def _add_slot(self, device: str, name: str, datatype: DataType) -> _Slot:
        alias = next(self._aliases)
        self._names[alias] = device, name
        slot = self._slots.setdefault(device, {})[name] = _Slot(name, alias, datatype)
        return slot

    def _declare_actions(self, device: str, actions: Collection[str] | Iterator[str]) -> None:
        for action in actions:
            # Those of services may have arguments.
            is_text = self._actions[action]
            datatype = DataType.STRING if is_text else DataType.BOOLEAN
            slot = self._add_slot(device, f"{COMMAND_PREFIX}{action}", datatype)
            slot.value = "" if is_text else False

    def _message(self, kind: str, device: str, metrics: list[Metric]) -> Message:
        return Message(self._topic(kind, device), encode_payload(self._now(), metrics), qos=0)

    def _topic(self, kind: str, device: str = NODE) -> str:
        topic = f"{NAMESPACE}/{self._group}/{kind}/{self._node}"
        return f"{topic}/{device}" if device else topic

    def _kind_and_device(self, message: Message) -> tuple[str, str]:
        """Of a message of Sparkplug; empty of another one."""
        levels = message.topic.split("/")
        if levels[0] != NAMESPACE:
            return "", ""
        return levels[2], levels[4] if len(levels) > 4 else NODE

    def _ms(self, at: Stamp) -> int:
        return self._correct_stamp(at).wall_ms


def _is_outage(record: Record) -> bool:
    return record.lane is Lane.TELEMETRY and bool(record.body.get("error"))


def _values_of(record: Record) -> dict[str, Value | None]:
    """The values of a sample; None for those that were impossible."""
    return {**(record.body.get("values") or {}), **dict.fromkeys(record.body.get("bad") or {})}


def _type_of(value: Value) -> DataType:
    if isinstance(value, bool):
        return DataType.BOOLEAN
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return DataType.INT64
    return DataType.DOUBLE if isinstance(value, float) else DataType.STRING


def _guessed_type(point: Point) -> DataType:
    """Of a point without a value yet."""
    return DataType.BOOLEAN if point.is_boolean else DataType.DOUBLE


def _as_type(value: Value, datatype: DataType) -> Any:
    if datatype is DataType.STRING:
        return value if isinstance(value, str) else _encode_json(value).decode()
    return float(value) if datatype is DataType.DOUBLE else value
