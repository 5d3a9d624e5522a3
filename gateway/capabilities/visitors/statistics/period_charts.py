"""The charts of a period."""

from __future__ import annotations

from datetime import datetime

from gateway.web.markup import Element

from .formatting import Wording
from .results import Analysis, Bar
from .svg import Column, columns, curve, heat


def bars(analysis: Analysis, wording: Wording) -> Element:
    """Who came, by slot; the upper part of each bar were on a tour."""
    unit = analysis.by
    return columns(
        wording.word("bars"),
        [
            Column(
                wording.slot(unit, bar.slot), bar.count.came, bar.count.tours,
                tip(bar, analysis, wording), bar.count.least and not bar.future,
            )
            for bar in analysis.bars
        ],
    )  # fmt: skip


def tip(bar: Bar, analysis: Analysis, wording: Wording) -> str:
    """What a bar says when it is pointed at."""
    when = wording.slot(analysis.by, bar.slot)
    if analysis.by in ("quarter", "hour", "day"):
        when = wording.moment(analysis.by, bar.slot)
    count = wording.word("visits", count=wording.number(bar.count))
    return f"{when}{wording.word('comma')}{count}"


def week(analysis: Analysis, wording: Wording) -> Element:
    """The mean day of each weekday."""
    named = [(wording.word(f"weekday-{number}"), mean) for number, mean in enumerate(analysis.week)]
    return columns(
        wording.word("week-mean"),
        [
            Column(name, mean or 0, 0, f"{name} {'–' if mean is None else f'{mean:.0f}'}")
            for name, mean in named
        ],
    )


def hours(analysis: Analysis, wording: Wording) -> Element:
    """The heat map, of the hours in which there ever was anything to count; of all if there never was."""
    known = [hour for hour in range(24) if any(row[hour].mean is not None for row in analysis.heat)]
    shown = range(known[0], known[-1] + 1) if known else range(24)
    cells = []
    for number, row in enumerate(analysis.heat):
        weekday = wording.word(f"weekday-{number}")
        line: list[Column | None] = []
        for hour in shown:
            mean, days = row[hour].mean, row[hour].days
            if mean is None:
                line.append(None)
                continue
            told = f"{mean:.1f}" if mean < 10 else f"{mean:.0f}"
            tip = wording.word("heat-cell", weekday=weekday, hour=f"{hour}:00", mean=told, days=days)
            line.append(Column(told, mean, 0, tip))
        cells.append(line)
    names = [wording.word(f"weekday-{number}") for number in range(7)]
    return heat(wording.word("heat"), names, [str(hour) for hour in shown], cells)


def inside(analysis: Analysis, wording: Wording) -> Element:
    """How many were inside: through a day, or the most of each day."""
    levels = analysis.levels
    if analysis.period.unit == "day" and analysis.bars:
        first, last = analysis.bars[0].slot.since, analysis.bars[-1].slot.until
        points = [((level.at - first) / (last - first), float(level.inside)) for level in levels]
        if levels:
            points.append(((min(analysis.now, last) - first) / (last - first), float(levels[-1].inside)))
        marks = [bar.slot for bar in analysis.bars][::3]
        labels = [((slot.since - first) / (last - first), f"{slot.local:%H:%M}") for slot in marks]
        return curve(wording.word("inside"), points, labels)
    zone = wording.zone
    days = [datetime.fromtimestamp(level.at - 1, zone) for level in levels]
    return columns(
        wording.word("inside-day"),
        [
            Column(f"{day.month}/{day.day}", level.inside, 0, f"{wording.date(day)} {level.inside}")
            for day, level in zip(days, levels, strict=True)
        ],
    )
