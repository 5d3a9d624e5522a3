"""What a broker does not offer, and what it refuses: learned from its answers, for its next connections.

Pure: the times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

import msgspec

from gateway.model import GatewayError, LinkDown

Item = tuple[Literal["publish", "subscribe"], str]
"""One thing that a broker may refuse: messages to a topic, or the subscription of a filter."""

MAX_LOST_SUBSCRIBING = 2
"""Connections that a subscription may cost before it counts as refused."""
MAX_LOST_PUBLISHING = 5
"""The same for a topic without an acknowledged message: more than `MAX_LOST_CONNECTIONS` of the uplink,
which first looks for a single record that the broker does not accept."""
MAX_LOST_WITH_QOS_1, MAX_LOST_WITH_QOS_0 = 3, 2
"""Connections in a row that messages cost with MQTT 3.1.1, after which QoS 0 is tried, and after which that
was in vain."""
MAX_LOST_PROVEN = 20
"""The same for a topic or filter that has been accepted before."""
MIN_RETRY_S, MAX_RETRY_S = 60.0, 3600.0
"""What was refused is tried again after this time, doubled each time."""
UPGRADE_S = 3600.0
"""After this time a new connection asks for everything again: a broker may have been upgraded."""
NO_PERMISSION = 0x87


class ConnectTerms(msgspec.Struct, frozen=True):
    """What is asked of a broker in CONNECT."""

    version: int = 5
    will: bool = True
    retain: bool = True
    """Whether messages, and the will, may be retained."""
    qos: int = 1
    """The highest quality of service."""
    own_client_id: bool = True
    """Whether the client id is ours; else the broker, or chance, chooses it, and there is no session."""


UNANSWERED_TERMS = (
    ConnectTerms(version=4),
    ConnectTerms(version=4, retain=False),
    ConnectTerms(version=4, will=False),
    ConnectTerms(version=4, own_client_id=False),
)
"""Tried in turn with a broker that closes connections without an answer, as those before MQTT 5 do when
they do not support something."""


def other_terms(
    terms: ConnectTerms, error: LinkDown, tried: Collection[ConnectTerms]
) -> ConnectTerms | None:
    """What to ask for instead of `terms`, which the broker has refused: with a reason code of MQTT 5 (2.4),
    or by closing the connection. None: nothing else helps."""
    replace = msgspec.structs.replace
    other = None
    match error.facts.get("code"):
        case None if error.key in ("broker-closes", "broker-closes-tls"):
            return next((each for each in UNANSWERED_TERMS if each not in tried), None)
        case 0x84:  # unsupported protocol version
            other = replace(terms, version=4)
        case 0x85:  # client identifier not valid
            other = replace(terms, own_client_id=False)
        case 0x9A:  # retain not supported
            other = replace(terms, retain=False)
        case 0x9B:  # QoS not supported
            other = replace(terms, qos=0)
        case 0x87 | 0x90:  # not authorized, topic name invalid: perhaps those of the will
            other = replace(terms, will=False)
    return None if other in tried else other


def refused_item_error(item: Item, code: int) -> GatewayError:
    """The broker refuses messages to a topic, or a subscription."""
    kind, topic = item
    match kind, code:
        case "publish", 0x97:
            key = "topic-quota"
        case "publish", _:
            key = "topic-publish"
        case _, 0xA2:
            key = "topic-wildcard"
        case _:
            key = "topic-subscribe"
    return GatewayError(key, topic=topic, code=hex_code(code))


def hex_code(code: int) -> str:
    """A reason code as the standard writes it."""
    return f"0x{code:02X}"


class Refusal(msgspec.Struct):
    """A refused item: the broker's reason code, and when to try again."""

    code: int
    retry_at: float
    interval: float


