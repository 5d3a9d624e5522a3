"""The figures as a person would say them, and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from gateway.capabilities.visitors.services import CENTRE
from gateway.web.spreadsheet import Cell
from gateway.words import translate

from .aggregation import DOOR
from .intervals import Slot
from .results import Analysis, Bar, Centre, Comparison, Count, Peak, Period, Stay


class Share(float):
    """A part of a whole, shown in percent."""


class Table(NamedTuple):
    """`key` names what it is of, whatever the language. Numbers and dates stay what they are, for whoever
    counts on with them."""

    key: str
    title: str
    heads: list[str]
    rows: list[list[Cell]]


class Wording:
    """Says things of a centre in a language."""

    def __init__(self, language: str, centre: Centre) -> None:
        self.language = language
        self.zone = centre.zone
        self._centre = centre

    def word(self, key: str, /, **facts: object) -> str:
        return translate(self.language, f"visitors.{key}", **facts)

    def place(self, name: str) -> str:
        """What people call a place."""
        if name == CENTRE:
            return self.word("centre")
        kind, _, bare = name.partition(".")
        title = self._centre.titles.get(name, {}).get(self.language)
        return title or self.word(f"{kind}-of", name=bare)

    def counter(self, name: str) -> str:
        titles = self._centre.titles.get(DOOR + name, {})
        return titles.get(self.language) or name or self.word("all-counters")

    def weekday(self, day: date) -> str:
        return self.word(f"weekday-{day.weekday()}")

    def date(self, day: date) -> str:
        """A day of a year that is known."""
        return self.word("date", month=self.word(f"month-{day.month}"), day=day.day)

    def period(self, period: Period) -> str:
        """What it is called."""
        first, last = period.since, date.fromordinal(period.until.toordinal() - 1)
        week_year, week, _ = first.isocalendar()
        return self.word(
            f"period-{period.unit or 'days'}",
            year=first.year, month=self.word(f"month-{first.month}"), day=first.day,
            weekday=self.weekday(first), week=week, week_year=week_year,
            first=self.date(first), last=self.date(last), since=first, until=last,
        )  # fmt: skip

    def slot(self, unit: str, slot: Slot) -> str:
        """The name of a bar among its neighbours."""
        local = slot.local
        if unit in ("quarter", "hour"):
            return f"{local:%H:%M}"
        if unit == "week":
            return self.word("slot-week", week=local.isocalendar().week)
        if unit == "month":
            return self.word(f"month-{local.month}")[:3]
        return str(local.year) if unit == "year" else f"{local.month}/{local.day}"

    def moment(self, unit: str, slot: Slot) -> str:
        """When that is, told by itself."""
        day = self.word("day", date=self.date(slot.local.date()), weekday=self.weekday(slot.local))
        if unit == "day":
            return day
        until = datetime.fromtimestamp(slot.until, slot.local.tzinfo)
        return f"{day} {slot.local:%H:%M}–{until:%H:%M}"

    def number(self, count: Count) -> str:
        """Who came; at least."""
        return f"{self.word('least') if count.least else ''}{count.came:,}"

    def share(self, share: float | None) -> str:
        return "–" if share is None else percent(share)

    def headline(self, analysis: Analysis) -> str:
        total = analysis.total
        key = "came-total-least" if total.least else "came-total"
        return self.word(key, count=f"{total.came:,}")

    def coverage(self, analysis: Analysis) -> str:
        share = analysis.total.share
        if share is None:
            return self.word("unknown-share")
        always = "" if self._centre.hours else "-always"
        return self.word(f"covered-{'part' if share < 1 else 'whole'}{always}", share=self.share(share))

    def classes(self, analysis: Analysis) -> str:
        total = analysis.total
        if not total.came:
            return self.word("nobody") if total.share else ""
        if not total.tours:
            return self.word("classes-none")
        return self.word("classes", activity=f"{total.activity:,}", tours=f"{total.tours:,}")

    def comparison(self, analysis: Analysis, comparison: Comparison) -> str:
        """`比上周同期多 12%（上周同期为 1,100 人次）。`"""
        tense = "now" if comparison.running else "when"
        when = self.word(f"{tense}-{analysis.period.unit or 'days'}-{comparison.against}")
        said = self._change("", comparison.change, when=when, came=f"{comparison.came:,}")
        if analysis.period.unit != "day" and comparison.change and comparison.mean_change is not None:
            said += self._change("mean-", comparison.mean_change)
        said += self.word("sure" if comparison.sure else "unsure")
        return said[:1].upper() + said[1:]

    def _change(self, prefix: str, change: float | None, **facts: object) -> str:
        if change is None:
            return self.word("then-nobody", **facts)
        percent = f"{abs(change):.0%}" if abs(change) < 10 else f"{abs(change):,.0%}"
        how = "same" if abs(change) < 0.005 else "more" if change > 0 else "fewer"
        return self.word(prefix + how, percent=percent, **facts)

    def peak(self, kind: str, peak: Peak) -> tuple[str, str, str]:
        """What it is, when that was, and how many."""
        key = "people" if kind == "inside" else "visits"
        return (
            self.word(f"peak-{kind}"),
            self.moment("quarter" if kind == "inside" else kind, peak.slot),
            self.word(key, count=f"{peak.count:,}"),
        )

    def stay(self, stay: Stay) -> str:
        return self.word("stay", minutes=f"{stay.minutes:.0f}")

    def remarks(self, analysis: Analysis) -> list[str]:
        """What else somebody should know who reads the figures."""
        said = []
        if analysis.since is None:
            said.append(self.word("none"))
        else:
            begun = datetime.fromtimestamp(analysis.since, self.zone).date()
            if begun > analysis.period.since:
                said.append(self.word("begins", date=begun))
        if analysis.unheard:
            names = self.word("comma").join(map(self.counter, analysis.unheard))
            said.append(self.word("unheard", names=names))
        if analysis.undated:
            said.append(self.word("undated", count=analysis.undated))
        if analysis.behind:
            said.append(self.word("behind"))
        return said

    def summary(self, analysis: Analysis) -> Table:
        total = analysis.total
        rows: list[list[Cell]] = [
            [self.word("place"), self.place(analysis.place)],
            [self.word("period"), self.period(analysis.period)],
            [self.word("came"), total.came],
            [self.word("went"), total.went],
            [self.word("activity"), total.activity],
            [self.word("tours"), total.tours],
            [self.word("share"), _share(total.share)],
        ]
        rows += [
            [what, f"{when}{self.word('comma')}{count}"]
            for what, when, count in (self.peak(*each) for each in analysis.peaks.items())
        ]
        rows += [[self.word("compared"), self.comparison(analysis, each)] for each in analysis.comparisons]
        if analysis.stay:
            rows.append([self.stay(analysis.stay), self.word("stay-how", days=analysis.stay.days)])
        rows += [["", remark] for remark in (self.coverage(analysis), *self.remarks(analysis))]
        return Table("summary", self.word("summary"), [self.word("figure"), self.word("value")], rows)

    def bars(self, unit: str, bars: Sequence[Bar], key: str = "bars") -> Table:
        """One row a slot that has begun."""
        timed = unit in ("quarter", "hour")
        named = "weekday" if timed or unit == "day" else "period"
        heads = ["date-head", named, *(["time"] if timed else [])]
        counts = ["came", "went", "activity", "tours", "share", "least-head"]
        rows: list[list[Cell]] = [
            [
                bar.slot.local.date(),
                self.weekday(bar.slot.local) if named == "weekday" else self.slot(unit, bar.slot),
                *([f"{bar.slot.local:%H:%M}"] if timed else []),
                *self._counts(bar.count),
            ]
            for bar in bars
            if not bar.future
        ]
        return Table(key, self.word(key), [self.word(head) for head in (*heads, *counts)], rows)

    def _counts(self, count: Count) -> list[Cell]:
        least = self.word("least") if count.least else ""
        return [count.came, count.went, count.activity, count.tours, _share(count.share), least]

    def places(self, analysis: Analysis) -> Table:
        heads = ("place", "came", "went", "activity", "tours", "share", "least-head")
        rows: list[list[Cell]] = [
            [self.place(name), *self._counts(count)] for name, count in analysis.places.items()
        ]
        return Table("places", self.word("places"), [self.word(head) for head in heads], rows)

    def heat(self, analysis: Analysis) -> Table:
        """Weekdays down, hours across; the mean of those who came."""
        rows: list[list[Cell]] = [
            [self.word(f"weekday-{number}"), *(None if c.mean is None else round(c.mean, 1) for c in row)]
            for number, row in enumerate(analysis.heat)
        ]
        heads = [self.word("weekday"), *(f"{hour}:00" for hour in range(24))]
        return Table("heat", self.word("heat"), heads, rows)

    def levels(self, analysis: Analysis) -> Table:
        """How many were inside, and when."""
        rows: list[list[Cell]] = [
            [local.date(), f"{local:%H:%M}", level.inside]
            for level in analysis.levels
            for local in [datetime.fromtimestamp(level.at, self.zone)]
        ]
        return Table(
            "inside", self.word("inside"), [*map(self.word, ("date-head", "time", "inside"))], rows
        )

    def week(self, analysis: Analysis) -> Table:
        """The mean day by weekday."""
        rows: list[list[Cell]] = [
            [self.word(f"weekday-{number}"), None if mean is None else round(mean, 1)]
            for number, mean in enumerate(analysis.week)
        ]
        return Table("week", self.word("week-mean"), [self.word("weekday"), self.word("mean")], rows)

    def records(self, analysis: Analysis) -> list[Table]:
        """What was written down of activities, drift, opening hours, and times without counting."""
        kinds = {
            "attendance": (
                "date-head time activity-title class place expected present left peak", self._attended
            ),
            "opening-day": ("date-head published opened closed late early", self._opened),
            "visitor-corrected": ("date-head time place before now by", self._corrected),
            "visitor-drift": ("date-head place came went left-over unseen drift-share", self._drifted),
        }  # fmt: skip
        tables = []
        for kind, (heads, row) in kinds.items():
            rows = [
                row(datetime.fromtimestamp(each.at / 1000, self.zone), each.body)
                for each in analysis.happenings
                if each.kind == kind
            ]
            key = kind.partition("-")[2] or kind
            key = "opening" if key == "day" else key
            tables.append(Table(key, self.word(key), [self.word(head) for head in heads.split()], rows))
        return [*tables, self._lost(analysis)]

    def _attended(self, at: datetime, body: dict[str, object]) -> list[Cell]:
        since, until = (self._clock(body.get(key)) for key in ("from", "until"))
        began = _moment(body.get("from"), self._centre) or at
        room = str(body.get("room") or "")
        return [
            began.date(),
            f"{since}–{until}",
            str(body.get("title", "")),
            self.word(f"class-{body.get('class', 'activity')}"),
            self.place(f"room.{room}") if room else self.place(CENTRE),
            *(_number(body.get(key)) for key in ("expected", "came", "left", "peak")),
        ]

    def _clock(self, wall: object) -> str:
        local = _moment(wall, self._centre)
        return f"{local:%H:%M}" if local else "?"

    def _opened(self, at: datetime, body: dict[str, object]) -> list[Cell]:
        published = body.get("published")
        spans = published if isinstance(published, list) else []
        day = str(body.get("day", ""))
        return [
            date.fromisoformat(day) if day else at.date(),
            " ".join(f"{span[0]}–{span[1]}" for span in spans),
            str(body.get("opened") or ""),
            str(body.get("closed") or ""),
            _number(body.get("late")),
            _number(body.get("early")),
        ]

    def _drifted(self, at: datetime, body: dict[str, object]) -> list[Cell]:
        room = str(body.get("room") or "")
        return [
            at.date(),
            self.place(f"room.{room}") if room else self.place(CENTRE),
            *(_number(body.get(key)) for key in ("in", "out", "inside", "unseen")),
            _share(_number(body.get("share"))),
        ]

    def _corrected(self, at: datetime, body: dict[str, object]) -> list[Cell]:
        room = str(body.get("room") or "")
        return [
            at.date(),
            f"{at:%H:%M}",
            self.place(f"room.{room}") if room else self.place(CENTRE),
            *(_number(body.get(key)) for key in ("before", "inside")),
            str(body.get("by", "")),
        ]

    def _lost(self, analysis: Analysis) -> Table:
        heads = [self.word(head) for head in ("from", "until", "counter", "reason")]
        rows: list[list[Cell]] = [
            [self._time(since), self._time(until), self.counter(counter), self.word(f"why-{why}")]
            for since, until, counter, why in analysis.lost
        ]
        return Table("lost", self.word("lost"), heads, rows)

    def _time(self, at: int) -> str:
        return f"{datetime.fromtimestamp(at, self.zone):%Y-%m-%d %H:%M}" if at else "–"


def _moment(wall: object, centre: Centre) -> datetime | None:
    return datetime.fromtimestamp(wall / 1000, centre.zone) if isinstance(wall, int) else None


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _share(value: float | None) -> Share | None:
    return None if value is None else Share(value)


def percent(share: float) -> str:
    """Rounded down: a whole is a whole only when nothing is missing."""
    return f"{int(share * 1000) / 10:g}%"


def flat(cell: Cell) -> str:
    """A cell on the terminal and on paper."""
    if cell is None:
        return "–"
    return percent(cell) if isinstance(cell, Share) else str(cell)
