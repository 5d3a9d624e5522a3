"""The errors that people read; what each message says is in `words/`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath
from typing import Any

from gateway.model.sentence import Sentence, cause_of, sentence

MAX_FACT_CHARACTERS = 1000


class GatewayError(Exception):
    """An error for people: `key` is that of its sentence in `words/`, `facts` are the values in it. A fact
    that is an exception becomes its `cause_of`."""

    def __init__(self, key: str, /, **facts: object) -> None:
        self.key = key
        self.facts = {name: as_fact(value) for name, value in facts.items()}
        super().__init__(key, self.facts)

    def stored_facts(self) -> dict[str, Any]:
        """The facts as JSON can hold them; of most, the text is all that is needed."""
        return {
            name: value if isinstance(value, bool | float | dict) else str(value)[:MAX_FACT_CHARACTERS]
            for name, value in self.facts.items()
        }

    def as_sentence(self) -> Sentence:
        """The error as a fact of another sentence."""
        return sentence(f"error.{self.key}", **self.facts)

    def __str__(self) -> str:
        return f"{self.key} {self.facts}" if self.facts else self.key


def as_fact(value: object) -> object:
    """A value as it may stand in a sentence, which JSON can hold: not a path, and not an exception, whose
    text is in English."""
    if isinstance(value, GatewayError):
        return value.as_sentence()
    if isinstance(value, PurePath):
        return str(value)
    return cause_of(value) if isinstance(value, BaseException) else value


class ConfigError(GatewayError):
    """A mistake in a configuration file, found without hardware; the process exits with 78."""


class LinkDown(GatewayError):
    """The transport is gone (port, connection): it must be reopened."""


class FailureKind(StrEnum):
    """What went wrong with a reading, in terms that hold for every protocol. The driver sets it; the bus
    doctor diagnoses by it, and a polled line waits after some of them."""

    TIMEOUT = "timeout"
    """No reply in time. One may still come late."""
    SILENT = "silent"
    """Nothing came, and no late reply is to be expected: a device that reports by itself did not, or a
    gateway in between says that it cannot reach the device."""
    DAMAGED = "damaged"
    """A reply came, but incomplete or with a wrong checksum. The right one may still come late."""
    OUT_OF_STEP = "out-of-step"
    """The line carries what belongs to no request, or to an earlier one, so that no reply could be
    matched to this request."""
    REFUSED = "refused"
    """The device replied that it does not have what was requested."""
    OTHER = "other"
    """None of these."""

    @property
    def late_reply_possible(self) -> bool:
        """Whether the reply may still be under way, and could be taken for that of the next request."""
        return self in (FailureKind.TIMEOUT, FailureKind.DAMAGED)


class ReadFailed(GatewayError):
    """One reading of one device failed. The transport is assumed to work."""

    def __init__(self, key: str, kind: FailureKind = FailureKind.OTHER, /, **facts: object) -> None:
        super().__init__(key, **facts)
        self.kind = kind
