"""The facts of the visitor service, all in the event lane; statistics, reports and the platform read them.
Times in a body are Unix milliseconds by the gateway's clock, days are local dates, ISO 8601."""

from __future__ import annotations

from typing import Any

from gateway.model import GATEWAY_DEVICE, Fact, Lane, Stamp, Value

InOut = tuple[int, int]
"""In and out."""
Interval = tuple[int, int]
"""From and until, in Unix milliseconds."""


def crossing(
    counter: str,
    at: Stamp,
    came: int,
    left: int,
    *,
    span: Interval | None = None,
    tours: int = 0,
    where: dict[str, str] | None = None,
    durable: bool = False,
) -> Fact:
    """`crossing`: people have passed a door: `{in, out}`, by the active counter of the door. Each visitor
    is in exactly one of these: the counts of counters on standby are in none.

    With `since` and `until` they passed within that time, not at the time of the fact (a period, or the
    first reading after an outage); it may lie on an earlier day. `tours` is how many of `in` belonged to
    visiting groups, left out when 0. `where` is `{door, from, to}` of a configured door: `in` went from
    `from` to `to`, each `outside`, `centre` or a room; without it they came from outside into the centre.
    Visitors of the centre are those of doors with `outside` at one side."""
    body: dict[str, Value] = {"in": came, "out": left, **(where or {})}
    if tours:
        body["tours"] = tours
    if span:
        body["since"], body["until"] = span
    return Fact(Lane.EVENT, counter, "crossing", at, body, durable)


def coverage(counter: str, at: Stamp, why: str) -> Fact:
    """`coverage`: a counter has become trustworthy (`{covered: true, why: ""}`), or is no longer:
    `offline`, `invalid` (by its own report: tampered with, not calibrated), `implausible` (an unconfirmed
    jump), `mixed` (its readings are those of several counters), `clock` (the times of its periods are
    wrong) or `unreadable` (its reports cannot be read). It holds until the counter's next one; a counter
    without any has never reported."""
    return Fact(Lane.EVENT, counter, "coverage", at, {"covered": not why, "why": why})


def counter_restarted(
    counter: str, at: Stamp, before: InOut, after: InOut, unknown: tuple[int | None, int | None]
) -> Fact:
    """`counter-restarted`: a running total has restarted: `{before, after, since, until}`, each total as
    `[in, out]`. How many passed between the last reading, at `since`, and the restart is not known; who
    passed between the restart and the next reading, at `until`, was counted. Null where the clock was not
    set."""
    since, until = unknown
    body = {"before": list(before), "after": list(after), "since": since, "until": until}
    return Fact(Lane.EVENT, counter, "counter-restarted", at, body)


def counter_implausible(counter: str, at: Stamp, body: dict[str, Any]) -> Fact:
    """`counter-implausible`: an implausible report that was not counted. For a total `{before, after}` as
    `[in, out]`, for a period its values, with `since` and `until` if its time is plausible."""
    return Fact(Lane.EVENT, counter, "counter-implausible", at, body)


def counter_missed(counter: str, at: Stamp, seconds: Interval) -> Fact:
    """`counter-missed`: periods that were not reported, `{since, until}`: it is not known who passed then.
    A period that arrives later is still counted."""
    since, until = seconds
    return Fact(Lane.EVENT, counter, "counter-missed", at, {"since": since * 1000, "until": until * 1000})


def visitor_day(at: Stamp, **body: Any) -> Fact:
    """`visitor-day` of the centre, at the end of a local day; where counters report periods, after the last
    period of the day, but at most an hour later: `{day, in, out, tours, unseen, rooms, doors}`; `rooms` is
    `{room: {in, out, unseen}}`, `doors` is `{door: {in, out, counters}}`, where `counters` is `{counter:
    [in, out]}`: the counts of each counter, including those on standby, for comparison. A period that
    arrives even later is only in its `crossing`."""
    return Fact(Lane.EVENT, GATEWAY_DEVICE, "visitor-day", at, body)


