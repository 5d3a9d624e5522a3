"""The messages of the native dialect as a platform receives them (`native.asyncapi.json`), from anybody who
may publish there: sizes and numbers are limited to what the database's columns hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from gateway.wire.mqtt import IncomingMessage

LANES = ("alarm", "event", "telemetry")
MAX_COLUMN = 2**63 - 1
MAX_AT_MS = 253_402_300_799_999
"""The end of the year 9999."""
MAX_LEDGER_ROWS = 10_000
MAX_SITE_CHARACTERS = 128
MAX_STREAMS = 10_000
"""Of one message."""

LaneName = Literal["alarm", "event", "telemetry"]
Natural = Annotated[int, msgspec.Meta(ge=0, le=MAX_COLUMN)]
Text = Annotated[str, msgspec.Meta(max_length=128)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Rejected(Exception):
    """A message that is not of this dialect; `reason` is one of a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ReceivedFields(msgspec.Struct, frozen=True, gc=False):
    """When and what: the fields that records and urgent alarms have in common."""

    kind: Name
    at: Annotated[int, msgspec.Meta(ge=0, le=MAX_AT_MS)]
    clock: Text
    mono: Natural
    boot: Text
    data: msgspec.Raw


class ReceivedRecord(ReceivedFields, frozen=True, gc=False):
    """One record."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=MAX_COLUMN)]


class ReceivedRecords(msgspec.Struct, frozen=True):
    """Records of one device in one lane."""

    epoch: Name
    device: Name
    lane: LaneName
    records: list[ReceivedRecord]
    backfill: bool = False
    site: str = ""
    """Not in the dialect. Who states another site than that of the topic is mistaken."""


class ReceivedStream(msgspec.Struct, frozen=True):
    """Records of one device."""

    device: Name
    records: list[ReceivedRecord]


class ReceivedStreams(msgspec.Struct, frozen=True):
    """Records of several devices in one lane."""

    epoch: Name
    lane: LaneName
    streams: Annotated[list[ReceivedStream], msgspec.Meta(max_length=MAX_STREAMS)]
    backfill: bool = False
    site: str = ""


class UrgentAlarm(ReceivedFields, frozen=True):
    """An alarm that the gateway's disk could not store."""

    device: Name


class ReceivedLedgerRow(msgspec.Struct, frozen=True):
    """What became of one device's records of one day in one lane."""

    day: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
    lane: LaneName
    device: Name
    measured: Natural
    delivered: Annotated[int, msgspec.Meta(ge=-MAX_COLUMN, le=MAX_COLUMN)]
    pending: Natural
    dropped: dict[Text, Natural]
    uncertain: Natural
    gaps: Annotated[list[tuple[Natural, Natural, Text]], msgspec.Meta(max_length=10_000)]
    epoch: Text = ""
    """Empty: that of the ledger."""


class ReceivedLedger(msgspec.Struct, frozen=True):
    """One part of the ledger of the last days; each row stands for itself."""

    epoch: Name
    rows: Annotated[list[ReceivedLedgerRow], msgspec.Meta(max_length=MAX_LEDGER_ROWS)]


class GapData(msgspec.Struct, frozen=True):
    """The data of a gap record: numbers of its device that no platform, or not `uplink`, will receive."""

    lane: LaneName
    first: Natural
    last: Natural
    reason: Text
    count: Natural | None = None
    """Of the numbers from first to last, how many are missing; None: all."""
    uplink: str = ""
    epoch: str = ""
    """Empty: that of the gap record."""


class Parsed(msgspec.Struct, frozen=True):
    """What a message says, and of which site."""

    message: IncomingMessage
    site: str
    body: ReceivedRecords | ReceivedLedger | UrgentAlarm


_decode_streams = msgspec.json.Decoder(ReceivedStreams).decode
_decode_envelope = msgspec.json.Decoder(ReceivedRecords).decode
_decode_ledger = msgspec.json.Decoder(ReceivedLedger).decode
_decode_urgent = msgspec.json.Decoder(UrgentAlarm).decode
_encode = msgspec.json.Encoder().encode


def parse(message: IncomingMessage) -> list[Parsed]:
    """What a message says; of several streams, each by itself. Raises `Rejected`."""
    topic, payload = message.topic, message.payload
    site, decode = _route(topic)
    try:
        body = decode(payload)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Rejected("fields") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected("json") from error
    streams = [body]
    if isinstance(body, ReceivedStreams):
        _check_identity(body, site, f"linli/v1/{site}/{body.lane}", topic)
        streams = [
            ReceivedRecords(body.epoch, each.device, body.lane, each.records, body.backfill)
            for each in body.streams
        ]
    elif isinstance(body, ReceivedRecords):
        _check_identity(body, site, f"linli/v1/{site}/{body.device}/{body.lane}", topic)
    return [_parsed(message, site, each) for each in streams]


def _check_identity(body: ReceivedRecords | ReceivedStreams, site: str, wanted: str, topic: str) -> None:
    if topic != wanted or body.site not in ("", site):
        raise Rejected("identity")


def _parsed(message: IncomingMessage, site: str, body: Any) -> Parsed:
    """Raises `Rejected`."""
    moments: list[Any] = [body] if isinstance(body, UrgentAlarm) else []
    if isinstance(body, ReceivedRecords):
        moments = body.records
    if not all(bytes(each.data).startswith(b"{") for each in moments):
        raise Rejected("fields")
    return Parsed(message, site, _without_nul(body, moments) if b"\\u0000" in message.payload else body)


def _route(topic: str) -> tuple[str, Callable[[bytes], Any]]:
    """The site that a topic is of, and the decoder of its messages. Raises `Rejected`."""
    decode: Callable[[bytes], Any]
    match topic.split("/"):
        case ["linli", "v1", site, _, lane] if lane in LANES:
            decode = _decode_envelope
        case ["linli", "v1", site, "ledger", *part] if all(map(str.isdecimal, part)) and len(part) < 2:
            decode = _decode_ledger
        case ["linli", "v1", site, lane] if lane in LANES:
            decode = _decode_streams
        case ["linli", "v1", site, "urgent"]:
            decode = _decode_urgent
        case _:
            raise Rejected("topic")
    if not 1 <= len(site) <= MAX_SITE_CHARACTERS:
        raise Rejected("topic")
    return site, decode


def _without_nul(body: Any, moments: list[Any]) -> Any:
    """PostgreSQL's text and jsonb hold every character but U+0000, which becomes U+FFFD."""
    try:
        clean = [
            msgspec.structs.replace(
                each,
                kind=_replace_nul(each.kind),
                clock=_replace_nul(each.clock),
                boot=_replace_nul(each.boot),
                data=msgspec.Raw(_encode(_replace_nul(msgspec.json.decode(each.data)))),
            )
            for each in moments
        ]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Rejected("json") from error
    if isinstance(body, ReceivedRecords):
        names = {"epoch": _replace_nul(body.epoch), "device": _replace_nul(body.device)}
        return msgspec.structs.replace(body, records=clean, **names)
    return clean[0] if clean else msgspec.convert(_replace_nul(msgspec.to_builtins(body)), ReceivedLedger)


def _replace_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "\ufffd")
        case list():
            return [_replace_nul(each) for each in value]
        case dict():
            return {_replace_nul(key): _replace_nul(each) for key, each in value.items()}
        case _:
            return value
