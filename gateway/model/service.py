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
    clock_is_steady: bool = True
    """False for some hours after the wall clock has leapt: what cannot be undone must wait."""


class Revision(msgspec.Struct, frozen=True):
    """A configuration that was adopted; they are numbered from 1."""

    number: int
    digest: str
    at: Stamp
    by: str
    """`console`, `dashboard`, `upstream`, `signal`, `start` or `rollback`."""
    changes: dict[str, dict[str, list[str]]] = {}
    """`bus`, `device` and `uplink` to `added`, `removed` and `changed` to names; empty for the first."""
    silent: tuple[str, ...] = ()
    """The devices that stayed silent and so caused a `rollback`."""
    person: str = ""
    """Who changed it on the dashboard, or the platform that changed it and the id of its key."""


class Replacement(msgspec.Struct, frozen=True):
    """Another device of the same model in the place of one: its address and its serial number, before and
    now."""

    device: str
    address_before: str
    address: str
    serial_before: str
    serial: str


class ConfigurationAdopted(msgspec.Struct, frozen=True):
    """The configuration that applies from now on, with the names of its devices, the gateway and its uplink
    included."""

    revision: Revision
    at: Stamp
    device_names: frozenset[str]
    replacements: tuple[Replacement, ...] = ()


Message = Sample | Command | Outcome | Tick | Fact | ConfigurationAdopted
"""What a service receives; a `Fact` is one of the alarm lane, for services with `follows_alarms`."""


Row = msgspec.Struct
Rows = Mapping[str, Any]
"""A service's whole state: a table of frozen rows."""

RowChanges = dict[str, Row | None]
"""The rows to change, by key; None deletes."""


class Service(ABC):
    """A reducer: it does no I/O, and has no clock and no task.

    The state after a message is `{**rows, **changes}`; the journal stores the changed rows in the same
    transaction as the facts, so that a restart finds both or neither.
    """

    name: ClassVar[str]
    row: ClassVar[type[Row]]
    actions: ClassVar[frozenset[str]] = frozenset()
    """The commands that this service executes itself."""
    follows_alarms: ClassVar[bool] = False
    """Whether it receives each fact of the alarm lane."""
    follows_summaries: ClassVar[bool] = False
    """Whether it receives the other services' summaries, as samples of devices with their names."""
    durable: ClassVar[bool] = False
    """Its rows are committed as soon as they change."""

    @abstractmethod
    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        """Process one message."""

    def restore(self, rows: Rows) -> Rows:
        """The state after a restart: what needs a new reading becomes unknown."""
        return rows

    def summary(self, rows: Rows) -> dict[str, Value]:
        """Key figures, published as telemetry of a device with the service's name."""
        return {}
