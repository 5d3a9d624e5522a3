"""Analyses the figures of a place: totals, peaks, the average week, comparisons, length of stay.

An hour in which a counter was not trustworthy is left out of every mean, and a total that includes such
an hour is a minimum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.visitors.services import CENTRE

from .aggregation import DOOR_PREFIX, Bin
from .intervals import QUARTER_S, Interval, Intervals, Slot, midnight_s, opening_intervals, slots_between
from .reader import VisitorFigures
from .results import (
    BAR_UNITS,
    Analysis,
    Bar,
    CentreLayout,
    Comparison,
    Count,
    HeatCell,
    Occupancy,
    Peak,
    Period,
    Stay,
    period_containing,
)


class Coverage:
    """How much of the time in which the doors of a place should have been counted they were counted."""

    def __init__(
        self, expected_by_door: Sequence[Intervals], uncounted_by_door: Sequence[Intervals]
    ) -> None:
        self._expected = expected_by_door
        self._uncounted = [spans for spans in uncounted_by_door if spans]
        self._any_uncounted = Intervals(span for spans in self._uncounted for span in spans)

    def share(self, since: int, until: int) -> float | None:
        """The counted share, 0 to 1; None where no counting was expected."""
        expected_s = sum(spans.covered_seconds(since, until) for spans in self._expected)
        uncounted_s = sum(spans.covered_seconds(since, until) for spans in self._uncounted)
        return 1 - uncounted_s / expected_s if expected_s else None

    def is_complete(self, since: int, until: int) -> bool:
        """Whether counting was expected, and every door was counted all the time."""
        return not self._any_uncounted.covered_seconds(since, until) and any(
            spans.covered_seconds(since, until) for spans in self._expected
        )


class Analyst:
    """Analyses the figures as of `now` (Unix seconds)."""

    def __init__(self, figures: VisitorFigures, centre: CentreLayout, now: int) -> None:
        self._figures = figures
        self._centre = centre
        self._now = now
        self.today = datetime.fromtimestamp(now, centre.zone).date()
        first = figures.first_quarter()
        self.begins_at_s = None if first is None else first * QUARTER_S
        self._coverage_changes = figures.coverage_changes()
        self._gaps = [
            (since // 1000, until // 1000, counter, why) for since, until, counter, why in figures.gaps()
        ]
        self.never_reported_counters = [
            counter
            for each in centre.doors.values()
            for counter in each
            if counter not in self._coverage_changes
        ]
        """Counters that are configured and have never reported."""

    def places(self) -> list[str]:
        """The centre, its doors and rooms, and former ones that have figures."""
        return list(dict.fromkeys([CENTRE, *self._centre.places, *self._figures.places()]))

    def analyse(self, place: str, span: Period, bar_unit: str = "") -> Analysis:
        """The complete analysis of a place in a period; `bar_unit` is the unit of the bars."""
        zone, now = self._centre.zone, self._now
        since, until = midnight_s(span.since, zone), midnight_s(span.until, zone)
        bar_unit = bar_unit or BAR_UNITS.get(span.unit) or _default_bar_unit(span)
        bins = self._bins(place, since, until)
        coverage = self._coverage(place, span)
        per_day = self._bars(slots_between("day", span.since, span.until, zone), bins, coverage)
        per_hour = self._bars(slots_between("hour", span.since, span.until, zone), bins, coverage)
        bars = {"day": per_day, "hour": per_hour}.get(bar_unit) or self._bars(
            slots_between(bar_unit, span.since, span.until, zone), bins, coverage
        )
        start = datetime.combine(span.since, time(), zone)
        (whole,) = self._bars([Slot(since, until, start)], bins, coverage)
        inside = [_occupancies(bar.slot, bins) for bar in per_day]
        done = [
            number for number, bar in enumerate(per_day)
            if bar.slot.until <= now and coverage.is_complete(bar.slot.since, bar.slot.until)
        ]  # fmt: skip
        counted = [per_day[number] for number in done]
        totals = self._figures.totals(since // QUARTER_S, until // QUARTER_S)
        return Analysis(
            place=place,
            period=span,
            running=since <= now < until,
            now=now,
            total=whole.count,
            bars=tuple(bars),
            by=bar_unit,
            peaks=_peaks(bins, per_hour, per_day, inside, zone),
            heat=_heat_map(per_hour, coverage, now),
            week=_weekday_means(counted),
            comparisons=tuple(self._comparisons(place, span, whole.count, counted)),
            levels=tuple(_occupancy_levels(inside, now)),
            stay=_mean_stay([(per_day[number].count.came, inside[number]) for number in done]),
            places={
                name: Count(*totals.get(name, Bin()), self._coverage(name, span).share(since, until))
                for name in dict.fromkeys([CENTRE, *self._centre.places, *sorted(totals)])
            },
            stored_facts=tuple(self._figures.stored_facts(since * 1000, until * 1000)),
            lost=tuple(self._gaps_between(since, until)),
            since=self.begins_at_s,
            undated=self._figures.undated(),
            behind=self._figures.behind,
            unheard=tuple(self.never_reported_counters),
        )

    def bars(self, place: str, span: Period, bar_unit: str) -> list[Bar]:
        """The counts of a place in a period, in slots of the unit `bar_unit`."""
        zone = self._centre.zone
        bins = self._bins(place, midnight_s(span.since, zone), midnight_s(span.until, zone))
        return self._bars(
            slots_between(bar_unit, span.since, span.until, zone), bins, self._coverage(place, span)
        )

    def _bins(self, place: str, since: int, until: int) -> list[tuple[int, Bin]]:
        """The counts of quarters by Unix seconds, oldest first."""
        bins = self._figures.bins(place, since // QUARTER_S, until // QUARTER_S)
        return [(at * QUARTER_S, counts) for at, counts in bins]

    def _bars(
        self, slots: Sequence[Slot], bins: Sequence[tuple[int, Bin]], coverage: Coverage
    ) -> list[Bar]:
        """The count of each slot; the slots must be consecutive."""
        bars, number = [], 0
        for slot in slots:
            came = went = tours = 0
            while number < len(bins) and bins[number][0] < slot.until:
                counts = bins[number][1]
                came, went, tours = came + counts.came, went + counts.went, tours + counts.tours
                number += 1
            count = Count(came, went, tours, coverage.share(slot.since, slot.until))
            bars.append(Bar(slot, count, slot.since > self._now))
        return bars

    def _coverage(self, place: str, span: Period) -> Coverage:
        zone = self._centre.zone
        since, until = midnight_s(span.since, zone), min(midnight_s(span.until, zone), self._now)
        expected = Intervals([(since, until)])
        if self._centre.hours:
            # The opening hours of the day before may extend past midnight.
            published = opening_intervals(
                self._centre.hours, span.since - timedelta(days=1), span.until, zone
            )
            expected = expected.intersection(published)
        expected_by_door, uncounted_by_door = [], []
        for door in self._centre.places.get(place, (place,)):
            life, uncounted = self._lifetime(door)
            expected_by_door.append(expected.intersection(life))
            uncounted_by_door.append(expected_by_door[-1].intersection(uncounted))
        return Coverage(expected_by_door, uncounted_by_door)

    def _lifetime(self, place: str) -> tuple[Intervals, Intervals]:
        """The time since the day on which a door first reported, and the uncounted parts of it."""
        counters = self._centre.doors.get(place, (place.removeprefix(DOOR_PREFIX),))
        known = [changes for counter in counters if (changes := self._coverage_changes.get(counter))]
        if not known:
            return Intervals(), Intervals()
        first = min(changes[0][0] for changes in known) // 1000
        first_day = self._day_start(first)
        # A door is counted while at least one of its counters is.
        uncounted = Intervals([(first_day, self._now)])
        for counter, changes in ((each, self._coverage_changes.get(each)) for each in counters):
            if changes:
                uncounted = uncounted.intersection(self._uncounted_intervals(counter, changes, first_day))
        return Intervals([(first_day, self._now)]), uncounted

    def _day_start(self, at: int) -> int:
        """The local midnight before a moment, Unix seconds."""
        return midnight_s(datetime.fromtimestamp(at, self._centre.zone).date(), self._centre.zone)

    def _uncounted_intervals(
        self, counter: str, changes: Sequence[tuple[int, bool]], first_day: int
    ) -> Intervals:
        """The times in which a counter did not count."""
        gone = [(since, until) for since, until, whose, _ in self._gaps if whose in ("", counter)]
        return Intervals([*self._untrusted_intervals(changes, first_day), *gone])

    def _untrusted_intervals(self, changes: Sequence[tuple[int, bool]], began: int) -> Iterator[Interval]:
        for at, covered in changes:
            if covered:
                yield began, at // 1000
                began = self._now
            else:
                began = min(began, at // 1000)
        yield began, self._now

    def _gaps_between(self, since: int, until: int) -> list[tuple[int, int, str, str]]:
        """The gaps that overlap a time, uncut: from, until, counter, reason."""
        spans = [
            (first, last, counter, "untrusted")
            for counter, changes in self._coverage_changes.items()
            for first, last in self._untrusted_intervals(changes, changes[0][0] // 1000)
        ]
        return sorted(each for each in [*self._gaps, *spans] if max(each[0], since) < min(each[1], until))

    def _comparisons(
        self, place: str, span: Period, total: Count, counted: Sequence[Bar]
    ) -> Iterator[Comparison]:
        """Compare with the same part of earlier periods as has passed of this one."""
        zone = self._centre.zone
        running = span.since <= self.today < span.until
        for against, other in comparison_periods(span):
            since, until = midnight_s(other.since, zone), midnight_s(other.until, zone)
            if self.begins_at_s is None or since < self._day_start(self.begins_at_s):
                continue
            if running:
                passed = (self.today - span.since).days
                moment = datetime.fromtimestamp(self._now, zone).time()
                day = min(other.since + timedelta(days=passed), other.until - timedelta(days=1))
                until = min(until, round(datetime.combine(day, moment, zone).timestamp()))
            bins = self._bins(place, since, until)
            coverage = self._coverage(place, other)
            came = sum(counts.came for _, counts in bins)
            before = [
                bar
                for bar in self._bars(slots_between("day", other.since, other.until, zone), bins, coverage)
                if bar.slot.until <= until and coverage.is_complete(bar.slot.since, bar.slot.until)
            ]
            share = coverage.share(since, until)
            yield Comparison(
                against=against,
                since=other.since,
                until=other.until,
                running=running,
                came=came,
                change=(total.came - came) / came if came else None,
                mean_change=_mean_change(counted, before),
                sure=not total.is_minimum and share == 1,
            )


def _default_bar_unit(span: Period) -> str:
    """The unit of the bars for a period that is no day, week, month or year."""
    days = (span.until - span.since).days
    return "day" if days <= 93 else "month" if days <= 1830 else "year"


def comparison_periods(span: Period) -> Iterator[tuple[str, Period]]:
    """The earlier periods to compare with: for a day the same weekday a week and a year before, for a week
    the same week of the year before (ISO 8601)."""
    if span.unit == "day":
        yield "previous", period_containing("day", span.since - timedelta(days=1))
        yield "week", period_containing("day", span.since - timedelta(days=7))
        yield "year", period_containing("day", span.since - timedelta(days=364))
    elif span.unit == "week":
        yield "previous", span.shifted(-1)
        yield "year", period_containing("week", span.since - timedelta(days=364))
    elif span.unit == "month":
        yield "previous", span.shifted(-1)
        yield "year", span.shifted(-12)
    else:
        yield "previous", span.shifted(-1)


def _mean_change(now: Sequence[Bar], before: Sequence[Bar]) -> float | None:
    """The relative change of the mean day."""
    came = sum(bar.count.came for bar in before)
    if not now or not came:
        return None
    return sum(bar.count.came for bar in now) / len(now) / (came / len(before)) - 1


def _occupancies(day: Slot, bins: Sequence[tuple[int, Bin]]) -> list[Occupancy]:
    """How many people were inside at the end of each quarter in which that changed. A day begins with 0."""
    first = bisect_left(bins, (day.since,))
    levels, inside = [], 0
    for at, counts in bins[first:]:
        if at >= day.until:
            break
        inside = max(0, inside + counts.came - counts.went)
        levels.append(Occupancy(at + QUARTER_S, inside))
    return levels


def _occupancy_levels(inside: Sequence[Sequence[Occupancy]], now: int) -> list[Occupancy]:
    """For one day all levels, for several days the maximum of each."""
    if len(inside) == 1:
        return [msgspec.structs.replace(level, at=min(level.at, now)) for level in inside[0]]
    return [max(day, key=lambda level: level.inside) for day in inside if day]


def _peaks(
    bins: Sequence[tuple[int, Bin]],
    per_hour: Sequence[Bar],
    per_day: Sequence[Bar],
    inside: Sequence[Sequence[Occupancy]],
    zone: ZoneInfo,
) -> dict[str, Peak]:
    """The busiest slot of each kind, the earliest of equals; none where nobody came."""

    def quarter(at: int) -> Slot:
        return Slot(at, at + QUARTER_S, datetime.fromtimestamp(at, zone))

    candidates = {
        "quarter": [Peak(quarter(at), counts.came) for at, counts in bins],
        "hour": [Peak(bar.slot, bar.count.came) for bar in per_hour],
        "day": [Peak(bar.slot, bar.count.came) for bar in per_day if len(per_day) > 1],
        "inside": [Peak(quarter(each.at - QUARTER_S), each.inside) for day in inside for each in day],
    }
    peaks = {kind: max(found, key=lambda peak: peak.count) for kind, found in candidates.items() if found}
    return {kind: peak for kind, peak in peaks.items() if peak.count}


def _heat_map(per_hour: Sequence[Bar], coverage: Coverage, now: int) -> tuple[tuple[HeatCell, ...], ...]:
    came = [[0] * 24 for _ in range(7)]
    hours = [[0] * 24 for _ in range(7)]
    for bar in per_hour:
        if bar.slot.until <= now and coverage.is_complete(bar.slot.since, bar.slot.until):
            weekday, hour = bar.slot.local.weekday(), bar.slot.local.hour
            came[weekday][hour] += bar.count.came
            hours[weekday][hour] += 1
    return tuple(
        tuple(HeatCell(c / n if n else None, n) for c, n in zip(*both, strict=True))
        for both in zip(came, hours, strict=True)
    )


def _weekday_means(counted: Sequence[Bar]) -> tuple[float | None, ...]:
    week: list[list[int]] = [[] for _ in range(7)]
    for bar in counted:
        week[bar.slot.local.weekday()].append(bar.count.came)
    return tuple(sum(each) / len(each) if each else None for each in week)


def _mean_stay(counted: Sequence[tuple[int, Sequence[Occupancy]]]) -> Stay | None:
    """From fully counted days: person-seconds inside divided by the people who came."""
    came = sum(each for each, _ in counted)
    if not came:
        return None
    area = sum(
        level.inside * (following.at - level.at)
        for _, levels in counted
        for level, following in pairwise(levels)
    )
    return Stay(area / came / 60, len(counted))