class Restrictions:
    """What is known of one broker. It outlives the connections."""

    def __init__(self) -> None:
        self.terms = ConnectTerms()
        self._full_terms_at = 0.0
        self.hopeless: set[ConnectTerms] = set()
        """Not to be tried again soon: each attempt may count as a failed login."""
        self.refusals: dict[Item, Refusal] = {}
        self.missing: dict[str, GatewayError] = {}
        """What the broker does not offer, by the key of its sentence."""
        self._lost_connections: dict[Item, int] = {}
        """Connections that each suspect has been blamed for."""
        self._proven: set[Item] = set()
        self._lost_publishing = 0
        """Connections in a row that messages may have cost."""
        self._knows_qos = False
        """Whether it accepts QoS 1, or its refusals have another reason."""

    def initial_terms(self, now: float) -> ConnectTerms:
        """What to ask for in a new connection."""
        if now >= self._full_terms_at:
            # QoS 0 was found out by losing connections: only a broker with MQTT 5 can say otherwise.
            qos = 1 if self.terms.version == 5 else self.terms.qos
            self.terms, self._full_terms_at = ConnectTerms(qos=qos), now + UPGRADE_S
            self.hopeless.clear()
        return self.terms

    def record_failure(self, error: LinkDown) -> None:
        """No terms that were tried help against the error."""
        if error.facts.get("code") == NO_PERMISSION:
            self.hopeless.add(self.terms)
        self.terms = ConnectTerms()

    def errors(self) -> list[GatewayError]:
        """What the broker refuses at present: it can be mended."""
        return [refused_item_error(item, refusal.code) for item, refusal in self.refusals.items()]

    @property
    def has_suspects(self) -> bool:
        return bool(self._lost_connections)

    def is_suspect(self, item: Item) -> bool:
        """Whether it may have cost a connection: it must be sent alone."""
        return item in self._lost_connections

    def lost_connections(self, item: Item) -> int:
        """Connections that it has been blamed for."""
        return self._lost_connections.get(item, 0)

    def is_held(self, item: Item, now: float) -> bool:
        """Whether it is refused by closing the connection, and must not be tried yet."""
        refusal = self.refusals.get(item)
        return refusal is not None and self.is_suspect(item) and now < refusal.retry_at

    def record_lost_connection(self, in_flight: Iterable[Item], now: float) -> Item | None:
        """The broker closed the connection with these unacknowledged. One that was alone is blamed, several
        become suspects. Returns an item that counts as refused from now on."""
        items = set(in_flight)
        for item in items:
            self._lost_connections.setdefault(item, 0)
        if len(items) != 1:
            return None
        item = items.pop()
        self._lost_connections[item] += 1
        limit = MAX_LOST_SUBSCRIBING if item[0] == "subscribe" else MAX_LOST_PUBLISHING
        if self._lost_connections[item] < (MAX_LOST_PROVEN if item in self._proven else limit):
            return None
        return item if self.record_refusal(item, NO_PERMISSION, now) else None

    def record_refusal(self, item: Item, code: int, now: float) -> bool:
        """The broker refuses an item. Returns whether this is new."""
        before = self.refusals.get(item)
        interval = min(before.interval * 2, MAX_RETRY_S) if before else MIN_RETRY_S
        self.refusals[item] = Refusal(code, now + interval, interval)
        return before is None

    def changes_qos(self, terms: ConnectTerms) -> bool:
        """A message may have cost a connection with MQTT 3.1.1, in which a broker has no other way to say
        that it supports QoS 0 only. Returns whether the next connection has other terms: QoS 0, or QoS 1
        again, as QoS 0 was in vain."""
        self._lost_publishing += 1
        limit = MAX_LOST_WITH_QOS_1 if terms.qos else MAX_LOST_WITH_QOS_0
        if self._knows_qos or self._lost_publishing < limit:
            return False
        self._lost_publishing, self._knows_qos = 0, not terms.qos
        # Whatever was blamed until now was sent with the other quality of service.
        self.terms = msgspec.structs.replace(terms, qos=0 if terms.qos else 1, retain=True)
        self._lost_connections.clear()
        self.refusals = {item: each for item, each in self.refusals.items() if item[0] == "subscribe"}
        return True

    def record_acceptance(self, item: Item) -> bool:
        """The broker has acknowledged an item. Returns whether it had refused it before."""
        if item[0] == "publish":
            self._lost_publishing = 0
            self._knows_qos = self._knows_qos or bool(self.terms.qos)
        self._lost_connections.pop(item, None)
        self._proven.add(item)
        return self.refusals.pop(item, None) is not None

    def start_retries(self, now: float) -> list[Item]:
        """The refused subscriptions that are to be tried again now."""
        due = [
            item
            for item, refusal in self.refusals.items()
            if item[0] == "subscribe" and now >= refusal.retry_at
        ]
        for item in due:
            self.refusals[item].retry_at = now + self.refusals[item].interval
        return due
