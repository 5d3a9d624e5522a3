"""The errors that people read; what each message says is in `words/`."""

from __future__ import annotations


class GatewayError(Exception):
    """An error a person reads: `key` names the sentence in `words/`, `facts` fill it in."""

    def __init__(self, key: str, /, **facts: object) -> None:
        super().__init__(key, facts)
        self.key = key
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.key} {self.facts}" if self.facts else self.key


class ConfigError(GatewayError):
    """A mistake in a file a person wrote: never needs hardware to be found; the process exits 78."""


class LinkDown(GatewayError):
    """The transport is gone (port, connection): it must be reopened."""


class ReadFailed(GatewayError):
    """This device did not answer as it should, this time. The transport is thought to be sound."""
