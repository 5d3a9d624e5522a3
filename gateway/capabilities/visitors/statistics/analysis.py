"""What the figures say: totals, peaks, the usual week, comparisons, how long people stay.

An hour in which some counter was not to be trusted is no hour without visitors: it is left out of every
mean, and a total with such an hour in it is the least that came.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.visitors.services import CENTRE

from .aggregation import DOOR, Bin
from .intervals import QUARTER, Slot, Span, Spans, midnight, opening, slots
from .reader import Figures
from .results import BY, Analysis, Bar, Cell, Centre, Comparison, Count, Level, Peak, Period, Stay, period


class Cover:
    """How much of the time in which somebody should have been counting at a place, each door was."""

    def __init__(self, wanted: Sequence[Spans], lost: Sequence[Spans]) -> None:
        self._wanted = wanted
        self._lost = [spans for spans in lost if spans]
        self._any = Spans(span for spans in self._lost for span in spans)

    def share(self, since: int, until: int) -> float | None:
        """None: nobody was expected to."""
        wanted = sum(spans.within(since, until) for spans in self._wanted)
        lost = sum(spans.within(since, until) for spans in self._lost)
        return 1 - lost / wanted if wanted else None

    def whole(self, since: int, until: int) -> bool:
        """Whether somebody should have been counting at some time, and every door was at every time."""
        return not self._any.within(since, until) and any(
            spans.within(since, until) for spans in self._wanted
        )


class Analyst:
    """Answers questions on the figures of this moment. `now` is Unix time in seconds."""

    def __init__(self, figures: Figures, centre: Centre, now: int) -> None:
        self._figures = figures
        self._centre = centre
        self._now = now
        self.today = datetime.fromtimestamp(now, centre.zone).date()
        first = figures.first()
        self.first = None if first is None else first * QUARTER
        self._trust = figures.trust()
        self._holes = [
            (since // 1000, until // 1000, counter, why) for since, until, counter, why in figures.holes()
        ]
        self.unheard = [
            counter for each in centre.doors.values() for counter in each if counter not in self._trust
        ]
        """Counters that are configured, and were never heard."""

    def places(self) -> list[str]:
        """The centre, its doors and rooms, and those that there once were."""
        return list(dict.fromkeys([CENTRE, *self._centre.places, *self._figures.places()]))

    def analyse(self, place: str, span: Period, by: str = "") -> Analysis:
        """Everything about a place in a period; `by` is the bars' unit."""
        zone, now = self._centre.zone, self._now
        since, until = midnight(span.since, zone), midnight(span.until, zone)
        by = by or BY.get(span.unit) or _bar(span)
        bins = self._bins(place, since, until)
        cover = self._cover(place, span)
        per_day = self._bars(slots("day", span.since, span.until, zone), bins, cover)
        per_hour = self._bars(slots("hour", span.since, span.until, zone), bins, cover)
        bars = {"day": per_day, "hour": per_hour}.get(by) or self._bars(
            slots(by, span.since, span.until, zone), bins, cover
        )
        start = datetime.combine(span.since, time(), zone)
        (whole,) = self._bars([Slot(since, until, start)], bins, cover)
        inside = [_inside(bar.slot, bins) for bar in per_day]
        done = [
            number for number, bar in enumerate(per_day)
            if bar.slot.until <= now and cover.whole(bar.slot.since, bar.slot.until)
        ]  # fmt: skip
        counted = [per_day[number] for number in done]
        totals = self._figures.totals(since // QUARTER, until // QUARTER)
        return Analysis(
            place=place,
            period=span,
            running=since <= now < until,
            now=now,
            total=whole.count,
            open_days=len(done),
            bars=tuple(bars),
            by=by,
            peaks=_peaks(bins, per_hour, per_day, inside, zone),
            heat=_heat(per_hour, cover, now),
            week=_week(counted),
            comparisons=tuple(self._comparisons(place, span, whole.count, counted)),
            levels=tuple(_levels(inside, now)),
            stay=_stay([(per_day[number].count.came, inside[number]) for number in done]),
            places={
                name: Count(*totals.get(name, Bin()), self._cover(name, span).share(since, until))
                for name in dict.fromkeys([CENTRE, *self._centre.places, *sorted(totals)])
            },
            happenings=tuple(self._figures.happenings(since * 1000, until * 1000)),
            lost=tuple(self._lost(since, until)),
            since=self.first,
            undated=self._figures.undated(),
            behind=self._figures.behind,
            unheard=tuple(self.unheard),
        )

    def bars(self, place: str, span: Period, by: str) -> list[Bar]:
        """The same in other slots."""
        zone = self._centre.zone
        bins = self._bins(place, midnight(span.since, zone), midnight(span.until, zone))
        return self._bars(slots(by, span.since, span.until, zone), bins, self._cover(place, span))

    def _bins(self, place: str, since: int, until: int) -> list[tuple[int, Bin]]:
        """By Unix seconds."""
        bins = self._figures.bins(place, since // QUARTER, until // QUARTER)
        return [(at * QUARTER, counts) for at, counts in bins]

    def _bars(self, among: Sequence[Slot], bins: Sequence[tuple[int, Bin]], cover: Cover) -> list[Bar]:
        """The count of each slot; they follow on one another."""
        bars, number = [], 0
        for slot in among:
            came = went = tours = 0
            while number < len(bins) and bins[number][0] < slot.until:
                counts = bins[number][1]
                came, went, tours = came + counts.came, went + counts.went, tours + counts.tours
                number += 1
            count = Count(came, went, tours, cover.share(slot.since, slot.until))
            bars.append(Bar(slot, count, slot.since > self._now))
        return bars

    def _cover(self, place: str, span: Period) -> Cover:
        zone = self._centre.zone
        since, until = midnight(span.since, zone), min(midnight(span.until, zone), self._now)
        expected = Spans([(since, until)])
        if self._centre.hours:
            # The day before may have ended after midnight.
            published = opening(self._centre.hours, span.since - timedelta(days=1), span.until, zone)
            expected = expected.cut(published)
        wanted, lost = [], []
        for door in self._centre.places.get(place, (place,)):
            life, blind = self._life(door)
            wanted.append(expected.cut(life))
            lost.append(wanted[-1].cut(blind))
        return Cover(wanted, lost)

    def _life(self, place: str) -> tuple[Spans, Spans]:
        """Since the day a door was first heard of, and when it was not counted in that time."""
        counters = self._centre.doors.get(place, (place.removeprefix(DOOR),))
        known = [trust for counter in counters if (trust := self._trust.get(counter))]
        if not known:
            return Spans(), Spans()
        first = min(trust[0][0] for trust in known) // 1000
        born = self._day(first)
        # One that counts is enough.
        blind = Spans([(born, self._now)])
        for counter, trust in ((each, self._trust.get(each)) for each in counters):
            if trust:
                blind = blind.cut(self._blind(counter, trust, born))
        return Spans([(born, self._now)]), blind

    def _day(self, at: int) -> int:
        """When the day of a moment began."""
        return midnight(datetime.fromtimestamp(at, self._centre.zone).date(), self._centre.zone)

    def _blind(self, counter: str, trust: Sequence[tuple[int, bool]], born: int) -> Spans:
        """When a counter did not count."""
        gone = [(since, until) for since, until, whose, _ in self._holes if whose in ("", counter)]
        return Spans([*self._untrusted(trust, born), *gone])

    def _untrusted(self, trust: Sequence[tuple[int, bool]], began: int) -> Iterator[Span]:
        for at, covered in trust:
            if covered:
                yield began, at // 1000
                began = self._now
            else:
                began = min(began, at // 1000)
        yield began, self._now

    def _lost(self, since: int, until: int) -> list[tuple[int, int, str, str]]:
        """What there was of it in a time, in full."""
        spans = [
            (first, last, counter, "untrusted")
            for counter, trust in self._trust.items()
            for first, last in self._untrusted(trust, trust[0][0] // 1000)
        ]
        return sorted(each for each in [*self._holes, *spans] if max(each[0], since) < min(each[1], until))

    def _comparisons(
        self, place: str, span: Period, total: Count, counted: Sequence[Bar]
    ) -> Iterator[Comparison]:
        """With as much of the earlier period as has passed of this one."""
        zone = self._centre.zone
        running = span.since <= self.today < span.until
        for against, other in earlier(span):
            since, until = midnight(other.since, zone), midnight(other.until, zone)
            if self.first is None or since < self._day(self.first):
                continue
            if running:
                passed = (self.today - span.since).days
                moment = datetime.fromtimestamp(self._now, zone).time()
                day = min(other.since + timedelta(days=passed), other.until - timedelta(days=1))
                until = min(until, round(datetime.combine(day, moment, zone).timestamp()))
            bins = self._bins(place, since, until)
            cover = self._cover(place, other)
            came = sum(counts.came for _, counts in bins)
            before = [
                bar
                for bar in self._bars(slots("day", other.since, other.until, zone), bins, cover)
                if bar.slot.until <= until and cover.whole(bar.slot.since, bar.slot.until)
            ]
            share = cover.share(since, until)
            yield Comparison(
                against=against,
                since=other.since,
                until=other.until,
                running=running,
                came=came,
                change=(total.came - came) / came if came else None,
                mean_change=_change(counted, before),
                sure=not total.least and share == 1,
            )


def _bar(span: Period) -> str:
    """The bars of some days that are no week, month or year."""
    days = (span.until - span.since).days
    return "day" if days <= 93 else "month" if days <= 1830 else "year"


def earlier(span: Period) -> Iterator[tuple[str, Period]]:
    """The periods that one is compared with: a day with that weekday a week and a year before, a week with
    that week of the year before (ISO 8601)."""
    if span.unit == "day":
        yield "previous", period("day", span.since - timedelta(days=1))
        yield "week", period("day", span.since - timedelta(days=7))
        yield "year", period("day", span.since - timedelta(days=364))
    elif span.unit == "week":
        yield "previous", span.step(-1)
        yield "year", period("week", span.since - timedelta(days=364))
    elif span.unit == "month":
        yield "previous", span.step(-1)
        yield "year", span.step(-12)
    else:
        yield "previous", span.step(-1)


def _change(now: Sequence[Bar], before: Sequence[Bar]) -> float | None:
    """Of the mean day."""
    came = sum(bar.count.came for bar in before)
    if not now or not came:
        return None
    return sum(bar.count.came for bar in now) / len(now) / (came / len(before)) - 1


def _inside(day: Slot, bins: Sequence[tuple[int, Bin]]) -> list[Level]:
    """How many were inside at the end of each quarter in which that changed. A day begins with nobody."""
    first = bisect_left(bins, (day.since,))
    levels, inside = [], 0
    for at, counts in bins[first:]:
        if at >= day.until:
            break
        inside = max(0, inside + counts.came - counts.went)
        levels.append(Level(at + QUARTER, inside))
    return levels


def _levels(inside: Sequence[Sequence[Level]], now: int) -> list[Level]:
    """Of one day all of them, of several the fullest moment of each."""
    if len(inside) == 1:
        return [msgspec.structs.replace(level, at=min(level.at, now)) for level in inside[0]]
    return [max(day, key=lambda level: level.inside) for day in inside if day]


def _peaks(
    bins: Sequence[tuple[int, Bin]],
    per_hour: Sequence[Bar],
    per_day: Sequence[Bar],
    inside: Sequence[Sequence[Level]],
    zone: ZoneInfo,
) -> dict[str, Peak]:
    """The busiest of each kind, the first of several; none where nobody came."""

    def quarter(at: int) -> Slot:
        return Slot(at, at + QUARTER, datetime.fromtimestamp(at, zone))

    candidates = {
        "quarter": [Peak(quarter(at), counts.came) for at, counts in bins],
        "hour": [Peak(bar.slot, bar.count.came) for bar in per_hour],
        "day": [Peak(bar.slot, bar.count.came) for bar in per_day if len(per_day) > 1],
        "inside": [Peak(quarter(each.at - QUARTER), each.inside) for day in inside for each in day],
    }
    peaks = {kind: max(found, key=lambda peak: peak.count) for kind, found in candidates.items() if found}
    return {kind: peak for kind, peak in peaks.items() if peak.count}


def _heat(per_hour: Sequence[Bar], cover: Cover, now: int) -> tuple[tuple[Cell, ...], ...]:
    came = [[0] * 24 for _ in range(7)]
    hours = [[0] * 24 for _ in range(7)]
    for bar in per_hour:
        if bar.slot.until <= now and cover.whole(bar.slot.since, bar.slot.until):
            weekday, hour = bar.slot.local.weekday(), bar.slot.local.hour
            came[weekday][hour] += bar.count.came
            hours[weekday][hour] += 1
    return tuple(
        tuple(Cell(c / n if n else None, n) for c, n in zip(*both, strict=True))
        for both in zip(came, hours, strict=True)
    )


def _week(counted: Sequence[Bar]) -> tuple[float | None, ...]:
    week: list[list[int]] = [[] for _ in range(7)]
    for bar in counted:
        week[bar.slot.local.weekday()].append(bar.count.came)
    return tuple(sum(each) / len(each) if each else None for each in week)


def _stay(counted: Sequence[tuple[int, Sequence[Level]]]) -> Stay | None:
    """Of days that were fully counted: the area below the number inside, by those who came."""
    came = sum(each for each, _ in counted)
    if not came:
        return None
    area = sum(
        level.inside * (following.at - level.at)
        for _, levels in counted
        for level, following in pairwise(levels)
    )
    return Stay(area / came / 60, len(counted))
