"""What happened in a shift, from the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from gateway.model import Hazard, Lane, Stamp

from ..services.alarms import AlarmMode
from ..services.shift_log import COUNTED
from .names import HistoryNames
from .reading import History, HistoryRecord
from .tables import event_group, event_row

MAX_LINES_PER_LANE = 200
"""The newest are listed; the rest are counted."""
LISTED_CHANGES = frozenset(
    {
        "raised", "acknowledged", "cleared", "closed", "removed", "shelved", "unshelved", "disabled",
        "enabled", "test-begun", "tested", "test-ended",
    }
)  # fmt: skip
OUTAGES = ("gateway-down",)


class ShiftLine(NamedTuple):
    """One thing that happened: when, what, where, and by whom."""

    at: Stamp
    time: str
    what: str
    where: str
    by: str


class ShiftReport(NamedTuple):
    """What happened in a shift, oldest first, and how often."""

    lines: list[ShiftLine]
    omitted: int
    counts: Mapping[str, int]
    """By `COUNTED`."""


async def shift_report(history: History, since_ms: int, until_ms: int, names: HistoryNames) -> ShiftReport:
    """The report of the time from `since_ms` until before `until_ms`."""
    counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
    lines: list[ShiftLine] = []
    omitted = 0
    for lane, line_of in ((Lane.ALARM, _alarm_line), (Lane.EVENT, _event_line)):
        most = len(lines) + MAX_LINES_PER_LANE
        async for found in history.records(lane, since_ms, until_ms):
            counts.update(_counted(found))
            line = line_of(found, names)
            if line is not None and len(lines) < most:
                lines.append(line)
            elif line is not None:
                omitted += 1
    lines.sort(key=lambda line: line.at.wall_ms)
    return ShiftReport(lines, omitted, counts)


def _counted(found: HistoryRecord) -> list[str]:
    """What a record counts as."""
    kind, body = found.record.kind, found.record.body
    if kind == "alarm":
        change = body.get("change")
        if change == "raised":
            if body.get("mode") == AlarmMode.DRILL:
                return ["drills"]
            return ["faults" if body.get("hazard") == Hazard.FAULT else "alarms"]
        return {"acknowledged": ["acknowledged"], "disabled": ["disabled"], "test-begun": ["tests"]}.get(
            str(change), []
        )
    is_outage = kind in OUTAGES or (kind == "link" and not body.get("online"))
    return ["outages"] if is_outage else []


def _alarm_line(found: HistoryRecord, names: HistoryNames) -> ShiftLine | None:
    record, body = found.record, found.record.body
    change = str(body.get("change"))
    if change not in LISTED_CHANGES:
        return None
    hazard = names.word("hazard", str(body.get("hazard")))
    if body.get("mode") == AlarmMode.DRILL:
        hazard = names.text("drill-of", hazard=hazard)
    why = str(body.get("why") or "") if change in ("disabled", "shelved") else ""
    what = names.text("change-of", hazard=hazard, change=names.word("change", change))
    place = names.place(
        record.device, str(body.get("point", "")), body.get("place", ""), body.get("where", "")
    )
    by = "" if change in ("raised", "cleared") else names.person(str(body.get("by") or ""))
    return ShiftLine(found.at, names.time(found.at), " ".join(filter(None, (what, why))), place, by)


def _event_line(found: HistoryRecord, names: HistoryNames) -> ShiftLine | None:
    record = found.record
    is_listed = event_group(record.kind) in ("device", "duty") and not record.kind.startswith("shift-")
    if not is_listed or record.kind in ("notice", "gap", "clock"):
        return None
    row = event_row(found, names)
    return ShiftLine(found.at, row.time, row.event, row.where, row.by)