def visitor_drift(at: Stamp, room: str, *, inside: int, came: int, left: int, unseen: int) -> Fact:
    """`visitor-drift`, when a place closes: `{room, inside, in, out, unseen, share}`. `room` is empty for
    the centre. `inside` is how many remained and are presumed to have left, `unseen` how many left without
    having been counted coming, since the last such fact; `in` came and `out` left in that time. `share` is
    the error (`inside` plus `unseen`) relative to `in`, null where nobody came. Published also without an
    error, if anybody came or left."""
    share = round((inside + unseen) / came, 4) if came else None
    body = {"room": room, "inside": inside, "in": came, "out": left, "unseen": unseen, "share": share}
    return Fact(Lane.EVENT, GATEWAY_DEVICE, "visitor-drift", at, body)


def visitor_corrected(at: Stamp, room: str, before: int, inside: int, by: str) -> Fact:
    """`visitor-corrected`: staff have counted the people inside: `{room, before, inside, by}`."""
    body = {"room": room, "before": before, "inside": inside, "by": by}
    return Fact(Lane.EVENT, GATEWAY_DEVICE, "visitor-corrected", at, body, durable=True)


def crowding(at: Stamp, room: str, inside: int, limit: int, near: bool) -> Fact:
    """`crowding`: a place is nearly full (`near: true`), or is no longer: `{room, inside, limit, near}`.
    More people than the limit are an alarm."""
    body = {"room": room, "inside": inside, "limit": limit, "near": near}
    return Fact(Lane.EVENT, GATEWAY_DEVICE, "crowding", at, body)


def opening_day(at: Stamp, **body: Any) -> Fact:
    """`opening-day`, at the end of a local day: `{day, published, opened, closed, late, early, covered}`.
    `published` is a list of `[from, until]`, `HH:MM`; `opened` and `closed` are when people began and
    stopped to come and go, null where they did not; `late` and `early` are the minutes by which that was
    after the published opening and before the published closing (negative: the other way), null where
    either is missing. `covered` is false when a door to the outside was not counted for a quarter of an
    hour or more of the published hours."""
    return Fact(Lane.EVENT, GATEWAY_DEVICE, "opening-day", at, body)


def booking(at: Stamp, change: str, key: str, by: str, body: dict[str, Any]) -> Fact:
    """`booking-made`, `booking-waiting` (the time is taken; `booking-made` follows if it becomes free, else
    `booking-lapsed`), `booking-moved` (to another time or room), `booking-cancelled`, `booking-checked-in`,
    `booking-missed` (nobody came in time) and `booking-ended` (before its time): `{booking, title, class,
    room, door, from, until, expected, by}`; `class` is `activity` (活动人员) or `tour` (参访人员), `room`
    and `door` are empty for the centre and any door."""
    return Fact(
        Lane.EVENT,
        GATEWAY_DEVICE,
        f"booking-{change}",
        at,
        {"booking": key, **body, "by": by},
        durable=True,
    )


def attendance(at: Stamp, key: str, body: dict[str, Any], *, came: int, left: int, peak: int) -> Fact:
    """`attendance`, when a booking is over: `{booking, title, class, room, door, from, until, expected,
    came, left, peak}`: how many passed from the grace period before its start to its end; `peak` is the
    maximum of those who had come and not left."""
    more = {"came": came, "left": left, "peak": peak}
    return Fact(Lane.EVENT, GATEWAY_DEVICE, "attendance", at, {"booking": key, **body, **more})


def tour_marked(at: Stamp, count: int, span: Interval, by: str) -> Fact:
    """`tour-marked`: staff say that of those who came between `since` and `until`, `count` more belonged
    to a visiting group: `{count, since, until, by}`. They are already in `in` of crossings, and in `tours`
    of none."""
    body = {"count": count, "since": span[0], "until": span[1], "by": by}
    return Fact(Lane.EVENT, GATEWAY_DEVICE, "tour-marked", at, body, durable=True)
