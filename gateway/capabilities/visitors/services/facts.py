"""The facts that visitors make, all in the event lane: what the statistics, the reports and the platform
read. Times in a body are Unix milliseconds by the gateway's clock, days are local dates, ISO 8601."""

from __future__ import annotations

from typing import Any

from gateway.model import GATEWAY, Fact, Lane, Stamp, Value

Pair = tuple[int, int]
"""In and out."""
Span = tuple[int, int]
"""From and until, in Unix milliseconds."""


def crossing(
    counter: str,
    at: Stamp,
    came: int,
    left: int,
    *,
    span: Span | None = None,
    tours: int = 0,
    where: dict[str, str] | None = None,
    durable: bool = False,
) -> Fact:
    """Somebody has passed a door: `{in, out}`, of the counter that counts for the door. Each visitor is in
    one of these: what a counter that stands by has seen is in none.

    `since` and `until`, where there are any: they passed within that time, not at the fact's own (a period,
    or the first reading after an outage). It may lie on an earlier day. `tours` is how many of `in` were
    visiting groups, left out when nought. `where` is `{door, from, to}` of a configured door: `in` went
    from `from` to `to`, each `outside`, `centre` or a room; without it they came from outside into the
    centre. Visitors of the centre are those of doors with `outside` at one side.
    """
    body: dict[str, Value] = {"in": came, "out": left, **(where or {})}
    if tours:
        body["tours"] = tours
    if span:
        body["since"], body["until"] = span
    return Fact(Lane.EVENT, counter, "crossing", at, body, durable)


def coverage(counter: str, at: Stamp, why: str) -> Fact:
    """A counter has become trustworthy (`{covered: true, why: ""}`), or is no longer: `offline`, `invalid`
    (it says so itself: tampered with, not calibrated), `implausible` (a leap that waits for proof) or
    `clock` (its periods are of another time). It holds until the counter's next one; a counter that has
    none was never heard."""
    return Fact(Lane.EVENT, counter, "coverage", at, {"covered": not why, "why": why})


def restarted(
    counter: str, at: Stamp, before: Pair, after: Pair, unknown: tuple[int | None, int | None]
) -> Fact:
    """A running total has begun anew: `{before, after, since, until}`, each total as `[in, out]`. Between
    its last reading, at `since`, and the first one after, at `until`, nobody knows who passed before it
    ended; who passed after it began was counted. Null where there was no clock."""
    since, until = unknown
    body = {"before": list(before), "after": list(after), "since": since, "until": until}
    return Fact(Lane.EVENT, counter, "counter-restarted", at, body)


def implausible(counter: str, at: Stamp, body: dict[str, Any]) -> Fact:
    """A counter says what cannot be; it was not counted. Of a total `{before, after}` as `[in, out]`, of a
    period its values, with `since` and `until` where its time can be true."""
    return Fact(Lane.EVENT, counter, "counter-implausible", at, body)


def missed(counter: str, at: Stamp, seconds: Span) -> Fact:
    """`counter-missed`: periods that never came, `{since, until}`: nobody knows who passed then. Should one
    come after all, it is counted."""
    since, until = seconds
    return Fact(Lane.EVENT, counter, "counter-missed", at, {"since": since * 1000, "until": until * 1000})


def day(at: Stamp, **body: Any) -> Fact:
    """`visitor-day` of the centre, at the end of a local day; where counters tell periods, once they have
    told its last one, or an hour later: `{day, in, out, tours, unseen, rooms, doors}`; `rooms` is `{room:
    {in, out, unseen}}`, `doors` is `{door: {in, out, counters}}`, where `counters` is `{counter: [in,
    out]}`: what each of them saw by itself, those that stand by too, for comparison. A period that comes
    even later is in its crossing alone."""
    return Fact(Lane.EVENT, GATEWAY, "visitor-day", at, body)


def drift(at: Stamp, room: str, *, inside: int, came: int, left: int, unseen: int) -> Fact:
    """`visitor-drift`, when a place closes: `{room, inside, in, out, unseen, share}`. `room` is empty for
    the centre. `inside` is how many were left over and are now taken to have gone, `unseen` how many left
    whom nobody had seen come, since the last such fact, in which `in` came and `out` left; `share` is
    what was amiss (`inside` and `unseen`) as a part of `in`, null where nobody came. Told also when
    nothing was amiss, if anybody came or left."""
    share = round((inside + unseen) / came, 4) if came else None
    body = {"room": room, "inside": inside, "in": came, "out": left, "unseen": unseen, "share": share}
    return Fact(Lane.EVENT, GATEWAY, "visitor-drift", at, body)


def corrected(at: Stamp, room: str, before: int, inside: int, by: str) -> Fact:
    """`visitor-corrected`: somebody has counted the people: `{room, before, inside, by}`."""
    body = {"room": room, "before": before, "inside": inside, "by": by}
    return Fact(Lane.EVENT, GATEWAY, "visitor-corrected", at, body, durable=True)


def crowding(at: Stamp, room: str, inside: int, limit: int, near: bool) -> Fact:
    """`crowding`: a place is nearly full (`near: true`), or is no longer: `{room, inside, limit, near}`.
    That it is overfull is an alarm."""
    body = {"room": room, "inside": inside, "limit": limit, "near": near}
    return Fact(Lane.EVENT, GATEWAY, "crowding", at, body)


def opening(at: Stamp, **body: Any) -> Fact:
    """`opening-day`, at the end of a local day: `{day, published, opened, closed, late, early, covered}`.
    `published` is a list of `[from, until]`, `HH:MM`; `opened` and `closed` are when people began and
    ceased to come and go, null where they did not; `late` and `early` are the minutes by which that was
    after the published opening and before the published closing (less than nought: the other way), null
    where either is missing. `covered` is false when a door to the outside went unseen for
    a quarter of an hour or more of the published hours."""
    return Fact(Lane.EVENT, GATEWAY, "opening-day", at, body)


def booking(at: Stamp, change: str, key: str, by: str, body: dict[str, Any]) -> Fact:
    """`booking-made` and `booking-cancelled`: `{booking, title, class, room, door, from, until, expected,
    by}`; `class` is `activity` (活动人员) or `tour` (参访人员), `room` and `door` are empty for the centre
    and any door."""
    return Fact(
        Lane.EVENT, GATEWAY, f"booking-{change}", at, {"booking": key, **body, "by": by}, durable=True
    )


def attendance(at: Stamp, key: str, body: dict[str, Any], *, came: int, left: int, peak: int) -> Fact:
    """`attendance`, when a booking is over: `{booking, title, class, room, door, from, until, expected,
    came, left, peak}`: who passed in its window, with the grace before it; `peak` is the most who had
    come and not left."""
    more = {"came": came, "left": left, "peak": peak}
    return Fact(Lane.EVENT, GATEWAY, "attendance", at, {"booking": key, **body, **more})


def tour_marked(at: Stamp, count: int, span: Span, by: str) -> Fact:
    """`tour-marked`: of those who came within `since` and `until`, `count` more were a visiting group, as
    somebody says: `{count, since, until, by}`. They are in `in` of crossings already, and not in
    `tours` of any."""
    body = {"count": count, "since": span[0], "until": span[1], "by": by}
    return Fact(Lane.EVENT, GATEWAY, "tour-marked", at, body, durable=True)
