"""Presence: which devices are online, and since when."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from math import inf

import msgspec

from gateway.model import (
    Arrival,
    ConfigurationAdopted,
    Fact,
    Lane,
    Message,
    RowChanges,
    Rows,
    Sample,
    Service,
    Stamp,
    Value,
)

LAST_UPDATE_INTERVAL_S = 3600.0
"""How often `PresenceRow.last` is stored."""


class DeviceState(StrEnum):
    """What is known of a device."""

    ONLINE = "online"
    OFFLINE = "offline"
    NOT_HEARD = "not-heard"
    """Nothing has come from it since the gateway started, and it is not overdue yet."""


class PresenceRow(msgspec.Struct, frozen=True):
    """Whether a device is online; the key of its row is the device's name."""

    online: bool | None
    """None: it has never been heard."""
    since: Stamp
    error: str = ""
    heard: bool = True
    """Whether it was heard, or missed, since the gateway started; if not, `online` is of the last run."""
    last: Stamp | None = None
    """Its last good sample, to the hour: more often would wear the card."""

    @property
    def state(self) -> DeviceState:
        if not self.heard or self.online is None:
            return DeviceState.NOT_HEARD
        return DeviceState.ONLINE if self.online else DeviceState.OFFLINE


def device_state(rows: Rows, name: str) -> DeviceState:
    """The state of a device by the rows of `Presence`."""
    row: PresenceRow | None = rows.get(name)
    return row.state if row else DeviceState.NOT_HEARD


class Presence(Service):
    """Emits one fact each time a device goes offline or comes back."""

    name = "presence"
    row = PresenceRow

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, ConfigurationAdopted):
            return _adopted_rows(rows, message), []
        if not isinstance(message, Sample) or message.arrival is Arrival.RETAINED:
            return {}, []
        online = not message.error
        old: PresenceRow | None = rows.get(message.device)
        if old is not None and old.online == online:
            row = msgspec.structs.replace(old, heard=True, last=_last_good(old, message))
            return ({message.device: row} if row != old else {}), []
        fact = Fact(
            Lane.EVENT,
            message.device,
            "link",
            message.at,
            {"online": online, "error": message.error},
        )
        row = PresenceRow(online, message.at, message.error, last=_last_good(old, message))
        return {message.device: row}, [fact]

    def restore(self, rows: Rows) -> Rows:
        return {name: msgspec.structs.replace(row, heard=False) for name, row in rows.items()}

    def summary(self, rows: Rows) -> dict[str, Value]:
        counts = count_states(row.state for row in rows.values())
        return {"online": counts["online"], "offline": counts["offline"], "not_heard": counts["not-heard"]}


def count_states(states: Iterable[DeviceState]) -> dict[str, int]:
    """How many devices are in each state."""
    found = list(states)
    return {state.value: found.count(state) for state in DeviceState}


def _last_good(old: PresenceRow | None, sample: Sample) -> Stamp | None:
    last = old.last if old else None
    if sample.error or (sample.bad and not sample.values):
        return last
    is_recent = last and sample.at.seconds_since(last, if_unknown=inf) < LAST_UPDATE_INTERVAL_S
    return last if is_recent else sample.at


def _adopted_rows(rows: Rows, adopted: ConfigurationAdopted) -> RowChanges:
    """Every device has a row from the start."""
    removed: RowChanges = {name: None for name in rows if name not in adopted.device_names}
    new = adopted.device_names - rows.keys()
    return removed | {name: PresenceRow(None, adopted.at, heard=False) for name in new}
