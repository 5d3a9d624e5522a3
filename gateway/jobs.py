"""The kit of background work: what a capability runs in the daemon beside its services."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

from gateway.base.control import Handler
from gateway.config import Site
from gateway.journal import Journal
from gateway.model import Clock, Command, Fact, Outcome, Rows, Sample
from gateway.services.commands import CommandRow


class Host(Protocol):
    """What the daemon lends to a job."""

    clock: Clock
    journal: Journal
    site: Site
    """The configuration that holds now."""

    def rows(self, service: str) -> Rows:
        """The present state of a service."""
        ...

    async def publish_sample(self, sample: Sample) -> None:
        """Publish readings of the job's own; returns when an alarm they raised is safe on the disk."""
        ...

    def record_fact(self, fact: Fact) -> None:
        """Write down something that is no service's conclusion."""
        ...

    async def submit_command(self, command: Command) -> CommandRow:
        """Have a command authorised, carried out at most once, and audited. Raises `GatewayError`."""
        ...

    async def execute(self, command: Command) -> None:
        """Have a device act, without asking who may. Raises `GatewayError` when it did not."""
        ...

    async def report_outcomes(self, service: str, outcomes: Iterable[Outcome]) -> None:
        """Tell a service how what it asked for has ended; returns when that is safe on the disk."""
        ...


class Job(ABC):
    """One task of the daemon. It is replaced by a new one when a reload changes what it is built from."""

    name: ClassVar[str]
    """Of the task; unique."""
    reports_as: ClassVar[str] = ""
    """The device that its own samples are of, if it publishes any."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @staticmethod
    @abstractmethod
    def built_from(site: Site) -> object:
        """Its part of the site: while that is equal, a reload leaves the job alone."""

    @abstractmethod
    async def run(self) -> None:
        """Work until cancelled."""

    @classmethod  # noqa: B027
    async def prepare(cls, host: Host) -> None:
        """Called once at the daemon's start: the state is restored, and nothing has been measured yet."""

    def alarm_changed(self) -> None:  # noqa: B027
        """Called when an alarm has changed, before it is written down."""

    def handlers(self) -> Mapping[str, Handler]:
        """The calls of the control socket that it answers, by name."""
        return {}
