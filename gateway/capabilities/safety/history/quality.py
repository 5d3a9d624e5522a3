"""The alarm quality of a month, from the history, in words."""

from __future__ import annotations

from typing import NamedTuple

from gateway.model import duration

from ..services.alarm_quality import AlarmQuality, AnnunciatedAlarm, Verdict
from ..services.alarms.episodes import AlarmEpisode
from .names import HistoryNames

ANSWER_WITHIN_S = 180.0
"""Within which an alarm should be acknowledged: a target of this system."""
MAX_LISTED = 10
"""Floods, chattering and stale alarms of a card."""


def annunciated_alarms(episode: AlarmEpisode) -> list[AnnunciatedAlarm]:
    """What people were told of an alarm; nothing of drills, and of what was shelved already."""
    if episode.drill or episode.shelved or not episode.raised.is_set:
        return []
    raised = episode.raised.wall_ms
    over = episode.cleared or episode.ended
    cleared = raised if episode.how == "lost" else None
    if over is not None and over.seconds is not None:
        cleared = raised + round(over.seconds * 1000)
    first = AnnunciatedAlarm(
        episode.rule,
        episode.device,
        episode.point,
        episode.hazard,
        raised,
        episode.acknowledged.seconds if episode.acknowledged else None,
        cleared,
        place=episode.place,
        where=episode.where,
    )
    return [
        first,
        *(first._replace(raised=at.wall_ms, is_repeat=True) for at in episode.repeats if at.is_set),
    ]


class Measure(NamedTuple):
    """One figure in words: what it is, its target, and what to do about it."""

    key: str
    verdict: Verdict
    value: str
    target: str
    rows: tuple[str, ...] = ()

    @property
    def needs_action(self) -> bool:
        return self.verdict in (Verdict.FAIR, Verdict.POOR)


def measures(quality: AlarmQuality, names: HistoryNames) -> list[Measure]:
    """The cards of the page, in the order of the standard's table."""
    q = quality

    def text(key: str, /, **facts: object) -> str:
        return names.text_of("alarm-quality", key, **facts)

    def alarm_text(alarm: AnnunciatedAlarm) -> str:
        place = names.place(alarm.device, alarm.point, alarm.place, alarm.where)
        return f"{names.word('hazard', alarm.hazard)} {place}"

    def row(alarm: AnnunciatedAlarm, key: str, /, **facts: object) -> str:
        return f"{alarm_text(alarm)}{names.text('colon')}{text(key, **facts)}"

    limit = duration(ANSWER_WITHIN_S)
    times = q.answers
    late = (times.answered - times.within_target if times else 0) + q.unanswered
    return [
        Measure(
            "rate",
            q.rate_verdict,
            text("rate-value", per_hour=f"{q.per_hour:.2f}", busiest=q.busiest_hour),
            text("rate-target"),
        ),
        Measure(
            "peak",
            q.peak_verdict,
            text("peak-none")
            if q.peak_at is None
            else text("peak-value", count=q.peak, time=names.time_of(q.peak_at)),
            text("peak-target"),
        ),
        Measure(
            "flood",
            q.flood_verdict,
            text("flood-value", share=f"{q.flood_share:.2%}", count=len(q.floods)),
            text("flood-target"),
            tuple(
                text(
                    "flood-row",
                    since=names.time_of(each.since),
                    until=names.time_of(each.until),
                    count=each.alarms,
                )
                for each in sorted(q.floods, key=lambda flood: -flood.alarms)[:MAX_LISTED]
            ),
        ),
        Measure(
            "top",
            q.top_verdict,
            text("top-value", share=f"{q.top_share:.1%}"),
            text("top-target"),
            tuple(
                row(each.alarm, "top-row", count=each.times, share=f"{each.share:.1%}") for each in q.top
            ),
        ),
        Measure(
            "chattering",
            q.chattering_verdict,
            text("chattering-value", count=len(q.chattering)),
            text("chattering-target"),
            tuple(
                row(each.alarm, "chattering-row", count=each.times) for each in q.chattering[:MAX_LISTED]
            ),
        ),
        Measure(
            "stale",
            q.stale_verdict,
            text("stale-value", count=len(q.stale), most=q.most_stale),
            text("stale-target"),
            tuple(
                row(each.alarm, "stale-row", time=duration(each.stood_ms / 1000))
                for each in q.stale[:MAX_LISTED]
            ),
        ),
        Measure(
            "answer",
            q.answer_verdict,
            text(
                "answer-value",
                median=duration(times.median),
                slowest=duration(times.slowest),
                target=limit,
                late=late,
                unanswered=q.unanswered,
            )
            if times
            else text("answer-none", unanswered=q.unanswered),
            text("answer-target", target=limit),
        ),
    ]
