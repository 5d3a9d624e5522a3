"""What an uplink needs of a dialect: messages for records, and commands from messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.journal import LedgerRow
from gateway.model import Command, Record, Stamp
from gateway.services.commands import CommandRow
from gateway.wire.broker import BrokerLogin


class Message(NamedTuple):
    """A message to the platform. Where the dialect has replies, the one with `reply_id` tells that it has
    arrived; else its acknowledgement by the broker does."""

    topic: str
    payload: bytes
    retain: bool = False
    reply_id: str = ""
    qos: int = 1
    """With 0 it counts as acknowledged when the broker has read it."""
    before: tuple[Message, ...] = ()
    """Sent just before it; whether they arrive does not count."""


class Request(msgspec.Struct, frozen=True):
    """A command of the platform, and what its reply needs besides."""

    command: Command
    context: Any = None
    signed_with: str = ""
    """The id of the key with which it is signed; empty without a valid signature."""


class Confirmation(msgspec.Struct, frozen=True):
    """The platform's reply to a message: accepted, or refused because of `error`, in its own words. With
    `is_passing` the same message may be accepted later."""

    reply_id: str
    error: str = ""
    is_passing: bool = False


class PlatformPresence(msgspec.Struct, frozen=True):
    """Whether the application that the gateway must wait for is there."""

    online: bool


class OpeningRequest(msgspec.Struct, frozen=True):
    """The platform wants to be told again all that begins a connection: at a random time within `within_s`
    seconds, so that many gateways do not answer at once."""

    within_s: float = 0.0


Incoming = Request | Confirmation | Message | PlatformPresence | OpeningRequest
"""What a message of the platform means; a `Message` is an answer that it asks for."""


class Dialect(ABC):
    """The messages of one platform. What cannot be said in it is None, and counts as delivered."""

    max_message_bytes = 0
    """Largest message that the platform takes, where the broker would take a larger one; 0: any."""
    waits_for_commit = False
    """Whether telemetry is sent when the journal has committed it, a window at a time, and not before."""
    heartbeat_interval_s = 0.0
    """Seconds between heartbeats; 0: none."""

    @property
    def command_topics(self) -> Sequence[str]:
        """The topics of commands; subscribed to only where commands are allowed."""
        return ()

    @property
    def reply_topics(self) -> Sequence[str]:
        """The topics of replies to messages of the gateway, and of whatever else the platform says that is
        no command."""
        return ()

    @property
    def has_signatures(self) -> bool:
        """Whether the platform can sign commands."""
        return False

    @property
    def waits_for_presence(self) -> bool:
        """Whether nothing is to be said on a connection until `PlatformPresence` is online."""
        return False

    @property
    def opening_grants_topics(self) -> bool:
        """Whether the platform lets the gateway subscribe to commands only after the opening, as where that
        logs devices in."""
        return False

    def reads_retained(self, topic: str) -> bool:
        """Whether a retained message of this topic counts; retained commands never do."""
        return False

    def begin_connection(self) -> None:  # noqa: B027 - most dialects have nothing to begin
        """Called before each connection: what counts from its beginning begins anew."""

    def login(self) -> BrokerLogin | None:
        """With what the next connection logs in; None: as the options say. Raises `LinkDown`."""
        return None

    def group(self, records: Iterable[Record], *, backfill: bool = False) -> Iterable[list[Record]]:
        """The records of each message; in order, as far as they are of one device. What cannot be said may
        be left out, and counts as delivered."""
        return group_by_device(records)

    @abstractmethod
    def records_message(self, records: Sequence[Record], *, backfill: bool = False) -> Message | None:
        """Records of one group, in one lane. `backfill`: they were delayed by an outage."""

    def opening_messages(self, latest: Mapping[str, Record]) -> Iterable[Sequence[Message]]:
        """What must be said on each connection before any record, in steps: each begins when the messages
        of the one before have arrived. `latest` is the newest sample of each device."""
        return ()

    def status_message(self, online: bool) -> Message | None:
        """Whether the gateway is connected; what the broker publishes itself when the gateway is gone."""
        return None

    def heartbeat_message(self) -> Message | None:
        """What the platform must hear from time to time."""
        return None

    def latest_groups(self, records: Sequence[Record]) -> Iterable[Sequence[Record]]:
        """The newest samples, as `latest_message` takes them."""
        return (records,)

    def latest_message(self, records: Sequence[Record]) -> Message | None:
        """The newest values, while older ones are still being sent."""
        return None

    def urgent_message(self, alarm: Record) -> Message | None:
        """An alarm that the disk could not store."""
        return self.records_message([alarm])

    def ledger_message(
        self, rows: Sequence[LedgerRow], *, part: int = 1, is_last: bool = True
    ) -> Message | None:
        """What became of the records of the last days, in parts that are numbered from 1."""
        return None

    def messages_before(self, message: Message) -> Iterable[Message]:
        """Called just before a message is sent: what must be sent first."""
        return message.before

    def number(self, message: Message) -> Message:
        """Called just before a message is sent: numbers that must follow the order of sending."""
        return message

    def parse(self, topic: str, payload: bytes, at: Stamp) -> Iterable[Incoming]:
        """What a message of the platform means. Raises `GatewayError`."""
        return ()

    def confirm_response(self, message: Message, response: bytes) -> Confirmation:
        """What the body of a response to a message says, where messages are responded to at once."""
        return Confirmation(message.reply_id)

    def reply_message(self, request: Request, row: CommandRow) -> Message | None:
        """How a command ended, or its present state."""
        return None


def group_by_device(records: Iterable[Record]) -> Iterator[list[Record]]:
    """The records of each device and epoch, in order."""
    streams: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        streams.setdefault((record.device, record.epoch), []).append(record)
    yield from streams.values()
