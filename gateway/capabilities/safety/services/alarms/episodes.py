"""Alarms as they came and went: one episode for each occurrence, from the records of the alarm lane."""

from __future__ import annotations

from collections.abc import Callable, Collection

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


class AlarmChange(msgspec.Struct, frozen=True):
    """The body of a record of the alarm lane, as far as an episode needs it (see `service._ChangeSet`)."""

    id: str
    change: str
    point: str
    hazard: Hazard
    raised: int
    by: str = ""
    mode: str = ""
    latch: bool = False
    value: Value = False
    place: str = ""
    where: str = ""


class EpisodeCollector:
    """Makes episodes of the records of the alarm lane, which come newest first, from the newest of all.

    So each episode is complete when the record of its start has come, and only what belongs to alarms whose
    start is still to come is kept. Records that are not as they should be are left out.
    """

    def __init__(self, standing: Collection[str], correct: Callable[[Stamp], Stamp]) -> None:
        """`standing`: the ids of the alarms that stand now; `correct` corrects a stamp from before the
        clock was set."""
        self._standing = standing
        self._correct = correct
        self._later: dict[str, list[tuple[Stamp, AlarmChange]]] = {}
        """What happened to each alarm whose start is still to come, newest first."""
        self._raised_next: dict[str, Stamp] = {}
        """By rule: when it raised its next alarm."""

    def add_record(self, pos: Position, record: Record) -> AlarmEpisode | None:
        """Add the next older record of the alarm lane; returns the episode that it begins."""
        if record.kind != "alarm":
            return None
        try:
            body = msgspec.convert(record.body, AlarmChange)
        except msgspec.ValidationError:
            return None
        if body.mode == AlarmMode.TEST or body.change in _NOT_OF_EPISODES:
            return None
        at = self._correct(record.at)
        self._later.setdefault(body.id, []).append((at, body))
        if body.change != "raised" or body.raised != record.at.wall_ms:
            return None
        changes = self._later.pop(body.id)
        rule = body.id.rpartition("/")[0]
        raised_next, self._raised_next[rule] = self._raised_next.get(rule), at
        return _episode(pos, record.device, changes[::-1], raised_next, body.id in self._standing)


_NOT_OF_EPISODES = frozenset({"test-begun", "tested", "test-ended", "enabled"})
"""Changes that belong to no alarm that stands."""


def _episode(
    pos: Position,
    device: str,
    changes: list[tuple[Stamp, AlarmChange]],
    raised_next: Stamp | None,
    stands: bool,
) -> AlarmEpisode:
    """The episode of one alarm's changes, oldest first; `raised_next`: when its rule raised the next."""
    raised, first = changes[0]
    acknowledged: Moment | None = None
    cleared: Moment | None = None
    ended: Moment | None = None
    repeats: list[Stamp] = []
    how = ""
    for at, body in changes:
        moment = Moment(at, at.seconds_since(raised), body.by)
        if body.change == "raised":
            cleared = None
            repeats.append(at)
        elif body.change == "acknowledged":
            acknowledged = moment
        elif body.change == "cleared":
            cleared = _by_itself(moment)
        elif body.change in ("disabled", "removed"):
            how = body.change
            ended = moment if how == "disabled" else _by_itself(moment)
        elif body.change == "closed":
            how = _how_closed(body, acknowledged, cleared)
            ended = _by_itself(moment) if how == "cleared" else moment
            if how == "acknowledged":
                acknowledged = ended
            elif how == "cleared":
                cleared = ended
    if ended is None and raised_next is not None and acknowledged and cleared:
        ended, how = Moment(raised_next, raised_next.seconds_since(raised)), "raised-again"
    elif ended is None and not stands:
        how = "lost"
    return AlarmEpisode(
        pos=pos,
        id=first.id,
        device=device,
        point=first.point,
        hazard=first.hazard,
        raised=raised,
        place=first.place,
        where=first.where,
        drill=first.mode == AlarmMode.DRILL,
        shelved=first.mode == AlarmMode.SHELVED,
        repeats=tuple(repeats[1:]),
        value=first.value,
        by=first.by,
        acknowledged=acknowledged,
        cleared=cleared,
        ended=ended,
        how=how,
    )


def _by_itself(moment: Moment) -> Moment:
    """The record names who acknowledged; the condition was gone without that person."""
    return msgspec.structs.replace(moment, by="")


def _how_closed(body: AlarmChange, acknowledged: Moment | None, cleared: Moment | None) -> str:
    """By the transitions of `state_machine` that lead to `closed`."""
    if body.latch:
        return "reset"
    return "acknowledged" if acknowledged is None else "cleared" if cleared is None else "reset"
