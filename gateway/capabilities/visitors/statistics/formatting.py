"""Formats an analysis as sentences and as tables, in one language."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from gateway.capabilities.visitors.services import CENTRE
from gateway.web.spreadsheet import Cell, ReportTable, Share
from gateway.words import translate

from .aggregation import DOOR_PREFIX
from .intervals import Slot
from .results import Analysis, Bar, CentreLayout, Comparison, Count, Peak, Period, Stay


class Formatter:
    """Formats the results of a centre in a language."""

    def __init__(self, language: str, centre: CentreLayout) -> None:
        self.language = language
        self.zone = centre.zone
        self._centre = centre

    def text(self, key: str, /, **facts: object) -> str:
        return translate(self.language, f"visitors.{key}", **facts)

    def place_title(self, name: str) -> str:
        """The title of a place."""
        if name == CENTRE:
            return self.text("centre")
        kind, _, bare = name.partition(".")
        title = self._centre.titles.get(name, {}).get(self.language)
        return title or self.text(f"{kind}-of", name=bare)

    def counter_title(self, name: str) -> str:
        titles = self._centre.titles.get(DOOR_PREFIX + name, {})
        return titles.get(self.language) or name or self.text("all-counters")

    def weekday_label(self, day: date) -> str:
        return self.text(f"weekday-{day.weekday()}")

    def day_label(self, day: date) -> str:
        """Day and month, without the year."""
        return self.text("date", month=self.text(f"month-{day.month}"), day=day.day)

    def period_title(self, period: Period) -> str:
        """The title of a period, such as `2026年3月`."""
        first, last = period.since, date.fromordinal(period.until.toordinal() - 1)
        week_year, week, _ = first.isocalendar()
        return self.text(
            f"period-{period.unit or 'days'}",
            year=first.year, month=self.text(f"month-{first.month}"), day=first.day,
            weekday=self.weekday_label(first), week=week, week_year=week_year,
            first=self.day_label(first), last=self.day_label(last), since=first, until=last,
        )  # fmt: skip

    def slot_label(self, unit: str, slot: Slot) -> str:
        """The short label of a bar on the axis."""
        local = slot.local
        if unit in ("quarter", "hour"):
            return f"{local:%H:%M}"
        if unit == "week":
            return self.text("slot-week", week=local.isocalendar().week)
        if unit == "month":
            return self.text(f"month-{local.month}")[:3]
        return str(local.year) if unit == "year" else f"{local.month}/{local.day}"

    def slot_time(self, unit: str, slot: Slot) -> str:
        """Date and time of a slot, complete in itself."""
        day = self.text(
            "day", date=self.day_label(slot.local.date()), weekday=self.weekday_label(slot.local)
        )
        if unit == "day":
            return day
        until = datetime.fromtimestamp(slot.until, slot.local.tzinfo)
        return f"{day} {slot.local:%H:%M}–{until:%H:%M}"

    def visit_count(self, count: Count) -> str:
        """How many came, marked as a minimum where it is one."""
        return f"{self.text('least') if count.is_minimum else ''}{count.came:,}"

    def share_text(self, share: float | None) -> str:
        return "–" if share is None else percent(share)

    def headline(self, analysis: Analysis) -> str:
        total = analysis.total
        if not total.came and total.share == 0:
            return self.text("came-unknown")
        key = "came-total-least" if total.is_minimum else "came-total"
        return self.text(key, count=f"{total.came:,}")

    def coverage_text(self, analysis: Analysis) -> str:
        share = analysis.total.share
        if share is None:
            return self.text("unknown-share")
        always = "" if self._centre.hours else "-always"
        return self.text(
            f"covered-{'part' if share < 1 else 'whole'}{always}", share=self.share_text(share)
        )

    def visitor_classes_text(self, analysis: Analysis) -> str:
        total = analysis.total
        if not total.came:
            return self.text("nobody") if total.share else ""
        if not total.tours:
            return self.text("classes-none")
        return self.text("classes", activity=f"{total.activity:,}", tours=f"{total.tours:,}")

    def comparison_text(self, analysis: Analysis, comparison: Comparison) -> str:
        """`比上周同期多 12%（上周同期为 1,100 人次）。`"""
        tense = "now" if comparison.running else "when"
        when = self.text(f"{tense}-{analysis.period.unit or 'days'}-{comparison.against}")
        sentences = self._change_text("", comparison.change, when=when, came=f"{comparison.came:,}")
        if analysis.period.unit != "day" and comparison.change and comparison.mean_change is not None:
            sentences += self._change_text("mean-", comparison.mean_change)
        sentences += self.text("sure" if comparison.sure else "unsure")
        return sentences[:1].upper() + sentences[1:]

    def _change_text(self, prefix: str, change: float | None, **facts: object) -> str:
        if change is None:
            return self.text("then-nobody", **facts)
        percent = f"{abs(change):.0%}" if abs(change) < 10 else f"{abs(change):,.0%}"
        how = "same" if abs(change) < 0.005 else "more" if change > 0 else "fewer"
        return self.text(prefix + how, percent=percent, **facts)

    def peak_texts(self, kind: str, peak: Peak) -> tuple[str, str, str]:
        """The name of the peak, its time, and its count."""
        key = "people" if kind == "inside" else "visits"
        return (
            self.text(f"peak-{kind}"),
            self.slot_time("quarter" if kind == "inside" else kind, peak.slot),
            self.text(key, count=f"{peak.count:,}"),
        )

    def stay_text(self, stay: Stay) -> str:
        return self.text("stay", minutes=f"{stay.minutes:.0f}")

    def remarks(self, analysis: Analysis) -> list[str]:
        """Restrictions of the figures that a reader must know."""
        sentences = []
        if analysis.since is None:
            sentences.append(self.text("none"))
        else:
            first_day = datetime.fromtimestamp(analysis.since, self.zone).date()
            if first_day > analysis.period.since:
                sentences.append(self.text("begins", date=first_day))
        if analysis.unheard:
            names = self.text("comma").join(map(self.counter_title, analysis.unheard))
            sentences.append(self.text("unheard", names=names))
        if analysis.undated:
            sentences.append(self.text("undated", count=analysis.undated))
        if analysis.behind:
            sentences.append(self.text("behind"))
        return sentences

    def summary_table(self, analysis: Analysis) -> ReportTable:
        total = analysis.total
        rows: list[list[Cell]] = [
            [self.text("place"), self.place_title(analysis.place)],
            [self.text("period"), self.period_title(analysis.period)],
            [self.text("came"), total.came],
            [self.text("went"), total.went],
            [self.text("activity"), total.activity],
            [self.text("tours"), total.tours],
            [self.text("share"), _as_share(total.share)],
        ]
        rows += [
            [what, f"{when}{self.text('comma')}{count}"]
            for what, when, count in (self.peak_texts(*each) for each in analysis.peaks.items())
        ]
        rows += [
            [self.text("compared"), self.comparison_text(analysis, each)] for each in analysis.comparisons
        ]
        if analysis.stay:
            rows.append([self.stay_text(analysis.stay), self.text("stay-how", days=analysis.stay.days)])
        rows += [["", remark] for remark in (self.coverage_text(analysis), *self.remarks(analysis))]
        return ReportTable("summary", self.text("summary"), [self.text("figure"), self.text("value")], rows)

    def bars_table(self, unit: str, bars: Sequence[Bar], key: str = "bars") -> ReportTable:
        """One row per slot that has begun."""
        timed = unit in ("quarter", "hour")
        named = "weekday" if timed or unit == "day" else "period"
        heads = ["date-head", named, *(["time"] if timed else [])]
        counts = ["came", "went", "activity", "tours", "share", "least-head"]
        rows: list[list[Cell]] = [
            [
                bar.slot.local.date(),
                self.weekday_label(bar.slot.local)
                if named == "weekday"
                else self.slot_label(unit, bar.slot),
                *([f"{bar.slot.local:%H:%M}"] if timed else []),
                *self._count_cells(bar.count),
            ]
            for bar in bars
            if not bar.future
        ]
        return ReportTable(key, self.text(key), [self.text(head) for head in (*heads, *counts)], rows)

    def _count_cells(self, count: Count) -> list[Cell]:
        least = self.text("least") if count.is_minimum else ""
        return [count.came, count.went, count.activity, count.tours, _as_share(count.share), least]

    def places_table(self, analysis: Analysis) -> ReportTable:
        heads = ("place", "came", "went", "activity", "tours", "share", "least-head")
        rows: list[list[Cell]] = [
            [self.place_title(name), *self._count_cells(count)] for name, count in analysis.places.items()
        ]
        return ReportTable("places", self.text("places"), [self.text(head) for head in heads], rows)

    def heat_table(self, analysis: Analysis) -> ReportTable:
        """Mean visits by weekday (rows) and hour (columns)."""
        rows: list[list[Cell]] = [
            [self.text(f"weekday-{number}"), *(None if c.mean is None else round(c.mean, 1) for c in row)]
            for number, row in enumerate(analysis.heat)
        ]
        heads = [self.text("weekday"), *(f"{hour}:00" for hour in range(24))]
        return ReportTable("heat", self.text("heat"), heads, rows)

    def occupancy_table(self, analysis: Analysis) -> ReportTable:
        """How many people were inside, and when."""
        rows: list[list[Cell]] = [
            [local.date(), f"{local:%H:%M}", level.inside]
            for level in analysis.levels
            for local in [datetime.fromtimestamp(level.at, self.zone)]
        ]
        return ReportTable(
            "inside", self.text("inside"), [*map(self.text, ("date-head", "time", "inside"))], rows
        )

    def weekday_table(self, analysis: Analysis) -> ReportTable:
        """The mean visits of each weekday."""
        rows: list[list[Cell]] = [
            [self.text(f"weekday-{number}"), None if mean is None else round(mean, 1)]
            for number, mean in enumerate(analysis.week)
        ]
        return ReportTable("week", self.text("week-mean"), [self.text("weekday"), self.text("mean")], rows)

    def record_tables(self, analysis: Analysis) -> list[ReportTable]:
        """The tables of activities, opening hours, corrections, drift, and times without counting."""
        kinds = {
            "attendance": (
                "date-head time activity-title class place expected present left peak", self._attendance_row
            ),
            "opening-day": ("date-head published opened closed late early", self._opening_row),
            "visitor-corrected": ("date-head time place before now by", self._correction_row),
            "visitor-drift": ("date-head place came went left-over unseen drift-share", self._drift_row),
        }  # fmt: skip
        tables = []
        for kind, (heads, row) in kinds.items():
            rows = [
                row(datetime.fromtimestamp(each.at / 1000, self.zone), each.body)
                for each in analysis.stored_facts
                if each.kind == kind
            ]
            key = kind.partition("-")[2] or kind
            key = "opening" if key == "day" else key
            tables.append(
                ReportTable(key, self.text(key), [self.text(head) for head in heads.split()], rows)
            )
        return [*tables, self._gaps_table(analysis)]

    def _attendance_row(self, at: datetime, body: dict[str, object]) -> list[Cell]:
        since, until = (self._clock_time(body.get(key)) for key in ("from", "until"))
        began = _local_time(body.get("from"), self._centre) or at
        room = str(body.get("room") or "")
        return [
            began.date(),
            f"{since}–{until}",
            str(body.get("title", "")),
            self.text(f"class-{body.get('class', 'activity')}"),
            self.place_title(f"room.{room}") if room else self.place_title(CENTRE),
            *(_as_number(body.get(key)) for key in ("expected", "came", "left", "peak")),
        ]

    def _clock_time(self, wall: object) -> str:
        local = _local_time(wall, self._centre)
        return f"{local:%H:%M}" if local else "?"

    def _opening_row(self, at: datetime, body: dict[str, object]) -> list[Cell]:
        published = body.get("published")
        spans = published if isinstance(published, list) else []
        day = str(body.get("day", ""))
        return [
            date.fromisoformat(day) if day else at.date(),
            " ".join(f"{span[0]}–{span[1]}" for span in spans),
            str(body.get("opened") or ""),
            str(body.get("closed") or ""),
            _as_number(body.get("late")),
            _as_number(body.get("early")),
        ]

    def _drift_row(self, at: datetime, body: dict[str, object]) -> list[Cell]:
        room = str(body.get("room") or "")
        return [
            at.date(),
            self.place_title(f"room.{room}") if room else self.place_title(CENTRE),
            *(_as_number(body.get(key)) for key in ("in", "out", "inside", "unseen")),
            _as_share(_as_number(body.get("share"))),
        ]

    def _correction_row(self, at: datetime, body: dict[str, object]) -> list[Cell]:
        room = str(body.get("room") or "")
        return [
            at.date(),
            f"{at:%H:%M}",
            self.place_title(f"room.{room}") if room else self.place_title(CENTRE),
            *(_as_number(body.get(key)) for key in ("before", "inside")),
            str(body.get("by", "")),
        ]

    def _gaps_table(self, analysis: Analysis) -> ReportTable:
        heads = [self.text(head) for head in ("from", "until", "counter", "reason")]
        rows: list[list[Cell]] = [
            [
                self._date_time(since),
                self._date_time(until),
                self.counter_title(counter),
                self.text(f"why-{why}"),
            ]
            for since, until, counter, why in analysis.lost
        ]
        return ReportTable("lost", self.text("lost"), heads, rows)

    def _date_time(self, at: int) -> str:
        return f"{datetime.fromtimestamp(at, self.zone):%Y-%m-%d %H:%M}" if at else "–"


def _local_time(wall: object, centre: CentreLayout) -> datetime | None:
    return datetime.fromtimestamp(wall / 1000, centre.zone) if isinstance(wall, int) else None


def _as_number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _as_share(value: float | None) -> Share | None:
    return None if value is None else Share(value)


def percent(share: float) -> str:
    """Rounded down, so that 100% means that nothing is missing."""
    return f"{int(share * 1000) / 10:g}%"


def cell_text(cell: Cell) -> str:
    """The text of a cell, for terminal and paper."""
    if cell is None:
        return "–"
    return percent(cell) if isinstance(cell, Share) else str(cell)
