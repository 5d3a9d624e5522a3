"""How well the alarms serve the people who must answer them, by ANSI/ISA-18.2-2016 (IEC 62682:2014),
clause 16: alarms an hour and operator, peaks, floods, the most frequent, chattering and stale alarms. Pure.

The figures are meaningful for thirty days or more.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from enum import StrEnum
from statistics import median
from typing import NamedTuple

from gateway.model import Hazard

HOUR_MS = 3_600_000
TEN_MINUTES_MS = 600_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000

ACCEPTABLE_PER_HOUR, MANAGEABLE_PER_HOUR = 6.0, 12.0
"""Alarms an hour and operator: very likely to be acceptable, and the most that is manageable (about 150 and
300 a day)."""
MAX_IN_TEN_MINUTES = 10
"""More are a flood."""
FLOOD_END = 5
"""A flood ends when fewer than this come in ten minutes."""
MAX_FLOOD_SHARE = 0.01
MAX_TOP_TEN_SHARE = 0.05
TOP = 10
CHATTERING_REPEATS = 3
"""An alarm that is raised this often within a minute chatters (IEC 62682, 3.1.21)."""
STALE_MS = DAY_MS
"""An alarm that stands longer than this is stale."""
MAX_STALE_PER_DAY = 5
"""Fewer than this many on any day."""
MIN_FOR_SHARE = 200
"""Of fewer alarms, ten always are more than a twentieth: the share of the top ten says nothing then."""


class Verdict(StrEnum):
    """How a figure compares with its target."""

    GOOD = "good"
    FAIR = "fair"
    """Manageable, but more than the target."""
    POOR = "poor"
    UNKNOWN = "unknown"
    """There is too little to judge by."""


class AnnunciatedAlarm(NamedTuple):
    """One alarm that people were told of. Times are Unix milliseconds; None: not yet."""

    rule: str
    """What is the same for each occurrence."""
    device: str
    point: str
    hazard: Hazard
    raised: int
    acknowledged_s: float | None = None
    """Seconds until somebody acknowledged it."""
    cleared: int | None = None
    """When its condition was gone, or the alarm over."""
    is_repeat: bool = False
    """It was raised again before anybody had acknowledged it: that answers both."""
    place: str = ""
    where: str = ""
    """The place behind the device: its address, and its name."""


class Flood(NamedTuple):
    """More alarms than people can answer: from and until, Unix milliseconds, and how many."""

    since: int
    until: int
    alarms: int


class FrequentAlarm(NamedTuple):
    """One of the most frequent alarms."""

    alarm: AnnunciatedAlarm
    """Its latest occurrence."""
    times: int
    share: float
    """Of all alarms, 0 to 1."""


class StandingAlarm(NamedTuple):
    """An alarm that stood for longer than a day, and for how many milliseconds within the time."""

    alarm: AnnunciatedAlarm
    stood_ms: int


class AnswerTimes(NamedTuple):
    """Seconds from the alarm to its acknowledgement."""

    answered: int
    """How many were acknowledged."""
    median: float
    slowest: float
    within_target: int
    """How many were acknowledged in time."""


class AlarmQuality(NamedTuple):
    """The figures of a time, from `since` until before `until`."""

    since: int
    until: int
    operators: float
    alarms: int
    per_hour: float
    """An hour and operator, on average."""
    busiest_hour: int
    """Alarms in the hour with most of them, by operator."""
    peak: int
    """The most alarms in any ten minutes."""
    peak_at: int | None
    """When those ten minutes began."""
    floods: tuple[Flood, ...]
    flood_share: float
    top: tuple[FrequentAlarm, ...]
    top_share: float
    chattering: tuple[FrequentAlarm, ...]
    """Alarms that chattered, and how often each was raised in its busiest minute."""
    stale: tuple[StandingAlarm, ...]
    """The longest first."""
    most_stale: int
    """The most that were stale at the same time."""
    answers: AnswerTimes | None
    unanswered: int
    """Alarms that nobody has acknowledged."""

    @property
    def rate_verdict(self) -> Verdict:
        if self.until - self.since < DAY_MS:
            return Verdict.UNKNOWN
        if self.per_hour <= ACCEPTABLE_PER_HOUR:
            return Verdict.GOOD
        return Verdict.FAIR if self.per_hour <= MANAGEABLE_PER_HOUR else Verdict.POOR

    @property
    def peak_verdict(self) -> Verdict:
        return Verdict.GOOD if self.peak <= MAX_IN_TEN_MINUTES else Verdict.POOR

    @property
    def flood_verdict(self) -> Verdict:
        return Verdict.GOOD if self.flood_share < MAX_FLOOD_SHARE else Verdict.POOR

    @property
    def top_verdict(self) -> Verdict:
        if self.alarms < MIN_FOR_SHARE:
            return Verdict.UNKNOWN
        return Verdict.GOOD if self.top_share <= MAX_TOP_TEN_SHARE else Verdict.POOR

    @property
    def chattering_verdict(self) -> Verdict:
        return Verdict.POOR if self.chattering else Verdict.GOOD

    @property
    def stale_verdict(self) -> Verdict:
        if not self.stale:
            return Verdict.GOOD
        return Verdict.FAIR if self.most_stale < MAX_STALE_PER_DAY else Verdict.POOR

    @property
    def answer_verdict(self) -> Verdict:
        if self.answers is None:
            return Verdict.POOR if self.unanswered else Verdict.UNKNOWN
        is_prompt = self.answers.within_target == self.answers.answered and not self.unanswered
        if is_prompt:
            return Verdict.GOOD
        late = self.answers.answered - self.answers.within_target + self.unanswered
        return Verdict.FAIR if late * 10 <= self.answers.answered + self.unanswered else Verdict.POOR


def alarm_quality(
    alarms: Iterable[AnnunciatedAlarm],
    since: int,
    until: int,
    operators: float,
    answer_within_s: float,
) -> AlarmQuality:
    """The figures of the alarms that stood at any time from `since` until before `until`; those raised
    earlier count only as stale. `operators`: how many people answer them at the same time, at least 1."""
    known = sorted(alarms, key=lambda alarm: alarm.raised)
    raised = [alarm for alarm in known if since <= alarm.raised < until]
    times = [alarm.raised for alarm in raised]
    hours = max(HOUR_MS, until - since) / HOUR_MS
    floods = find_floods(times, until)
    peak, peak_at = busiest_window(times, TEN_MINUTES_MS)
    busiest_hour, _ = busiest_window(times, HOUR_MS)
    top = _most_frequent(raised)
    stale = _stale_alarms(known, since, until)
    to_answer = [alarm.acknowledged_s for alarm in raised if not alarm.is_repeat]
    answered = [seconds for seconds in to_answer if seconds is not None]
    answers = AnswerTimes(
        len(answered), median(answered), max(answered), sum(each <= answer_within_s for each in answered)
    ) if answered else None  # fmt: skip
    return AlarmQuality(
        since=since,
        until=until,
        operators=operators,
        alarms=len(raised),
        per_hour=len(raised) / hours / operators,
        busiest_hour=busiest_hour,
        peak=peak,
        peak_at=peak_at,
        floods=floods,
        flood_share=sum(flood.until - flood.since for flood in floods) / max(1, until - since),
        top=top,
        top_share=sum(each.share for each in top),
        chattering=_chattering_alarms(raised),
        stale=stale,
        most_stale=_most_at_once(stale, until),
        answers=answers,
        unanswered=len(to_answer) - len(answered),
    )


def busiest_window(times: Sequence[int], length: int) -> tuple[int, int | None]:
    """The most of the times, which ascend, in any window of that length, and the first of those."""
    most, most_at = 0, None
    window: deque[int] = deque()
    for time in times:
        window.append(time)
        while window[0] <= time - length:
            window.popleft()
        if len(window) > most:
            most, most_at = len(window), window[0]
    return most, most_at


def find_floods(times: Sequence[int], until: int) -> tuple[Flood, ...]:
    """The floods among times that ascend. A flood begins with the first alarm of the ten minutes in which
    there are more than ten, and ends when fewer than five came in the ten minutes before, or at `until`."""
    floods: list[Flood] = []
    window: deque[int] = deque()
    since: int | None = None
    count = 0

    def end_of_flood(next_time: int) -> int | None:
        """When fewer than five are left in the window, if that is before the next alarm."""
        fifth_last = window[-FLOOD_END] if len(window) >= FLOOD_END else window[0]
        end = fifth_last + TEN_MINUTES_MS
        return end if end < next_time else None

    for time in (*times, until):
        if since is not None and (end := end_of_flood(time)) is not None:
            floods.append(Flood(since, end, count))
            since = None
        if time == until:
            break
        window.append(time)
        while window[0] <= time - TEN_MINUTES_MS:
            window.popleft()
        if since is not None:
            count += 1
        elif len(window) > MAX_IN_TEN_MINUTES:
            since, count = window[0], len(window)
    if since is not None:
        floods.append(Flood(since, until, count))
    return tuple(floods)


def _most_frequent(raised: Sequence[AnnunciatedAlarm]) -> tuple[FrequentAlarm, ...]:
    latest = {alarm.rule: alarm for alarm in raised}
    counts = Counter(alarm.rule for alarm in raised)
    return tuple(
        FrequentAlarm(latest[rule], count, count / len(raised)) for rule, count in counts.most_common(TOP)
    )


def _chattering_alarms(raised: Sequence[AnnunciatedAlarm]) -> tuple[FrequentAlarm, ...]:
    by_rule: dict[str, list[AnnunciatedAlarm]] = {}
    for alarm in raised:
        by_rule.setdefault(alarm.rule, []).append(alarm)
    found = []
    for alarms in by_rule.values():
        repeats, _ = busiest_window([alarm.raised for alarm in alarms], MINUTE_MS)
        if repeats >= CHATTERING_REPEATS:
            found.append(FrequentAlarm(alarms[-1], repeats, len(alarms) / len(raised)))
    return tuple(sorted(found, key=lambda each: -each.times))


def _stale_alarms(alarms: Iterable[AnnunciatedAlarm], since: int, until: int) -> tuple[StandingAlarm, ...]:
    found = []
    for alarm in alarms:
        end = min(until, alarm.cleared) if alarm.cleared is not None else until
        stood = end - alarm.raised
        if not alarm.is_repeat and stood > STALE_MS and end > since and alarm.raised < until:
            found.append(StandingAlarm(alarm, stood))
    return tuple(sorted(found, key=lambda each: -each.stood_ms))


def _most_at_once(stale: Iterable[StandingAlarm], until: int) -> int:
    """The most alarms that were stale at the same time: each from a day after it was raised."""
    steps = []
    for alarm, stood in stale:
        steps += [(alarm.raised + STALE_MS, 1), (alarm.raised + stood, -1)]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most
