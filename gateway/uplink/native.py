"""The native dialect: JSON over MQTT, described by `native.asyncapi.json`, which is generated from here.

(epoch, device, lane, seq) identifies a record for ever: a repetition has the same four, and within one
epoch, device and lane the numbers run from 1 without a gap.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from gateway.base.log import error_text
from gateway.journal import LedgerRow
from gateway.model import (
    Argument,
    ClockQuality,
    Command,
    GatewayError,
    Id,
    Integer,
    Lane,
    Name,
    Record,
    Stamp,
    sentence,
)
from gateway.services.commands import CommandRow

from .dialect import Dialect, Message, Request, group_by_device

CorrectStamp = Callable[[Stamp], Stamp]
"""Corrects a stamp from a clock that was not set."""

VERSION = "1.1"
"""Of the document. What a minor version adds is off unless the site turns it on, or may be ignored."""
MAX_COMMAND_BYTES = 8192
"""A command is stored, audited and reported upstream."""
MAX_ATTACHMENT_BYTES = 262_144
"""Of a site file: ten times that of a thousand devices is never needed."""

MAX_RECORDS_PER_MESSAGE = 400
"""Of several devices in one message: more seldom fit what brokers take."""

LaneName = Literal["alarm", "event", "telemetry"]


class Entry(msgspec.Struct, frozen=True):
    """One record. `at` is Unix time in milliseconds, by a clock of quality `clock`; `mono` is nanoseconds
    since boot `boot`, and gives the order within a boot."""

    seq: int
    kind: str
    at: int
    clock: ClockQuality
    mono: int
    boot: str
    data: dict[str, Any]


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """Consecutive records of one device in one lane."""

    epoch: str
    device: str
    lane: LaneName
    records: list[Entry]
    backfill: bool = False
    """These were delayed by an outage: `latest` may have reported newer ones."""


class DeviceRecords(msgspec.Struct, frozen=True):
    """Consecutive records of one device."""

    device: str
    records: list[Entry]


class Streams(msgspec.Struct, frozen=True, omit_defaults=True):
    """Since version 1.1 of this document: the records of several devices in one lane, telemetry or events,
    in place of an `Envelope` for each. Only where the site says `several_streams = true` in
    `[uplink.native]`."""

    epoch: str
    lane: LaneName
    streams: list[DeviceRecords]
    backfill: bool = False


class LatestEntry(Entry, frozen=True):
    """The newest record of one device."""

    device: str


class Latest(msgspec.Struct, frozen=True):
    """The latest values, while records of an outage are still being sent. They do not count as delivered:
    each of these records is sent again in its stream."""

    epoch: str
    records: list[LatestEntry]


class Urgent(msgspec.Struct, frozen=True):
    """An alarm that the gateway's disk could not store. It has no number yet, and is sent again in its
    stream once it is stored; after a power cut before that, this message is all that remains."""

    device: str
    kind: str
    at: int
    clock: ClockQuality
    mono: int
    boot: str
    data: dict[str, Any]


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one device's records of one day in one lane: see `linli ledger`."""

    day: str
    lane: LaneName
    device: str
    measured: int
    delivered: int
    pending: int
    dropped: dict[str, int]
    uncertain: int
    gaps: list[tuple[int, int, str]]
    epoch: str = ""
    """Of these records, if not that of the ledger: they were recorded in memory, while the gateway's disk
    was unusable. A gap record about such numbers states the epoch too."""


class Ledger(msgspec.Struct, frozen=True):
    """The ledger of the last days, retained. Where it has several parts, the second is on `ledger/2`, and
    so on until `last`; what an earlier ledger left on further topics no longer counts."""

    epoch: str
    rows: list[LedgerEntry]
    part: int = 1
    last: bool = True


class CommandMessage(msgspec.Struct, frozen=True):
    """A command. `expires` is Unix time in milliseconds, at most an hour ahead. A repetition with the same
    id is not executed; the same id with other content is denied.

    All but a few actions must be signed, unless the site trusts the broker for them: `signature` is the
    Base64 of the Ed25519 signature, by the key with the id `key`, of the canonical JSON (RFC 8785) of the
    object with `id`, `device`, `action`, `expires`, `args`, `by` and `audience`, which is the id of the
    site.

    Besides the actions of devices, and `acknowledge`, `reset` and `mute` of alarms, the gateway knows
    `read-now` (of a device), and for the device `gateway`: `diagnose`; `set-threshold` with the arguments
    `setting` (its place in the site file, such as `rule.cold.when.0.above`) and `value`; and `configure`,
    whose `attachment` is a whole site file or, if the argument `form` is `edits`, JSON such as
    `[{"path": ["rule", "cold", "delay"], "value": 60}]`; its argument `sha256` is the digest of the
    attachment in hexadecimal, and `digest` that of the configuration which runs, as `diagnose` and the
    record `config` tell it. Its key must be one of the site's `configuration_keys`. The reply comes when
    its trial has ended; if it changes this uplink itself, the record `outcome` tells how it ended."""

    id: Id
    device: Name
    action: Id
    expires: Integer
    args: dict[str, Argument] = {}
    by: str = ""
    audience: str = ""
    key: str = ""
    signature: str = ""
    attachment: str = ""


