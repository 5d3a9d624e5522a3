"""The alarms and events of the history as rows: texts for a page, and cells for a spreadsheet."""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.model import Hazard
from gateway.web.spreadsheet import Cell
from gateway.words import error_summary, translate, words

from ..services.alarms.episodes import AlarmEpisode, Moment
from .names import HistoryNames
from .reading import HistoryRecord

ALARM_HEADS = (
    "time", "what", "where", "value", "cleared", "stood", "acknowledged", "acknowledged-after",
    "acknowledged-by", "ended", "ended-after", "how", "ended-by", "number",
)  # fmt: skip
EVENT_HEADS = ("time", "group", "where", "event", "by")
EVENT_GROUPS = {
    "device": (
        "link", "gap", "clock", "gateway-down", "battery-low", "battery-replaced", "device-replaced",
        "test-due", "output", "notice",
    ),
    "duty": (
        "drill-report", "alarm-report", "plan-opened", "step", "unstep", "muster", "check-in",
        "patrol-done", "patrol-missed", "hazard-found", "hazard-closed", "hazard-overdue",
        "shift-begun", "shift-remark", "shift-ended", "shift-amended",
    ),
    "people": ("command", "outcome", "security", "config", "still"),
}  # fmt: skip
"""The kinds of the event lane by group; those of no group are everyday counts and states."""
OTHER_EVENTS, ALL_EVENTS = "other", "all"
_GROUP_BY_KIND = {kind: group for group, kinds in EVENT_GROUPS.items() for kind in kinds}


class EpisodeRow(NamedTuple):
    """One alarm in words; what has not happened is empty."""

    id: str
    hazard: Hazard
    what: str
    where: str
    time: str
    stood: str
    acknowledged: str
    ended: str
    stands: bool


def episode_row(episode: AlarmEpisode, names: HistoryNames) -> EpisodeRow:
    """An alarm for the page."""

    def moment_text(moment: Moment | None, key: str) -> str:
        if moment is None:
            return ""
        after = names.duration(moment.seconds)
        by = names.person(moment.by)
        return names.text(f"{key}-by" if by else key, after=after, by=by)

    stands = not episode.how
    return EpisodeRow(
        id=episode.id,
        hazard=episode.hazard,
        what=_hazard_text(episode, names),
        where=names.place(episode.device, episode.point, episode.place, episode.where),
        time=names.time(episode.raised),
        stood=names.duration(episode.cleared.seconds) if episode.cleared else "",
        acknowledged=moment_text(episode.acknowledged, "after"),
        ended=names.text(f"how-{episode.how or 'standing'}")
        + (names.text("colon") + moment_text(episode.ended, "after") if episode.ended else ""),
        stands=stands,
    )


def episode_cells(episode: AlarmEpisode, names: HistoryNames) -> list[Cell]:
    """An alarm for a spreadsheet, in the order of `ALARM_HEADS`; durations are seconds."""

    def cells(moment: Moment | None) -> tuple[Cell, Cell]:
        if moment is None:
            return None, None
        return names.local(moment.at), None if moment.seconds is None else round(moment.seconds, 1)

    acknowledged, ended = episode.acknowledged, episode.ended
    return [
        names.local(episode.raised),
        _hazard_text(episode, names),
        names.place(episode.device, episode.point, episode.place, episode.where),
        None if isinstance(episode.value, bool) else episode.value,
        *cells(episode.cleared),
        *cells(acknowledged),
        names.person(acknowledged.by) if acknowledged else None,
        *cells(ended),
        names.text(f"how-{episode.how or 'standing'}"),
        names.person(ended.by) if ended else None,
        episode.id,
    ]


def _hazard_text(episode: AlarmEpisode, names: HistoryNames) -> str:
    hazard = names.word("hazard", episode.hazard)
    return names.text("drill-of", hazard=hazard) if episode.drill else hazard


class EventRow(NamedTuple):
    """One event in words."""

    pos: str
    time: str
    group: str
    where: str
    event: str
    by: str


def event_group(kind: str) -> str:
    """The group of a kind of event."""
    return _GROUP_BY_KIND.get(kind, OTHER_EVENTS)


def event_row(found: HistoryRecord, names: HistoryNames) -> EventRow:
    """An event for the page."""
    record = found.record
    return EventRow(
        pos=f"{found.pos[0]}-{found.pos[1]}",
        time=names.time(found.at),
        group=names.text(f"group-{event_group(record.kind)}"),
        where=names.device(record.device),
        event=event_text(record.kind, record.body, names),
        by=names.person(event_person(record.body)),
    )


def event_cells(found: HistoryRecord, names: HistoryNames) -> list[Cell]:
    """An event for a spreadsheet, in the order of `EVENT_HEADS`."""
    row = event_row(found, names)
    return [names.local(found.at), row.group, row.where, row.event, row.by]


def event_person(body: dict[str, Any]) -> str:
    """Who has done it; empty for what nobody did."""
    by = body.get("closed_by") or body.get("by") or ""
    return ", ".join(map(str, by)) if isinstance(by, list) else str(by)


_WORDED_FACTS = {"action": "action", "hazard": "hazard", "reason": "lost", "severity": "severity"}
"""Facts that are keys of a table of words."""


def event_text(kind: str, body: dict[str, Any], names: HistoryNames) -> str:
    """What happened. Kinds without a sentence of their own have their title alone."""
    facts = dict(body)
    if kind == "security":
        facts["by"] = body.get("by") or names.text("somebody")
        return translate(names.lang, f"security.{body.get('event')}", **facts)
    for fact, table in _WORDED_FACTS.items():
        if fact in body:
            facts[fact] = names.word(table, str(body[fact]))
    variant = _variant(kind, body)
    if detail := body.get("detail") or body.get("error"):
        facts["detail"] = error_summary(names.lang, str(detail), body.get("facts") or {})
    else:
        facts["detail"] = names.text("reason-unknown")
    key = f"record.{variant}"
    if key not in words(names.lang):
        return names.word("record", kind)
    return translate(names.lang, key, **facts)


def _variant(kind: str, body: dict[str, Any]) -> str:
    """The key of the sentence, where a kind has several."""
    if kind == "link":
        return "link-online" if body.get("online") else "link-offline"
    if kind in ("command", "outcome", "notice"):
        return f"{kind}-{body.get('status')}"
    if kind == "output":
        return "output" if body.get("done") else "output-failed"
    return kind
