"""Alarms as they came and went: one episode for each occurrence, from the records of the alarm lane."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from gateway.model import Hazard, Record, Stamp, Value

from .service import AlarmMode

Position = tuple[int, int]
"""A record in its lane: the position of its row, and its number there, from 0."""


class Moment(msgspec.Struct, frozen=True):
    """When something was done, how long after the alarm was raised, and by whom; empty: by nobody."""

    at: Stamp
    seconds: float | None
    """None where no clock can tell."""
    by: str = ""


class AlarmEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm from when it was raised until it was closed."""

    pos: Position
    """That of the record of its start, in the alarm lane."""
    id: str
    device: str
    point: str
    hazard: Hazard
    raised: Stamp
    place: str = ""
    where: str = ""
    drill: bool = False
    shelved: bool = False
    """It was shelved already: it made no sound and notified nobody."""
    repeats: tuple[Stamp, ...] = ()
    """When it was raised again before anybody had acknowledged it."""
    value: Value = False
    by: str = ""
    """Who began the drill."""
    acknowledged: Moment | None = None
    cleared: Moment | None = None
    """When its condition was gone for good."""
    ended: Moment | None = None
    how: str = ""
    """How it ended: `reset`, `acknowledged` (it had cleared before), `cleared` (it had been acknowledged),
    `disabled`, `removed` (its rule is no longer configured), `raised-again`, or `lost` (its end is not on
    record). Empty: it stands."""

    @property
    def rule(self) -> str:
        """The id of the rule, and of its place, that has raised it: the same for each occurrence."""
        return self.id.rpartition("/")[0]


class EpisodeCollector:
    """Makes episodes of the records of the alarm lane, which come newest first, from the newest of all.

    So each episode is complete when the record of its start has come, and only what belongs to alarms whose
    start is still to come is kept.
    """

    def __init__(self, standing: Collection[str], correct: Callable[[Stamp], Stamp]) -> None:
        """`standing`: the ids of the alarms that stand now; `correct` corrects a stamp from before the
        clock was set."""
        self._standing = standing
        self._correct = correct
        self._later: dict[str, list[Record]] = {}
        """What happened to each alarm whose start is still to come, newest first."""
        self._raised_next: dict[str, Stamp] = {}
        """By rule: when it raised its next alarm."""

    def add_record(self, pos: Position, record: Record) -> AlarmEpisode | None:
        """Add the next older record of the alarm lane; returns the episode that it begins."""
        body = record.body
        change, is_test = body.get("change"), body.get("mode") == AlarmMode.TEST
        if record.kind != "alarm" or is_test or change in _NOT_OF_EPISODES:
            return None
        alarm_id, at = str(body.get("id")), self._correct(record.at)
        self._later.setdefault(alarm_id, []).append(msgspec.structs.replace(record, at=at))
        if change != "raised" or body.get("raised") != record.at.wall_ms:
            return None
        records = self._later.pop(alarm_id)
        rule = alarm_id.rpartition("/")[0]
        raised_next, self._raised_next[rule] = self._raised_next.get(rule), at
        return _episode(pos, records[::-1], raised_next, alarm_id in self._standing)


_NOT_OF_EPISODES = frozenset({"test-begun", "tested", "test-ended", "enabled"})
"""Changes that belong to no alarm that stands."""


def _episode(pos: Position, records: list[Record], raised_next: Stamp | None, stands: bool) -> AlarmEpisode:
    """The episode of one alarm's records, oldest first; `raised_next`: when its rule raised the next."""
    first = records[0]
    acknowledged: Moment | None = None
    cleared: Moment | None = None
    ended: Moment | None = None
    repeats: list[Stamp] = []
    how = ""

    def moment(record: Record, by: str = "") -> Moment:
        return Moment(record.at, record.at.seconds_since(first.at), by)

    for record in records:
        change, by = record.body["change"], str(record.body["by"])
        if change == "raised":
            cleared = None
            repeats.append(record.at)
        elif change == "acknowledged":
            acknowledged = moment(record, by)
        elif change == "cleared":
            cleared = moment(record)
        elif change in ("disabled", "removed"):
            ended, how = moment(record, by if change == "disabled" else ""), change
        elif change == "closed":
            how = _how_closed(record.body, acknowledged, cleared)
            ended = moment(record, "" if how == "cleared" else by)
            if how == "acknowledged":
                acknowledged = ended
            elif how == "cleared":
                cleared = ended
    if ended is None and raised_next is not None:
        ended, how = Moment(raised_next, raised_next.seconds_since(first.at)), "raised-again"
    elif ended is None and not stands:
        how = "lost"
    body = first.body
    return AlarmEpisode(
        pos=pos,
        id=body["id"],
        device=first.device,
        point=body["point"],
        hazard=Hazard(body["hazard"]),
        raised=first.at,
        place=body.get("place", ""),
        where=body.get("where", ""),
        drill=body["mode"] == AlarmMode.DRILL,
        shelved=body["mode"] == AlarmMode.SHELVED,
        repeats=tuple(repeats[1:]),
        value=body["value"],
        by=body.get("by", ""),
        acknowledged=acknowledged,
        cleared=cleared,
        ended=ended,
        how=how,
    )


def _how_closed(body: dict[str, Any], acknowledged: Moment | None, cleared: Moment | None) -> str:
    """By the transitions of `state_machine` that lead to `closed`."""
    if body["latch"]:
        return "reset"
    return "acknowledged" if acknowledged is None else "cleared" if cleared is None else "reset"