class Reply(msgspec.Struct, frozen=True):
    """How a command ended, or its present state. `reason` says in the site's language what the key
    `detail` stands for. `result` is what came of it, in the reply to the first of several repetitions:
    `at`, `values` and `bad` of a reading; the report of `linli doctor`; or `revision`, `digest`, `changes`
    and `unproved` of a configuration. It is only `left_out` if it is too large for the broker."""

    id: str
    status: Literal["accepted", "done", "failed", "denied", "unknown"]
    detail: str = ""
    reason: str = ""
    result: dict[str, Any] = {}


class Status(msgspec.Struct, frozen=True):
    """Retained; the broker itself publishes `online: false` when the gateway is gone."""

    online: bool


_RETAINED = ("status", "ledger", "ledger-part")
_encode = msgspec.json.Encoder().encode
_decode_command = msgspec.json.Decoder(CommandMessage).decode


class NativeDialect(Dialect):
    """JSON, and the ledger as proof."""

    def __init__(
        self,
        site: str,
        epoch: str,
        correct_stamp: CorrectStamp = lambda at: at,
        command_keys: Mapping[str, str] | None = None,
        *,
        several_streams: bool = False,
    ) -> None:
        """`command_keys`: the public keys of those who sign commands, in Base64, by id. `several_streams`:
        whether messages of telemetry and events are of several devices."""
        self._site = site
        self.waits_for_commit = self._several_streams = several_streams
        self._command_keys = command_keys or {}
        self._root = f"linli/v1/{site}"
        self._epoch = epoch
        self._correct_stamp = correct_stamp

    @property
    def command_topics(self) -> Sequence[str]:
        return (f"{self._root}/command",)

    def group(self, records: Iterable[Record], *, backfill: bool = False) -> Iterator[list[Record]]:
        streams = list(group_by_device(records))
        if not streams or not self._has_several(streams[0][0]):
            yield from streams
            return
        streams.sort(key=_epoch_of)
        for _, same in itertools.groupby(streams, _epoch_of):
            ordered = list(itertools.chain.from_iterable(same))
            for first in range(0, len(ordered), MAX_RECORDS_PER_MESSAGE):
                yield ordered[first : first + MAX_RECORDS_PER_MESSAGE]

    def _has_several(self, record: Record) -> bool:
        """Whether its message is of several devices. An alarm never waits for other records."""
        return self._several_streams and record.lane is not Lane.ALARM

    def records_message(self, records: Sequence[Record], *, backfill: bool = False) -> Message:
        first = records[0]
        epoch = first.epoch or self._epoch
        if self._has_several(first):
            streams = [
                DeviceRecords(stream[0].device, [Entry(*self._entry_fields(record)) for record in stream])
                for stream in group_by_device(records)
            ]
            lane = _lane_name(first.lane)
            return Message(f"{self._root}/{lane}", _encode(Streams(epoch, lane, streams, backfill)))
        entries = [Entry(*self._entry_fields(record)) for record in records]
        envelope = Envelope(epoch, first.device, _lane_name(first.lane), entries, backfill)
        return Message(f"{self._root}/{first.device}/{_lane_name(first.lane)}", _encode(envelope))

    def latest_message(self, records: Iterable[Record]) -> Message:
        entries = [LatestEntry(*self._entry_fields(record), record.device) for record in records]
        return Message(f"{self._root}/latest", _encode(Latest(self._epoch, entries)))

    def urgent_message(self, alarm: Record) -> Message:
        at = self._correct_stamp(alarm.at)
        urgent = Urgent(alarm.device, alarm.kind, at.wall_ms, at.clock, at.mono_ns, at.boot, alarm.body)
        return Message(f"{self._root}/urgent", _encode(urgent))

    def ledger_message(self, rows: Sequence[LedgerRow], *, part: int = 1, is_last: bool = True) -> Message:
        entries = [
            LedgerEntry(**{**msgspec.structs.asdict(row), "lane": _lane_name(row.lane)}) for row in rows
        ]
        topic = f"{self._root}/ledger" + (f"/{part}" if part > 1 else "")
        return Message(topic, _encode(Ledger(self._epoch, entries, part, is_last)), retain=True)

    def _entry_fields(self, record: Record) -> tuple[int, str, int, ClockQuality, int, str, dict[str, Any]]:
        at = self._correct_stamp(record.at)
        return record.seq, record.kind, at.wall_ms, at.clock, at.mono_ns, at.boot, record.body

    @property
    def has_signatures(self) -> bool:
        return True

    def parse(self, topic: str, payload: bytes, at: Stamp) -> Iterable[Request]:
        # Each byte of a text takes at most six in JSON.
        check_size(payload, MAX_COMMAND_BYTES + 6 * MAX_ATTACHMENT_BYTES)
        try:
            asked = _decode_command(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise GatewayError("command-form", reason=error) from error
        if asked.attachment:
            check_size(asked.attachment.encode(), MAX_ATTACHMENT_BYTES)
            payload = _encode(msgspec.structs.replace(asked, attachment=""))
        check_size(payload, MAX_COMMAND_BYTES)
        command = Command(
            id=asked.id,
            at=at,
            device=asked.device,
            action=asked.action,
            args=asked.args,
            expires=asked.expires,
            origin="upstream",
            by=asked.by[:64],
            attachment=asked.attachment,
        )
        if not asked.signature:
            return (Request(command),)
        if objection := self._signature_objection(asked):
            return (Request(msgspec.structs.replace(command, objection=objection)),)
        return (Request(command, signed_with=asked.key),)

    def _signature_objection(self, asked: CommandMessage) -> str:
        from .signature import signature_objection  # noqa: PLC0415  its library is large

        if asked.audience != self._site:
            return "signature-audience"
        fields = msgspec.structs.asdict(asked)
        key, signature, _ = (fields.pop(name) for name in ("key", "signature", "attachment"))
        return signature_objection(self._command_keys, key, signature, fields)

    def reply_message(self, request: Request, row: CommandRow) -> Message:
        reason = error_text(row.detail, **row.facts) if row.detail else ""
        reply = {
            "id": request.command.id, "status": row.status, "detail": row.detail,
            **({"reason": reason} if reason else {}), **({"result": row.result} if row.result else {}),
        }  # fmt: skip
        return Message(f"{self._root}/reply", _encode(reply))

    def status_message(self, online: bool) -> Message:
        return Message(f"{self._root}/status", _encode(Status(online)), retain=True)


def check_size(payload: bytes, most: int) -> None:
    """Raises `GatewayError` if a message has more bytes."""
    if len(payload) > most:
        raise GatewayError("command-form", reason=sentence("cause.message-long", bytes=most))


def _epoch_of(stream: Sequence[Record]) -> str:
    return stream[0].epoch


def _lane_name(lane: Lane) -> LaneName:
    return lane.name.lower()  # type: ignore[return-value]


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of this dialect."""
    types = (Envelope, Streams, Latest, Urgent, Ledger, CommandMessage, Reply, Status)
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    lanes = {lane.name.lower(): lane for lane in Lane}
    channels = {
        **{
            lane: {
                "address": f"linli/v1/{{site}}/{{device}}/{lane}",
                "parameters": {
                    "site": {"description": "The id of the site."},
                    "device": {"description": "The name of the device at the site."},
                },
                "messages": {"records": {"$ref": "#/components/messages/records"}},
            }
            for lane in lanes
        },
        **{
            name: {
                "address": f"linli/v1/{{site}}/{name}",
                "parameters": {"site": {"description": "The id of the site."}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            }
            for name in ("latest", "urgent", "ledger", "command", "reply", "status")
        },
        **{
            f"{lane}-streams": {
                "address": f"linli/v1/{{site}}/{lane}",
                "parameters": {"site": {"description": "The id of the site."}},
                "messages": {"streams": {"$ref": "#/components/messages/streams"}},
            }
            for lane in lanes
            if lane != "alarm"
        },
        "ledger-part": {
            "address": "linli/v1/{site}/ledger/{part}",
            "parameters": {
                "site": {"description": "The id of the site."},
                "part": {"description": "Its number, from 2 on."},
            },
            "messages": {"ledger": {"$ref": "#/components/messages/ledger"}},
        },
    }
    payloads = {
        "records": Envelope,
        "streams": Streams,
        "latest": Latest,
        "urgent": Urgent,
        "ledger": Ledger,
        "command": CommandMessage,
        "reply": Reply,
        "status": Status,
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Linli Gateway native dialect",
            "version": VERSION,
            "description": " ".join((__doc__ or "").split()),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {
            name: {
                "action": "receive" if name == "command" else "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "bindings": {
                    "mqtt": {
                        "qos": 1,
                        "retain": name in _RETAINED,
                        "bindingVersion": "0.2.0",
                    }
                },
                **({"reply": {"channel": {"$ref": "#/channels/reply"}}} if name == "command" else {}),
            }
            for name in channels
        },
        "components": {
            "messages": {
                name: {"payload": {"$ref": f"#/components/schemas/{kind.__name__}"}}
                for name, kind in payloads.items()
            },
            "schemas": schemas,
        },
    }
