"""Evaluates running totals: how many people passed since the last one.

Totals roll over, restart (after a power cut, or daily with many makes), arrive late or twice, and sometimes
one is wrong. From a single inconsistent total it cannot be decided which of these it is. So it stays
unconfirmed: nothing is counted, and nothing is lost, until the next totals have shown what it was. Where
they cannot, the smallest plausible number is counted.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from gateway.model import FAILURES_UNTIL_OFFLINE, Fact, Sample, Stamp

from . import facts
from .counters import (
    DAY_S,
    EXTRA_PEOPLE,
    MAX_REMEMBERED_TOTALS,
    MAX_UNCONFIRMED_JUMP,
    Counter,
    CounterProperties,
    CounterReading,
    InOutCount,
    PassedCount,
    UnconfirmedTotal,
    count_value,
    max_plausible_count,
    time_value,
    with_consistency,
    with_trusted_total,
)

ROLLOVER_RANGE_PARTS = 8
"""A total that falls rolled over if it was in the last 1/8 of its range; else it restarted."""
COMMON_COUNTER_RANGES = 1 << 8, 10_000, 1 << 16, 100_000, 1_000_000, 1 << 24
"""The ranges of counters whose profile has none."""
MAX_NEGLIGIBLE_PEOPLE = 3
"""So few are reported without an interval, however long ago the last reading was."""
MAX_LATENESS_S = 6 * 3600.0
"""Totals from before a restart may arrive for so long."""
MIN_NEXT_READING_INTERVALS = 0.9
"""A reading after that share of the reading interval is the next one, and no repetition."""
MIN_CONFIRMING_READINGS, MIN_UNCONFIRMED_S = 3, 30.0
"""An unconfirmed total is persistent after so many readings, and so long after two reading intervals."""
MIN_REPORTED_INTERVAL_S = 300.0
"""So long after the last reading, people are reported with the interval in which they passed."""


def read_total(
    counter: Counter, sample: Sample, properties: CounterProperties, last_read: Stamp
) -> CounterReading:
    """Evaluate a running total. `last_read` is when the last trusted one was read."""
    if (
        counter.restarted_at
        and sample.at.seconds_since(counter.restarted_at, if_unknown=0.0) > MAX_LATENESS_S
    ):
        counter = _replace(counter, totals_before_restart=(), restarted_at=None)
    evaluation = _TotalEvaluation(counter, sample, properties, last_read)
    came, left = evaluation.reported_totals()
    if came is None or left is None:
        return CounterReading(_replace(counter, first_total=(came, left)))
    totals = came, left
    if counter.total is None:
        return CounterReading(with_trusted_total(counter, totals, sample))
    return evaluation.evaluate(totals)


def passed_between(before: InOutCount, after: InOutCount, wraps: InOutCount) -> InOutCount | None:
    """How many passed between two totals of a counter, roll-overs included; None if a total has fallen."""
    passed = []
    for old, new, range_ in zip(before, after, wraps, strict=True):
        rolled = new < old < range_ and range_ - old <= range_ // ROLLOVER_RANGE_PARTS
        passed.append(new - old + range_ if rolled else new - old)
    return (passed[0], passed[1]) if min(passed) >= 0 else None


class _TotalEvaluation:
    """Evaluates the totals of one sample against the state of its counter."""

    def __init__(
        self, counter: Counter, sample: Sample, properties: CounterProperties, last_read: Stamp
    ) -> None:
        self._counter = counter
        self._total = counter.total or (0, 0)
        self._sample = sample
        self._at = sample.at
        self._properties = properties
        self._last_read = last_read

    def reported_totals(self) -> tuple[int | None, int | None]:
        """The totals of the sample; a missing one is taken to be unchanged, if it is known."""
        counter, has = self._counter, self._properties.has_in_out
        known = counter.total
        if (
            known
            and counter.unconfirmed
            and self._passed_if_consistent(known, counter.unconfirmed.last, self._last_read) is None
        ):
            known = counter.unconfirmed.last
        first = [total if has_it else 0 for total, has_it in zip(counter.first_total, has, strict=True)]
        values = [count_value(self._sample.values.get(name)) for name in ("in", "out")]
        came, left = (old if new is None else new for new, old in zip(values, known or first, strict=True))
        return came, left

    def evaluate(self, totals: InOutCount) -> CounterReading:
        """Decide what the totals mean."""
        counter, at = self._counter, self._at
        passed = self._passed_if_consistent(self._total, totals, self._last_read)
        max_count = min(
            max_plausible_count(at.seconds_since(self._last_read)),
            max(MAX_UNCONFIRMED_JUMP, self._max_usual_count(self._last_read)),
        )
        if passed is None or max(passed) > (0 if self._may_predate_restart(totals, passed) else max_count):
            return self._evaluate_unconfirmed(totals)
        counter = _replace(self._with_consistency(), unconfirmed=None)
        if not any(passed):
            return CounterReading(counter)
        return CounterReading(
            with_trusted_total(counter, totals, self._sample), _passed_since(self._last_read, at, passed)
        )

    def _with_consistency(self) -> Counter:
        """The counter, now that its trusted total goes on: what is unconfirmed is of another count, unless
        the counter once had that total."""
        counter, unconfirmed = self._counter, self._counter.unconfirmed
        paths = counter.totals_before_restart, counter.recent_totals
        is_consistent = unconfirmed is None or any(
            self._was_passed_through(path, unconfirmed.last) for path in paths
        )
        return with_consistency(counter, is_consistent=is_consistent)

    def _passed_if_consistent(
        self, before: InOutCount, totals: InOutCount, since: Stamp
    ) -> InOutCount | None:
        """How many passed between two totals; None if they are inconsistent. If both directions fall at
        once it is a restart, unless both were about to roll over."""
        passed = passed_between(before, totals, self._properties.wraps) or self._passed_after_rollover(
            before, totals, since
        )
        low = [new < old for old, new in zip(before, totals, strict=True)]
        if passed and any(low) and max(passed) > max_plausible_count(self._at.seconds_since(since)):
            return None
        # A total near 0 does not show a restart.
        silent = [fell or old <= EXTRA_PEOPLE for old, fell in zip(before, low, strict=True)]
        if passed and any(low) and all(silent):
            missing = max(came - new for came, new in zip(passed, totals, strict=True))
            # A counter that was offline for long probably lost its power.
            if missing > MAX_NEGLIGIBLE_PEOPLE + self._twice_mean_count(
                min(self._reading_intervals(since), 1 + FAILURES_UNTIL_OFFLINE)
            ):
                return None
        return passed

    def _passed_after_rollover(
        self, before: InOutCount, totals: InOutCount, since: Stamp
    ) -> InOutCount | None:
        """How many passed where one direction fell and the other did not: a roll-over at a common range
        that the profile does not state."""
        fallen = [new < old for old, new in zip(before, totals, strict=True)]
        if sum(fallen) != 1 or before[fallen.index(False)] <= EXTRA_PEOPLE:
            return None
        last = before[fallen.index(True)]
        width = next(
            (width for width in COMMON_COUNTER_RANGES if 0 < width - last <= width // ROLLOVER_RANGE_PARTS),
            0,
        )
        came, left = (
            new - old + width * fell for old, new, fell in zip(before, totals, fallen, strict=True)
        )
        return (
            (came, left)
            if 0
            <= min(came, left)
            <= max(came, left)
            <= MAX_NEGLIGIBLE_PEOPLE + self._max_usual_count(since)
            else None
        )

    def _max_usual_count(self, since: Stamp) -> float:
        """How many pass in that time at the rate of the busiest recent interval."""
        return max(self._recent_increments(), default=0) * self._reading_intervals(since)

    def _twice_mean_count(self, intervals: float) -> float:
        """Twice the mean count of so many reading intervals."""
        steps = self._recent_increments()
        return 2 * intervals * sum(steps) / max(1, len(steps))

    def _recent_increments(self) -> list[int]:
        """How many passed between recent readings."""
        paths = self._counter.totals_before_restart, self._counter.recent_totals
        pairs = [step for path in paths for step in pairwise(path)]
        return [
            round(min(MAX_UNCONFIRMED_JUMP, max(passed_between(*step, self._properties.wraps) or (0, 0))))
            for step in pairs
        ]

    def _reading_intervals(self, since: Stamp) -> float:
        return 1 + self._at.seconds_since(since, if_unknown=0.0) / self._properties.interval_s

    def _may_predate_restart(self, totals: InOutCount, increase: InOutCount) -> bool:
        """Whether a total above the trusted one may be from before the restart: it arrived late, or there
        was no restart, and the total is back."""
        past = self._counter.totals_before_restart
        late = (
            self._was_passed_through(past, totals)
            if max(increase) > MAX_NEGLIGIBLE_PEOPLE
            else totals in past
        )
        return late or self._passed_if_never_restarted(totals, increase) is not None

    def _passed_if_never_restarted(
        self, totals: InOutCount, increase: InOutCount | None
    ) -> InOutCount | None:
        """How many passed since the totals before the restart, if the counter did not restart after all:
        the total returns there at once, by more than usually pass, or from a value at which no counter
        starts."""
        past, max_count = (
            self._counter.totals_before_restart,
            EXTRA_PEOPLE + self._max_usual_count(self._last_read),
        )
        back = passed_between(past[-1], totals, self._properties.wraps) if past else None
        if back is None or max(back) > max_count or max(back) >= max(increase or totals):
            return None
        if increase and max(back) <= MAX_NEGLIGIBLE_PEOPLE:
            max_count = MAX_NEGLIGIBLE_PEOPLE + self._twice_mean_count(
                self._reading_intervals(self._last_read)
            )
        return back if max(increase or self._counter.recent_totals[0]) > max_count else None

    def _was_passed_through(self, path: tuple[InOutCount, ...], totals: InOutCount) -> bool:
        """Whether the counter had these totals at a reading, or between two readings."""
        return totals in path or any(
            _is_between(*step, totals, self._properties.wraps) for step in pairwise(path)
        )

    def _was_measured_earlier(self) -> bool:
        """Whether the sample was measured before the trusted total by the counter's own clock. If it was
        more than a day before, that clock was set back."""
        measured, last = time_value(self._sample, "time"), self._counter.measured_at_ms
        return bool(measured and last and 0 < last - round(measured.timestamp() * 1000) < DAY_S * 1000)

    def _evaluate_unconfirmed(self, totals: InOutCount) -> CounterReading:
        """Evaluate a total that is inconsistent with the trusted one, together with earlier unconfirmed
        ones. Once those are confirmed they are accepted, and the newest is evaluated against them."""
        at, unconfirmed = self._at, self._counter.unconfirmed
        growth = (
            self._passed_if_consistent(unconfirmed.last, totals, unconfirmed.at) if unconfirmed else None
        )
        if (
            unconfirmed is None
            or growth is None
            or max(growth) > max_plausible_count(at.seconds_since(unconfirmed.at))
        ):
            increase = self._passed_if_consistent(self._total, totals, self._last_read)
            late = self._was_passed_through(
                (*self._counter.totals_before_restart, *self._counter.recent_totals), totals
            )
            is_implausible = (
                increase is not None
                and not late
                and max(increase) > max_plausible_count(at.seconds_since(self._last_read))
            )
            new_facts = (
                (self._implausible_fact(totals),)
                if is_implausible and not (unconfirmed and unconfirmed.is_implausible)
                else ()
            )
            return self._keep_unconfirmed(
                UnconfirmedTotal(totals, totals, at, at, is_implausible=is_implausible), new_facts
            )
        more = _replace(unconfirmed, last=totals, at=at, readings=unconfirmed.readings + 1)
        if not self._is_confirmed(unconfirmed, more):
            return self._keep_unconfirmed(more)
        accepted = self._accept_unconfirmed(unconfirmed)
        newest = _TotalEvaluation(
            accepted.counter, self._sample, self._properties, unconfirmed.at
        ).evaluate(totals)
        first, second = (reading.passed or PassedCount(0, 0) for reading in (accepted, newest))
        passed = first.came + second.came, first.left + second.left
        return CounterReading(
            newest.counter,
            _passed_since(self._last_read, at, passed),
            (*accepted.facts, *newest.facts),
            newest.why,
        )

    def _keep_unconfirmed(
        self, unconfirmed: UnconfirmedTotal, new_facts: tuple[Fact, ...] = ()
    ) -> CounterReading:
        why = "implausible" if unconfirmed.is_implausible or self._is_persistent(unconfirmed) else ""
        return CounterReading(_replace(self._counter, unconfirmed=unconfirmed), None, new_facts, why)

    def _is_persistent(self, unconfirmed: UnconfirmedTotal) -> bool:
        seconds = self._at.seconds_since(unconfirmed.since)
        long = seconds is None or seconds >= MIN_UNCONFIRMED_S + 2 * self._properties.interval_s
        return long and unconfirmed.readings >= MIN_CONFIRMING_READINGS

    def _is_confirmed(self, unconfirmed: UnconfirmedTotal, more: UnconfirmedTotal) -> bool:
        """Whether the unconfirmed totals are confirmed by one more that is consistent with them."""
        lasting, grown = self._is_persistent(more), more.last != unconfirmed.first
        if self._was_measured_earlier():
            return lasting
        increase = self._passed_if_consistent(self._total, unconfirmed.last, self._last_read)
        intervals = self._at.seconds_since(unconfirmed.since, if_unknown=0.0) / self._properties.interval_s
        if increase is not None:
            return intervals >= MIN_NEXT_READING_INTERVALS or not self._may_predate_restart(
                unconfirmed.last, increase
            )
        if not self._was_passed_through(
            (*self._counter.totals_before_restart, *self._counter.recent_totals), unconfirmed.last
        ):
            return grown or lasting
        # Late totals arrive in a burst, or between current ones.
        steady = (
            grown
            and more.readings >= MIN_CONFIRMING_READINGS
            and intervals >= 2 * MIN_NEXT_READING_INTERVALS
        )
        return (lasting or steady) and not self._trusted_total_was_too_high(unconfirmed.last)

    def _trusted_total_was_too_high(self, totals: InOutCount) -> bool:
        """Whether the trusted total, far above the one before, may have been wrong: the totals now are
        between the two. They are counted again once they exceed it, so that nobody is counted twice."""
        last = self._counter.recent_totals[-2:]
        jump = passed_between(last[0], last[-1], self._properties.wraps)
        return jump is not None and max(jump) > EXTRA_PEOPLE and self._was_passed_through(last, totals)

    def _accept_unconfirmed(self, unconfirmed: UnconfirmedTotal) -> CounterReading:
        """Accept unconfirmed totals: as an increase by many people, as a restart, or as another counter."""
        continued = _replace(
            with_trusted_total(self._counter, unconfirmed.last, self._sample), at=unconfirmed.at
        )
        past = (*self._counter.totals_before_restart, *self._counter.recent_totals)[
            -2 * MAX_REMEMBERED_TOTALS :
        ]
        restarted_counter = _replace(
            continued, totals_before_restart=past, restarted_at=self._at, recent_totals=(unconfirmed.last,)
        )
        increase = self._passed_if_consistent(self._total, unconfirmed.last, self._last_read)
        first = self._passed_if_consistent(self._total, unconfirmed.first, self._last_read) or increase
        grown = PassedCount(
            *(passed_between(unconfirmed.first, unconfirmed.last, self._properties.wraps) or (0, 0))
        )
        new_facts = () if unconfirmed.is_implausible else (self._implausible_fact(unconfirmed.first),)
        if back := self._passed_if_never_restarted(unconfirmed.last, increase):
            # Who was counted since the supposed restart had been counted before.
            path = (*self._counter.totals_before_restart, unconfirmed.last)[-MAX_REMEMBERED_TOTALS:]
            came, left = (max(0, now - counted) for now, counted in zip(back, self._total, strict=True))
            return CounterReading(
                _replace(continued, recent_totals=path, totals_before_restart=(), restarted_at=None),
                PassedCount(came, left),
                new_facts,
            )
        possible = max_plausible_count(unconfirmed.since.seconds_since(self._last_read))
        usual = EXTRA_PEOPLE + self._max_usual_count(self._last_read)
        if increase is None and max(unconfirmed.first) <= possible:
            unknown = self._last_read.wall_if_set, unconfirmed.since.wall_if_set
            restarted = facts.counter_restarted(
                self._sample.device, self._at, self._total, unconfirmed.first, unknown
            )
            return CounterReading(
                restarted_counter,
                grown
                if self._continued_from_saved_total(unconfirmed.first)
                else PassedCount(*unconfirmed.last),
                (restarted,),
            )
        if increase is None or max(increase) > max_plausible_count(
            unconfirmed.at.seconds_since(self._last_read)
        ):
            # The counter was replaced or set by hand: only its counts since then are known.
            return CounterReading(restarted_counter, grown, new_facts)
        if first and max(first) > usual and self._may_predate_restart(unconfirmed.last, increase):
            return CounterReading(continued, grown, new_facts)
        return CounterReading(continued, PassedCount(*increase))

    def _continued_from_saved_total(self, first: InOutCount) -> bool:
        """Whether a counter restarted from a total that it had saved a while ago: the total is larger than
        what can have passed since, with a lower threshold if the counter had that total before."""
        if not self._was_passed_through(self._counter.recent_totals, first):
            return max(first) > 2 * (EXTRA_PEOPLE + self._max_usual_count(self._last_read))
        return max(first) > MAX_NEGLIGIBLE_PEOPLE + self._twice_mean_count(
            self._reading_intervals(self._last_read)
        )

    def _implausible_fact(self, totals: InOutCount) -> Fact:
        body = {"before": list(self._total), "after": list(totals)}
        return facts.counter_implausible(self._sample.device, self._at, body)


def _is_between(before: InOutCount, after: InOutCount, totals: InOutCount, wraps: InOutCount) -> bool:
    whole, first, second = (
        passed_between(before, after, wraps),
        passed_between(before, totals, wraps),
        passed_between(totals, after, wraps),
    )
    if whole is None or first is None or second is None:
        return False
    return (first[0] + second[0], first[1] + second[1]) == whole


def _passed_since(last_read: Stamp, at: Stamp, passed: InOutCount) -> PassedCount | None:
    if not any(passed):
        return None
    seconds, since, until = at.seconds_since(last_read), last_read.wall_if_set, at.wall_if_set
    long = max(passed) > MAX_NEGLIGIBLE_PEOPLE and (seconds is None or seconds >= MIN_REPORTED_INTERVAL_S)
    span = (since, until) if long and since and until and since < until else None
    return PassedCount(*passed, span)


_replace = msgspec.structs.replace
