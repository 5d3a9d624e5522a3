"""Senders on a line that no device of the site file has: told once each, with what to write there."""

from __future__ import annotations

import logging

import msgspec

from gateway.base.log import log_event
from gateway.base.security import SECURITY_LOG
from gateway.model import MORE_PLACES, Clock, UnknownSender

from .doctor import Diagnosis

MAX_SENDERS = 32
"""Senders remembered, and told by their addresses."""
FORGOTTEN_AFTER_S = 3600.0
"""After this time of silence a sender without a fire is forgotten, and told again if it returns."""


class UnknownSenders:
    """Those of one line."""

    def __init__(self, bus: str, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._senders: dict[str, tuple[UnknownSender, float]] = {}
        """By the keys of their tables, the last message and its time, in monotonic seconds."""
        self._overflow_logged_s = float("-inf")
        self._more_fires = False

    def record(self, sender: UnknownSender) -> None:
        """Remember a message, and log a sender that is new."""
        now = self._clock.mono()
        keys = _table_keys(sender)
        SECURITY_LOG.add("sender-unknown", f"{self._bus} {keys}")
        for old, (message, at) in list(self._senders.items()):
            if now - at > FORGOTTEN_AFTER_S and not message.fires:
                del self._senders[old]
        if keys not in self._senders:
            if not self._make_room(sender):
                self._more_fires = self._more_fires or bool(sender.fires)
                if now - self._overflow_logged_s > FORGOTTEN_AFTER_S:
                    self._overflow_logged_s = now
                    log_event(logging.WARNING, "senders-unknown", bus=self._bus, count=MAX_SENDERS)
                return
            diagnosis = self._diagnosis(sender)
            log_event(logging.WARNING, diagnosis.key, **diagnosis.facts)
        self._senders[keys] = sender, now

    def fires(self) -> dict[str, str]:
        """The places of all fires that they report, as in `Sample.places`."""
        found = {
            f"{self._bus} {' '.join(map(str, sender.address.values()))} {place}".rstrip(): where
            for sender, _ in self._senders.values()
            for place, where in sender.fires.items()
        }
        return {**found, MORE_PLACES: ""} if self._more_fires else found

    def diagnoses(self) -> list[Diagnosis]:
        """A sentence about each."""
        return [self._diagnosis(sender) for sender, _ in self._senders.values()]

    def _make_room(self, sender: UnknownSender) -> bool:
        """Whether there is room for another one; one without a fire gives way to one with a fire."""
        quiet = next((keys for keys, (old, _) in self._senders.items() if not old.fires), None)
        if len(self._senders) >= MAX_SENDERS and sender.fires and quiet is not None:
            del self._senders[quiet]
        return len(self._senders) < MAX_SENDERS

    def _diagnosis(self, sender: UnknownSender) -> Diagnosis:
        facts = {"bus": self._bus, "keys": _table_keys(sender)}
        if sender.like:
            return Diagnosis("sender-reversed", facts={**facts, "device": sender.like})
        return Diagnosis("sender-unknown", facts=facts)


def _table_keys(sender: UnknownSender) -> str:
    """Its keys in the site file: in TOML and JSON, texts and numbers are written alike."""
    return ", ".join(
        f"{key} = {msgspec.json.encode(value).decode()}" for key, value in sender.address.items()
    )
