"""The contract of background jobs: what a capability runs in the daemon beside its services."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

from gateway.config import Site
from gateway.journal import Journal
from gateway.model import Clock, Command, Fact, Outcome, Rows, Sample
from gateway.services.commands import CommandRow


class Host(Protocol):
    """The daemon, as far as jobs may use it."""

    clock: Clock
    journal: Journal
    site: Site
    """The current configuration."""

    def rows(self, service: str) -> Rows:
        """The present state of a service."""
        ...

    async def publish_sample(self, sample: Sample) -> None:
        """Publish a sample. Returns when an alarm it raised is safe on the disk."""
        ...

    def record_fact(self, fact: Fact) -> None:
        """Record a fact that comes from no service."""
        ...

    async def submit_command(self, command: Command) -> CommandRow:
        """Authorise a command, execute it at most once, and record its outcome. Raises `GatewayError`."""
        ...

    async def execute(self, command: Command) -> None:
        """Execute a command on its device without authorisation. Raises `GatewayError` if that failed."""
        ...

    async def report_outcomes(self, service: str, outcomes: Iterable[Outcome]) -> None:
        """Pass a service the outcomes of what it requested. Returns when the result is committed."""
        ...


class Job(ABC):
    """One background task of the daemon, replaced when a reload changes what it is built from."""

    name: ClassVar[str]
    """The unique name of its task."""
    reports_as: ClassVar[str] = ""
    """The device that its own samples are of, if it publishes any."""
    calls: ClassVar[tuple[str, ...]] = ()
    """The calls of the control socket that it answers; unique among all jobs and the core."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @staticmethod
    @abstractmethod
    def built_from(site: Site) -> object:
        """Its part of the site: while this is equal, a reload does not replace the job."""

    @abstractmethod
    async def run(self) -> None:
        """Work until cancelled."""

    @classmethod  # noqa: B027
    async def prepare(cls, host: Host) -> None:
        """Called once when the daemon starts, after the state was restored and before the first sample."""

    def alarm_changed(self) -> None:  # noqa: B027
        """Called when an alarm has changed, before that is written to the journal."""

    async def answer(self, call: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one of `calls`; both sides are JSON. Raises `GatewayError`, which the caller receives."""
        raise NotImplementedError(call)
