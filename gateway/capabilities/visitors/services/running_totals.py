"""Running totals, turned into who has passed since the last one.

Totals roll over, begin anew (a restart, the daily reset of many makes), come late or twice, and now and
then one is plain wrong. Of a single total that does not follow from the last one nobody can tell which of
these it is. So it is held in doubt: nothing is counted, and nothing is lost, until those that come next
have shown what it was. Where even they cannot, the least is counted that may be true.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from gateway.model import MISSES_UNTIL_OFFLINE, Fact, Sample, Stamp

from . import facts
from .counters import (
    AT_ONCE,
    DAY,
    PATH,
    SLACK,
    Counter,
    Doubt,
    Meter,
    Pair,
    Passed,
    Reading,
    moment,
    plausible,
    rebased,
    whole,
)

NEAR = 8
"""A total that has rolled over was in the last of so many parts of its range, else it was restarted."""
WIDTHS = 1 << 8, 10_000, 1 << 16, 100_000, 1_000_000, 1 << 24
"""Where counters roll over that do not say where."""
FEW = 3
"""So many are told of as just now, however long ago the last reading was."""
LATE = 6 * 3600.0
"""Seconds after a restart in which totals of before it may still come."""
NEXT = 0.9
"""Part of the time between two readings after which one is the next, and not the same once more."""
ENOUGH, PATIENCE = 3, 30.0
"""Readings, and seconds beyond twice the time between two of them, after which a doubt has lasted."""
LUMP = 300.0
"""Seconds since the last reading from which on it is told that they passed within a span of time."""


def read_total(counter: Counter, sample: Sample, meter: Meter, heard: Stamp) -> Reading:
    """Take in a running total. `heard` is when the last trusted one was read."""
    if counter.began and sample.at.seconds_since(counter.began, unknown=0.0) > LATE:
        counter = _replace(counter, past=(), began=None)
    case = _Case(counter, sample, meter, heard)
    pair = case.told()
    if pair is None:
        return Reading(counter)
    if counter.total is None:
        return Reading(rebased(counter, pair, sample))
    return case.judged(pair)


def ahead(before: Pair, after: Pair, wraps: Pair) -> Pair | None:
    """What passed between two totals of a counter that has gone on; None if it has not."""
    passed = []
    for old, new, range_ in zip(before, after, wraps, strict=True):
        rolled = new < old < range_ and range_ - old <= range_ // NEAR
        passed.append(new - old + range_ if rolled else new - old)
    return (passed[0], passed[1]) if min(passed) >= 0 else None


class _Case:
    """A message, and what is known of its counter."""

    def __init__(self, counter: Counter, sample: Sample, meter: Meter, heard: Stamp) -> None:
        self._counter = counter
        self._total = counter.total or (0, 0)
        self._sample = sample
        self._at = sample.at
        self._meter = meter
        self._heard = heard

    def told(self) -> Pair | None:
        """The totals of the message. One that it does not tell is where it was, if that is known."""
        counter, has = self._counter, self._meter.has
        known = counter.total
        if known and counter.doubt and self._follows(known, counter.doubt.last, self._heard) is None:
            known = counter.doubt.last
        last: tuple[int | None, int | None] = known or (None if has[0] else 0, None if has[1] else 0)
        values = [whole(self._sample.values.get(name)) for name in ("in", "out")]
        came, left = (old if new is None else new for new, old in zip(values, last, strict=True))
        return None if came is None or left is None else (came, left)

    def judged(self, pair: Pair) -> Reading:
        """What totals mean."""
        counter, at = self._counter, self._at
        passed = self._follows(self._total, pair, self._heard)
        most = min(plausible(at.seconds_since(self._heard)), max(AT_ONCE, self._usual(self._heard)))
        if passed is None or max(passed) > (0 if self._is_past(pair, passed) else most):
            return self._doubtful(pair)
        if not any(passed):
            return Reading(counter if counter.doubt is None else _replace(counter, doubt=None))
        return Reading(rebased(counter, pair, self._sample), _since(self._heard, at, passed))

    def _follows(self, before: Pair, pair: Pair, since: Stamp) -> Pair | None:
        """What passed between two totals; None if the one does not follow from the other. Two that fall at
        once have begun anew: that both rolled over is believed where both were about to."""
        passed = ahead(before, pair, self._meter.wraps) or self._rolled(before, pair, since)
        low = [new < old for old, new in zip(before, pair, strict=True)]
        if passed and any(low) and max(passed) > plausible(self._at.seconds_since(since)):
            return None
        # One that was near nought tells nothing of a restart.
        silent = [fell or old <= SLACK for old, fell in zip(before, low, strict=True)]
        if passed and any(low) and all(silent):
            missing = max(came - new for came, new in zip(passed, pair, strict=True))
            # A counter that is away for long has lost its power.
            if missing > FEW + self._typical(min(self._intervals(since), 1 + MISSES_UNTIL_OFFLINE)):
                return None
        return passed

    def _rolled(self, before: Pair, pair: Pair, since: Stamp) -> Pair | None:
        """What passed where one total fell and the other went on: no restart, but a roll-over where the
        profile does not say that there is one."""
        fallen = [new < old for old, new in zip(before, pair, strict=True)]
        if sum(fallen) != 1 or before[fallen.index(False)] <= SLACK:
            return None
        last = before[fallen.index(True)]
        width = next((width for width in WIDTHS if 0 < width - last <= width // NEAR), 0)
        came, left = (new - old + width * fell for old, new, fell in zip(before, pair, fallen, strict=True))
        return (came, left) if 0 <= min(came, left) <= max(came, left) <= FEW + self._usual(since) else None

    def _usual(self, since: Stamp) -> float:
        """How many may pass in that time if it goes on like the busiest interval of late."""
        return max(self._steps(), default=0) * self._intervals(since)

    def _typical(self, intervals: float) -> float:
        """Twice the mean of so many intervals."""
        steps = self._steps()
        return 2 * intervals * sum(steps) / max(1, len(steps))

    def _steps(self) -> list[int]:
        """How many passed between readings of late."""
        paths = self._counter.past, self._counter.path
        pairs = [step for path in paths for step in pairwise(path)]
        return [round(min(AT_ONCE, max(ahead(*step, self._meter.wraps) or (0, 0)))) for step in pairs]

    def _intervals(self, since: Stamp) -> float:
        return 1 + self._at.seconds_since(since, unknown=0.0) / self._meter.every

    def _is_past(self, pair: Pair, leap: Pair) -> bool:
        """Whether a total above the trusted one may be of before the restart: it comes late, or there was
        no restart, and it is back where it was."""
        past = self._counter.past
        late = self._on_path(past, pair) if max(leap) > FEW else pair in past
        return late or self._back(pair, leap) is not None

    def _back(self, pair: Pair, leap: Pair | None) -> Pair | None:
        """What has passed since the end of what was before, if the counter never began anew: it is back
        there at once, from nought by more than usually pass, or from where no counter begins."""
        past, most = self._counter.past, SLACK + self._usual(self._heard)
        back = ahead(past[-1], pair, self._meter.wraps) if past else None
        if back is None or max(back) > most or max(back) >= max(leap or pair):
            return None
        if leap and max(back) <= FEW:
            most = FEW + self._typical(self._intervals(self._heard))
        return back if max(leap or self._counter.path[0]) > most else None

    def _on_path(self, path: tuple[Pair, ...], pair: Pair) -> bool:
        """Whether the total has stood there, or between two readings."""
        return pair in path or any(_is_between(*step, pair, self._meter.wraps) for step in pairwise(path))

    def _is_old(self) -> bool:
        """Whether it says itself that it was measured before. A day before, its clock was put back."""
        measured, last = moment(self._sample, "time"), self._counter.time
        return bool(measured and last and 0 < last - measured.timestamp() * 1000 < DAY * 1000)

    def _doubtful(self, pair: Pair) -> Reading:
        """A total that does not follow from the trusted one, with those before it that did not either. Once
        they are proved, what they say is believed but for the newest, which is judged by them."""
        at, doubt = self._at, self._counter.doubt
        growth = self._follows(doubt.last, pair, doubt.at) if doubt else None
        if doubt is None or growth is None or max(growth) > plausible(at.seconds_since(doubt.at)):
            leap = self._follows(self._total, pair, self._heard)
            late = self._on_path((*self._counter.past, *self._counter.path), pair)
            absurd = leap is not None and not late and max(leap) > plausible(at.seconds_since(self._heard))
            told = (self._implausible(pair),) if absurd and not (doubt and doubt.absurd) else ()
            return self._waiting(Doubt(pair, pair, at, at, absurd=absurd), told)
        more = _replace(doubt, last=pair, at=at, readings=doubt.readings + 1)
        if not self._is_proved(doubt, more):
            return self._waiting(more)
        believed = self._believed(doubt)
        newest = _Case(believed.counter, self._sample, self._meter, doubt.at).judged(pair)
        first, second = (reading.passed or Passed(0, 0) for reading in (believed, newest))
        passed = first.came + second.came, first.left + second.left
        return Reading(
            newest.counter,
            _since(self._heard, at, passed),
            (*believed.facts, *newest.facts),
            newest.why,
        )

    def _waiting(self, doubt: Doubt, told: tuple[Fact, ...] = ()) -> Reading:
        why = "implausible" if doubt.absurd or self._has_lasted(doubt) else ""
        return Reading(_replace(self._counter, doubt=doubt), None, told, why)

    def _has_lasted(self, doubt: Doubt) -> bool:
        seconds = self._at.seconds_since(doubt.since)
        long = seconds is None or seconds >= PATIENCE + 2 * self._meter.every
        return long and doubt.readings >= ENOUGH

    def _is_proved(self, doubt: Doubt, more: Doubt) -> bool:
        """Whether those in doubt are true, as yet another one follows from them."""
        lasting, grown = self._has_lasted(more), more.last != doubt.first
        if self._is_old():
            return lasting
        leap = self._follows(self._total, doubt.last, self._heard)
        intervals = self._at.seconds_since(doubt.since, unknown=0.0) / self._meter.every
        if leap is not None:
            return intervals >= NEXT or not self._is_past(doubt.last, leap)
        if not self._on_path((*self._counter.past, *self._counter.path), doubt.last):
            return grown or lasting
        # Late ones come in a burst, or between others that are not.
        steady = grown and more.readings >= ENOUGH and intervals >= 2 * NEXT
        return (lasting or steady) and not self._overshot(doubt.last)

    def _overshot(self, pair: Pair) -> bool:
        """Whether the trusted total, high above the one before, may have been false: the true ones are
        between the two. They are counted from where they pass it, so that in the end nobody was counted
        twice."""
        last = self._counter.path[-2:]
        jump = ahead(last[0], last[-1], self._meter.wraps)
        return jump is not None and max(jump) > SLACK and self._on_path(last, pair)

    def _believed(self, doubt: Doubt) -> Reading:
        """What was in doubt is believed: a leap that many people made, a restart, or another counter."""
        moved = _replace(rebased(self._counter, doubt.last, self._sample), at=doubt.at)
        past = (*self._counter.past, *self._counter.path)[-2 * PATH :]
        anew = _replace(moved, past=past, began=self._at, path=(doubt.last,))
        leap = self._follows(self._total, doubt.last, self._heard)
        first = self._follows(self._total, doubt.first, self._heard) or leap
        grown = Passed(*(ahead(doubt.first, doubt.last, self._meter.wraps) or (0, 0)))
        told = () if doubt.absurd else (self._implausible(doubt.first),)
        if back := self._back(doubt.last, leap):
            # Those who were counted since it seemed to begin anew had been counted before.
            path = (*self._counter.past, doubt.last)[-PATH:]
            came, left = (max(0, now - counted) for now, counted in zip(back, self._total, strict=True))
            return Reading(_replace(moved, path=path, past=(), began=None), Passed(came, left), told)
        possible = plausible(doubt.since.seconds_since(self._heard))
        usual = SLACK + self._usual(self._heard)
        if leap is None and max(doubt.first) <= possible:
            unknown = self._heard.wall_if_set, doubt.since.wall_if_set
            restarted = facts.restarted(self._sample.device, self._at, self._total, doubt.first, unknown)
            return Reading(anew, grown if self._is_kept(doubt.first) else Passed(*doubt.last), (restarted,))
        if leap is None or max(leap) > plausible(doubt.at.seconds_since(self._heard)):
            # Another one, or it was set by hand: only what it has seen since then is known.
            return Reading(anew, grown, told)
        if first and max(first) > usual and self._is_past(doubt.last, leap):
            return Reading(moved, grown, told)
        return Reading(moved, Passed(*leap))

    def _is_kept(self, first: Pair) -> bool:
        """Whether a counter that began anew has kept what it had a while ago, and gone on from there: it is
        more than can have passed since, all the more where it had stood there."""
        if not self._on_path(self._counter.path, first):
            return max(first) > 2 * (SLACK + self._usual(self._heard))
        return max(first) > FEW + self._typical(self._intervals(self._heard))

    def _implausible(self, pair: Pair) -> Fact:
        body = {"before": list(self._total), "after": list(pair)}
        return facts.implausible(self._sample.device, self._at, body)


def _is_between(before: Pair, after: Pair, pair: Pair, wraps: Pair) -> bool:
    way, first, second = ahead(before, after, wraps), ahead(before, pair, wraps), ahead(pair, after, wraps)
    if way is None or first is None or second is None:
        return False
    return (first[0] + second[0], first[1] + second[1]) == way


def _since(heard: Stamp, at: Stamp, passed: Pair) -> Passed | None:
    if not any(passed):
        return None
    seconds, since, until = at.seconds_since(heard), heard.wall_if_set, at.wall_if_set
    long = max(passed) > FEW and (seconds is None or seconds >= LUMP)
    span = (since, until) if long and since and until and since < until else None
    return Passed(*passed, span)


_replace = msgspec.structs.replace
