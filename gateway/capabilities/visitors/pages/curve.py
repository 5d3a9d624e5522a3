"""How many people were inside today, by quarter of an hour: the curve of the overview and the wall."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from gateway.capabilities.visitors.services import CENTRE
from gateway.capabilities.visitors.statistics import open_figures
from gateway.capabilities.visitors.statistics.analysis import Analyst
from gateway.capabilities.visitors.statistics.database import StatisticsFailed
from gateway.capabilities.visitors.statistics.results import Bar, CentreLayout, period_containing
from gateway.model import Stamp
from gateway.web.charts import Mark, Reading, svg_text, time_chart
from gateway.web.templating import Markup

from .settings import VisitorsSettings

QUARTERS_PER_HOUR = 4
DAY_HOURS = (8, 22)
"""Shown at least, where no opening hours are published."""
LABELS = 5
"""Hours written below the curve, about."""


class Curve(msgspec.Struct, frozen=True):
    """People inside at the end of each quarter from `since` to `until` (hours of the day), as far as the
    day has come; None: not every door was counted."""

    since: int
    until: int
    inside: tuple[int | None, ...]

    @property
    def peak(self) -> tuple[int, str] | None:
        """The most people that were inside, and in which quarter of an hour; None if nobody was."""
        most = max(filter(None, self.inside), default=0)
        if not most:
            return None
        quarter = self.since * QUARTERS_PER_HOUR + self.inside.index(most)
        return most, f"{_time_of(quarter)}–{_time_of(quarter + 1)}"

    def chart(self, title: str) -> Markup:
        """The curve, with the hours of the day; a gap where nobody knows."""
        since, until = (hour * QUARTERS_PER_HOUR for hour in (self.since, self.until))
        step = max(1, round((self.until - self.since) / LABELS))
        marks = [
            Mark(hour * QUARTERS_PER_HOUR, f"{hour}:00") for hour in range(self.since, self.until, step)
        ]
        return svg_text(
            time_chart(
                title, self._runs(), since, until, marks=marks, holds=True, from_zero=True, whole=True
            )
        )

    def _runs(self) -> Iterator[list[Reading]]:
        """The readings of each part without a gap; each quarter's holds until its end."""
        run: list[Reading] = []
        for number, inside in enumerate((*self.inside, None), self.since * QUARTERS_PER_HOUR):
            if inside is not None:
                run.append(Reading(number, inside, inside, inside))
            elif run:
                yield [*run, run[-1]._replace(at=number)]
                run = []


def _time_of(quarter: int) -> str:
    hour, quarters = divmod(quarter, QUARTERS_PER_HOUR)
    return f"{hour}:{quarters * 60 // QUARTERS_PER_HOUR:02}"


async def read_curve(settings: VisitorsSettings, journal: Path, now: Stamp) -> Curve | None:
    """The curve of today from the statistics; None if they cannot be read, or the clock is not set."""
    if not now.is_set:
        return None
    with contextlib.suppress(StatisticsFailed):
        figures = await open_figures(settings.statistics_file, journal)

        def work() -> Curve:
            # Closed in this thread, as the task may be cancelled before it has ended.
            with contextlib.closing(figures):
                analyst = Analyst(figures, settings.centre, now.wall_ms // 1000)
                day = period_containing("day", analyst.today)
                return curve_of(analyst.bars(CENTRE, day, "quarter"), settings.centre)

        return await asyncio.to_thread(work)
    return None


def curve_of(quarters: Iterable[Bar], centre: CentreLayout) -> Curve:
    """The curve of one day's quarters: from the opening to the closing hour, and whenever somebody was
    inside. It is empty while nothing was to be counted yet, as just after the first start."""
    hours, inside = [], 0
    counts: list[tuple[int, int | None]] = []
    day, is_known = None, False
    for bar in quarters:
        is_known = is_known or bar.count.share is not None or bool(bar.count.came or bar.count.went)
        local = bar.slot.local
        day = day or local.date()
        if not bar.future:
            inside = max(0, inside + bar.count.came - bar.count.went)
            counts.append((local.hour, None if bar.count.is_minimum else inside))
            if inside:
                hours.append(local.hour)
    spans = centre.hours.spans_on(day) if centre.hours and day else ()
    opening = [minute for span in spans for minute in span] or [hour * 60 for hour in DAY_HOURS]
    since = min([min(opening) // 60, *hours])
    until = max([min(24, -(-max(opening) // 60)), *(hour + 1 for hour in hours)])
    shown = tuple(count for hour, count in counts if is_known and since <= hour < until)
    return Curve(since, until, shown)
