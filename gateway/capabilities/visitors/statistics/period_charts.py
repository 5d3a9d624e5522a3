"""The charts of a period."""

from __future__ import annotations

from datetime import datetime
from xml.etree.ElementTree import Element

from gateway.web.charts import Column, Mark, Reading, column_chart, heat_map, time_chart

from .formatting import Formatter
from .results import Analysis, Bar


def visits_chart(analysis: Analysis, formatter: Formatter) -> Element:
    """Visits by slot; the upper part of each bar is those on a tour."""
    unit = analysis.by
    return column_chart(
        formatter.text("bars"),
        [
            Column(
                formatter.slot_label(unit, bar.slot), bar.count.came, bar.count.tours,
                bar_tooltip(bar, analysis, formatter), bar.count.is_minimum and not bar.future,
            )
            for bar in analysis.bars
        ],
    )  # fmt: skip


def bar_tooltip(bar: Bar, analysis: Analysis, formatter: Formatter) -> str:
    """The tooltip of a bar."""
    when = formatter.slot_label(analysis.by, bar.slot)
    if analysis.by in ("quarter", "hour", "day"):
        when = formatter.slot_time(analysis.by, bar.slot)
    count = formatter.text("visits", count=formatter.visit_count(bar.count))
    return f"{when}{formatter.text('comma')}{count}"


def weekday_chart(analysis: Analysis, formatter: Formatter) -> Element:
    """The mean visits of each weekday."""
    named = [(formatter.text(f"weekday-{number}"), mean) for number, mean in enumerate(analysis.week)]
    return column_chart(
        formatter.text("week-mean"),
        [
            Column(name, mean or 0, 0, f"{name} {'–' if mean is None else f'{mean:.0f}'}")
            for name, mean in named
        ],
    )


def hour_heat_map(analysis: Analysis, formatter: Formatter) -> Element:
    """Mean visits by weekday and hour, from the first to the last hour that has figures."""
    known = [hour for hour in range(24) if any(row[hour].mean is not None for row in analysis.heat)]
    shown = range(known[0], known[-1] + 1) if known else range(24)
    cells = []
    for number, row in enumerate(analysis.heat):
        weekday = formatter.text(f"weekday-{number}")
        line: list[Column | None] = []
        for hour in shown:
            mean, days = row[hour].mean, row[hour].days
            if mean is None:
                line.append(None)
                continue
            mean_text = f"{mean:.1f}" if 0 < mean < 10 else f"{mean:.0f}"
            tooltip = formatter.text(
                "heat-cell", weekday=weekday, hour=f"{hour}:00", mean=mean_text, days=days
            )
            line.append(Column(mean_text, mean, 0, tooltip))
        cells.append(line)
    names = [formatter.text(f"weekday-{number}") for number in range(7)]
    return heat_map(formatter.text("heat"), names, [str(hour) for hour in shown], cells)


def occupancy_chart(analysis: Analysis, formatter: Formatter) -> Element:
    """How many people were inside: over a day, or the maximum of each day."""
    levels = analysis.levels
    if analysis.period.unit == "day" and analysis.bars:
        first, last = analysis.bars[0].slot.since, analysis.bars[-1].slot.until
        run = [Reading(level.at, level.inside, level.inside, level.inside) for level in levels]
        if run:
            run.append(run[-1]._replace(at=min(analysis.now, last)))
        marks = [Mark(bar.slot.since, f"{bar.slot.local:%H:%M}") for bar in analysis.bars][::3]
        return time_chart(
            formatter.text("inside"),
            [run],
            first,
            last,
            marks=marks,
            holds=True,
            from_zero=True,
            whole=True,
        )
    zone = formatter.zone
    days = [datetime.fromtimestamp(level.at - 1, zone) for level in levels]
    return column_chart(
        formatter.text("inside-day"),
        [
            Column(f"{day.month}/{day.day}", level.inside, 0, f"{formatter.day_label(day)} {level.inside}")
            for day, level in zip(days, levels, strict=True)
        ],
    )
