"""The contract of a service, and the messages it receives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from gateway.model.command import Command, Outcome
from gateway.model.record import Fact
from gateway.model.sample import Sample, Value
from gateway.model.time import Stamp


class Tick(msgspec.Struct, frozen=True):
    """A second has passed."""

    at: Stamp
    day: str
    """The local date at the site, ISO 8601."""


class Revision(msgspec.Struct, frozen=True):
    """A configuration that was adopted; they are numbered from 1."""

    number: int
    digest: str
    at: Stamp
    by: str
    """`console`, `signal`, `start` or `rollback`."""
    changes: dict[str, dict[str, list[str]]] = {}
    """`bus`, `device` and `uplink` to `added`, `removed` and `changed` to names; nothing for the first."""
    silent: tuple[str, ...] = ()
    """The devices whose silence was the reason for a `rollback`."""


class Adopted(msgspec.Struct, frozen=True):
    """The configuration that holds from now on. `present` are all who may speak under it, the gateway and
    its uplink among them."""

    revision: Revision
    at: Stamp
    device_names: frozenset[str]


Message = Sample | Command | Outcome | Tick | Fact | Adopted
"""What a service is stepped with; facts are those of the alarm lane, for services that follow alarms."""


Row = msgspec.Struct
Rows = Mapping[str, Any]
"""A service's whole state: a table of frozen rows."""

Changes = dict[str, Row | None]
"""The rows a step changes; None deletes."""


class Service(ABC):
    """A reducer: it does no I/O, owns no clock and no task.

    The state after a step is `{**rows, **changes}`; the journal keeps the changed rows in the
    transaction that keeps the facts, so that a restart finds both or neither.
    """

    name: ClassVar[str]
    row: ClassVar[type[Row]]
    actions: ClassVar[frozenset[str]] = frozenset()
    """The commands this service carries out itself."""
    follows_alarms: ClassVar[bool] = False
    """Whether it is stepped with each fact of the alarm lane, once the fact is known."""
    follows_summaries: ClassVar[bool] = False
    """Whether it is stepped with the other services' summaries, as samples of devices of their names."""
    durable: ClassVar[bool] = False
    """Its rows are committed as soon as they change."""

    @abstractmethod
    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        """One step."""

    def restore(self, rows: Rows) -> Rows:
        """The state a restart begins with: what needs a new reading to be known becomes unknown."""
        return rows

    def summary(self, rows: Rows) -> dict[str, Value]:
        """The figures people ask for; published as telemetry of a device named like the service."""
        return {}
