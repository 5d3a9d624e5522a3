"""Bookings against a brute-force oracle, and what becomes of them."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.scheduling import (
    Agenda,
    Booking,
    BookingState,
    Opening,
    Quota,
    QuotaPeriod,
    Resource,
    ResourceStatus,
    Schedule,
    StatusKind,
)

from .kit import DAY, HOUR, MINUTE, SHANGHAI, at, local, open_minutes, taken_minutes

NEW_YEAR = at("2027-01-01T00:00")
DAYTIME = Opening(week=(((9 * 60, 12 * 60), (14 * 60, 21 * 60)),) * 7)
COURT = Resource(
    kind="court", opening=DAYTIME, shortest_ms=30 * MINUTE, longest_ms=3 * HOUR, grace_ms=15 * MINUTE
)
HALL = Resource(kind="hall", tells_departure=True)
RESOURCES = {"east": COURT, "west": COURT, "hall": HALL}
LUNCH = date(2026, 12, 31)


def booking(resource: str, since: int, until: int, **more: object) -> Booking:
    return msgspec.convert({"resource": resource, "since": since, "until": until, **more}, Booking)


def schedule(*bookings: Booking) -> tuple[Schedule, Agenda]:
    agenda = Agenda((f"{number}", each) for number, each in enumerate(bookings))
    return Schedule(RESOURCES, agenda, SHANGHAI), agenda


def spans_of(name: str, first: int, last: int) -> dict[date, tuple[tuple[int, int], ...]]:
    """What `RESOURCES` say, once more and in another form."""
    day = local(first, SHANGHAI).date() - timedelta(days=3)
    spans = ((0, 1440),) if name == "hall" else ((540, 720), (840, 1260))
    return {day + timedelta(days=number): spans for number in range((last - first) // 1440 + 8)}


class Oracle:
    """Every minute of every resource, and who has it."""

    def __init__(self, first: int, last: int) -> None:
        self.open = {
            name: open_minutes(spans_of(name, first, last), first, last, SHANGHAI) for name in RESOURCES
        }
        self.owner: dict[tuple[str, int], str] = {}

    def is_free(self, name: str, since: int, until: int) -> bool:
        minutes = range(since // MINUTE, until // MINUTE)
        return all(each in self.open[name] and (name, each) not in self.owner for each in minutes)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["book", "book", "book", "wait", "cancel", "arrive", "leave", "tick"]),
        st.sampled_from(["east", "west", "hall"]),
        st.integers(-6 * 4, 40 * 4),
        st.sampled_from([15, 30, 60, 90, 180, 240, 1440]),
    ),
    max_size=40,
)


@settings(max_examples=120, deadline=None)
@given(OPERATIONS, st.lists(st.integers(0, 90), min_size=40, max_size=40))
def test_nobody_has_the_time_of_another(
    operations: list[tuple[str, str, int, int]], pauses: list[int]
) -> None:
    """Whatever happens, in whatever order, over the turn of a year."""
    now = NEW_YEAR - 12 * HOUR
    rules, agenda = schedule()
    for number, (what, name, quarter, minutes) in enumerate(operations):
        now += pauses[number] * MINUTE
        since = NEW_YEAR + quarter * 15 * MINUTE
        wanted = booking(name, since, since + minutes * MINUTE, made=now)
        known = [(key, each) for key, each in agenda.items() if each.resource == name]
        if what == "book" and rules.refusal(wanted, now) is None:
            agenda.put(f"{number}", wanted)
        elif what == "wait" and since > now:
            agenda.put(f"{number}", msgspec.structs.replace(wanted, state=BookingState.WAITING))
        elif what == "cancel" and known:
            agenda.discard(known[quarter % len(known)][0])
        elif what in ("arrive", "leave"):
            change = rules.checked_in if what == "arrive" else rules.checked_out
            for key, each in known:
                if changed := change(each, now):
                    agenda.put(key, changed)
                    break
        elif what == "tick":
            for key, changed in rules.due(now):
                agenda.put(key, changed)
        for resource in RESOURCES:
            held = Counter(taken_minutes([booked for _, booked in agenda.items()], resource))
            assert max(held.values(), default=1) == 1
            assert held.keys() <= _open(resource)


_OPEN: dict[str, set[int]] = {}


def _open(name: str) -> set[int]:
    """The open minutes of the days about the turn of the year."""
    if name not in _OPEN:
        first, last = (NEW_YEAR - 3 * DAY) // MINUTE, (NEW_YEAR + 6 * DAY) // MINUTE
        _OPEN[name] = open_minutes(spans_of(name, first, last), first, last, SHANGHAI)
    return _OPEN[name]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 150), st.sampled_from([30, 60, 180])), max_size=25),
    st.integers(0, 200),
    st.sampled_from([30, 60, 120, 180]),
)
def test_free_times_and_the_nearest_of_them(
    booked: list[tuple[int, int]], quarter: int, minutes: int
) -> None:
    first, last = (NEW_YEAR - DAY) // MINUTE, (NEW_YEAR + 3 * DAY) // MINUTE
    now = first * MINUTE
    rules, agenda = schedule()
    oracle = Oracle(first, last)
    for number, (start, length) in enumerate(booked):
        since = now + start * 15 * MINUTE
        wanted = booking("east", since, since + length * MINUTE)
        free = oracle.is_free("east", wanted.since, wanted.until)
        assert (rules.refusal(wanted, now) is None) == free
        assert rules.is_free("east", wanted.since, wanted.until, now) == free
        if free:
            agenda.put(f"{number}", wanted)
            oracle.owner |= {("east", each): f"{number}" for each in taken_minutes([wanted], "east")}
    length = minutes * MINUTE
    since = now + quarter * 15 * MINUTE
    assert rules.free(since, since + length, now, "court") == [
        name for name in ("east", "west") if oracle.is_free(name, since, since + length)
    ]
    window = [
        start * MINUTE
        for start in range(first, last)
        if start + minutes <= last and oracle.is_free("east", start * MINUTE, start * MINUTE + length)
    ]
    nearest = min(window, key=lambda start: (abs(start - since), start), default=None)
    # Beyond what the oracle has looked at there may be something nearer.
    if nearest is not None and abs(nearest - since) < last * MINUTE - since - length:
        assert rules.nearest_free("east", since, length, now) == nearest
    state = rules.status("east", since)
    free_from = [
        each
        for each in range(since // MINUTE, last)
        if oracle.is_free("east", each * MINUTE, (each + 1) * MINUTE)
    ]
    if state.kind is StatusKind.FREE and state.until is not None and state.until < last * MINUTE:
        assert set(range(since // MINUTE, state.until // MINUTE)) <= set(free_from)
        assert state.until // MINUTE not in free_from
    else:
        assert (state.kind is StatusKind.FREE) == (since // MINUTE in free_from)


MORNING, NOON = at("2026-12-31T09:00"), at("2026-12-31T12:00")


@pytest.mark.parametrize(
    ("since", "until", "reason"),
    [
        ("2026-12-31T11:00", "2026-12-31T10:00", "backwards"),
        ("2026-12-31T11:00", "2026-12-31T11:00", "backwards"),
        ("2026-12-30T10:00", "2026-12-30T11:00", "past"),
        ("2028-12-30T10:00", "2028-12-30T11:00", "far"),
        ("2026-12-31T10:00", "2026-12-31T10:15", "short"),
        ("2026-12-31T14:00", "2026-12-31T18:00", "long"),
        ("2026-12-31T11:30", "2026-12-31T12:30", "closed"),
        ("2026-12-31T10:30", "2026-12-31T11:30", "taken"),
        ("2026-12-31T11:00", "2026-12-31T12:00", ""),
    ],
)
def test_a_refusal_says_why(since: str, until: str, reason: str) -> None:
    rules, _ = schedule(booking("east", at("2026-12-31T10:00"), at("2026-12-31T11:00")))
    found = rules.refusal(booking("east", at(since), at(until)), MORNING)
    assert (found.reason if found else "") == reason


def test_what_does_not_exist_is_refused() -> None:
    rules, _ = schedule()
    found = rules.refusal(booking("north", MORNING, NOON), MORNING)
    assert found is not None
    assert found.reason == "unknown"


def test_a_refusal_names_the_nearest_free_time() -> None:
    rules, _ = schedule(
        booking("east", at("2026-12-31T09:00"), at("2026-12-31T10:30")),
        booking("east", at("2026-12-31T11:00"), NOON),
    )
    now = at("2026-12-31T08:00")
    found = rules.refusal(booking("east", MORNING, at("2026-12-31T10:00")), now)
    assert found is not None
    assert (found.taken_by, found.nearest) == ("0", at("2026-12-31T14:00"))
    short = rules.refusal(booking("east", MORNING, at("2026-12-31T09:30")), now)
    assert short is not None
    assert short.nearest == at("2026-12-31T10:30")


def test_what_ends_at_ten_is_free_at_ten() -> None:
    rules, _ = schedule(booking("east", MORNING, at("2026-12-31T10:00")))
    now = at("2026-12-31T08:00")
    assert rules.is_free("east", at("2026-12-31T10:00"), at("2026-12-31T11:00"), now)
    assert not rules.is_free("east", at("2026-12-31T09:59"), at("2026-12-31T11:00"), now)


def test_a_quota_counts_the_person_over_all_of_a_kind() -> None:
    week = msgspec.structs.replace(COURT, quota=Quota(120, QuotaPeriod.WEEKLY))
    agenda = Agenda(
        [
            # Monday to Sunday, 28 December to 3 January.
            (
                "a",
                booking("east", at("2026-12-28T09:00"), at("2026-12-28T10:00"), person="li", state="ended"),
            ),
            ("b", booking("west", at("2027-01-03T09:00"), at("2027-01-03T10:00"), person="li")),
            ("c", booking("west", at("2027-01-03T10:00"), at("2027-01-03T11:00"), person="wang")),
            ("d", booking("hall", at("2027-01-02T10:00"), at("2027-01-02T20:00"), person="li")),
        ]
    )
    rules = Schedule({"east": week, "west": week, "hall": HALL}, agenda, SHANGHAI)

    def reason(since: str, until: str, person: str, key: str = "") -> str:
        found = rules.refusal(booking("east", at(since), at(until), person=person), MORNING, key=key)
        return found.reason if found else ""

    assert reason("2027-01-02T09:00", "2027-01-02T09:30", "li") == "quota"
    assert reason("2027-01-02T09:00", "2027-01-02T09:30", "wang") == ""
    assert reason("2027-01-02T09:00", "2027-01-02T09:30", "") == ""
    assert reason("2027-01-04T09:00", "2027-01-04T11:00", "li") == ""
    assert reason("2027-01-04T09:00", "2027-01-04T11:01", "li") == "quota"
    # The booking that is moved does not count against itself.
    assert reason("2027-01-02T09:00", "2027-01-02T10:00", "li", key="b") == ""
    assert rules.counts_for_quota(agenda["a"], at("2027-01-03T23:59"))
    assert not rules.counts_for_quota(agenda["a"], at("2027-01-04T00:00"))


def test_a_quota_of_a_day_counts_each_day_over_midnight() -> None:
    night = msgspec.structs.replace(HALL, quota=Quota(120, QuotaPeriod.DAILY))
    rules = Schedule({"hall": night}, Agenda(), SHANGHAI)
    over = booking("hall", at("2026-12-31T22:00"), at("2027-01-01T02:00"), person="li")
    assert rules.refusal(over, MORNING) is None
    longer = booking("hall", at("2026-12-31T22:00"), at("2027-01-01T02:01"), person="li")
    found = rules.refusal(longer, MORNING)
    assert found is not None
    assert found.reason == "quota"


def states(agenda: Agenda) -> dict[str, str]:
    return {key: each.state.value for key, each in agenda.items()}


def pass_time(rules: Schedule, agenda: Agenda, now: str, *, counted: bool = True) -> dict[str, str]:
    for key, changed in rules.due(at(now), lambda _: counted):
        agenda.put(key, changed)
    return states(agenda)


def test_who_does_not_come_loses_the_time_to_who_waits_longest() -> None:
    rules, agenda = schedule(
        booking("east", MORNING, at("2026-12-31T11:00")),
        booking("east", at("2026-12-31T09:30"), at("2026-12-31T10:30"), state="waiting", made=2),
        booking("east", at("2026-12-31T09:30"), at("2026-12-31T10:30"), state="waiting", made=1),
    )
    assert pass_time(rules, agenda, "2026-12-31T09:14") == {"0": "booked", "1": "waiting", "2": "waiting"}
    assert pass_time(rules, agenda, "2026-12-31T09:15") == {"0": "no-show", "1": "waiting", "2": "booked"}
    # What never became free is over when it would have begun.
    assert pass_time(rules, agenda, "2026-12-31T09:30")["1"] == "lapsed"


def test_nobody_is_judged_while_it_is_not_known_who_came() -> None:
    rules, agenda = schedule(booking("east", MORNING, at("2026-12-31T10:00")))
    assert pass_time(rules, agenda, "2026-12-31T09:30", counted=False) == {"0": "booked"}
    assert pass_time(rules, agenda, "2026-12-31T10:00", counted=False) == {"0": "ended"}


def test_check_in_keeps_the_time_and_leaving_frees_the_rest() -> None:
    rules, agenda = schedule(booking("east", MORNING, at("2026-12-31T11:00")))
    assert rules.checked_in(agenda["0"], at("2026-12-31T08:44")) is None
    arrived = rules.checked_in(agenda["0"], at("2026-12-31T08:45"))
    assert arrived is not None
    agenda.put("0", arrived)
    assert rules.checked_in(arrived, at("2026-12-31T09:00")) is None
    assert pass_time(rules, agenda, "2026-12-31T09:30") == {"0": "present"}
    assert rules.status("east", at("2026-12-31T09:30")) == ResourceStatus(
        StatusKind.IN_USE, at("2026-12-31T11:00"), "0"
    )
    gone = rules.checked_out(arrived, at("2026-12-31T10:00"))
    assert gone is not None
    agenda.put("0", gone)
    assert rules.status("east", at("2026-12-31T10:00")) == ResourceStatus(StatusKind.FREE, NOON)
    assert rules.checked_out(gone, at("2026-12-31T10:01")) is None


def test_who_overstays_is_not_free() -> None:
    rules, agenda = schedule(booking("hall", MORNING, at("2026-12-31T10:00"), state="present"))
    late = at("2026-12-31T10:20")
    assert pass_time(rules, agenda, "2026-12-31T10:20") == {"0": "present"}
    assert rules.status("hall", late) == ResourceStatus(StatusKind.OVERSTAYED, None, "0")
    assert [key for key, _ in rules.overstays(late)] == ["0"]
    assert not rules.is_free("hall", late, late + HOUR, late)
    assert rules.is_free("hall", late + MINUTE, late + HOUR, late)
    gone = rules.checked_out(agenda["0"], late)
    assert gone is not None
    agenda.put("0", gone)
    assert rules.is_free("hall", late, late + HOUR, late)


def test_bookings_of_an_earlier_version_may_overlap() -> None:
    """They stay, and whatever one of them holds is taken."""
    rules, agenda = schedule(
        booking("hall", MORNING, at("2027-01-01T09:00")),
        booking("hall", at("2026-12-31T10:00"), at("2026-12-31T11:00")),
        booking("hall", at("2026-12-31T10:00"), at("2026-12-31T11:00")),
    )
    now = at("2026-12-31T08:00")
    assert not rules.is_free("hall", at("2026-12-31T15:00"), at("2026-12-31T16:00"), now)
    for key in ("1", "0", "2", "2"):
        agenda.discard(key)
    assert len(agenda) == 0
    assert rules.status("hall", now) == ResourceStatus(StatusKind.FREE, None)


def test_a_booking_of_what_is_no_longer_there_ends() -> None:
    rules, agenda = schedule(booking("gone", MORNING, at("2026-12-31T10:00")))
    assert pass_time(rules, agenda, "2026-12-31T10:00") == {"0": "ended"}


def test_closed_until_it_opens() -> None:
    rules, _ = schedule()
    assert rules.status("east", at("2026-12-31T12:00")) == ResourceStatus(
        StatusKind.CLOSED, at("2026-12-31T14:00")
    )
    assert rules.status("east", at("2026-12-31T21:00")) == ResourceStatus(
        StatusKind.CLOSED, at("2027-01-01T09:00")
    )
    never = Schedule({"x": Resource(opening=Opening(week=((),) * 7))}, Agenda(), SHANGHAI)
    assert never.status("x", NOON) == ResourceStatus(StatusKind.CLOSED, None)


def test_another_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    rules = Schedule({"x": COURT}, Agenda(), berlin)
    # The night in which the clock is set back has 25 hours.
    assert rules.status("x", at("2026-10-24T21:00", berlin)).until == at("2026-10-25T09:00", berlin)


def test_a_year_of_bookings_of_two_hundred_resources() -> None:
    agenda, free_courts = Agenda(), set[str]()
    choice = random.Random(1)
    wanted_day, wanted_hour = 180, 10
    for name in map(str, range(200)):
        for day in range(365):
            for hour in choice.sample((9, 10, 11, 14, 15, 16, 17, 18, 19, 20), 2):
                since = NEW_YEAR + day * DAY + hour * HOUR
                agenda.put(f"{name}/{day}/{hour}", booking(name, since, since + HOUR))
        if f"{name}/{wanted_day}/{wanted_hour}" not in agenda:
            free_courts.add(name)
    rules = Schedule(dict.fromkeys(map(str, range(200)), COURT), agenda, SHANGHAI)
    now = NEW_YEAR + wanted_day * DAY + wanted_hour * HOUR
    assert set(rules.free(now, now + HOUR, now)) == free_courts
    found = {name for name in map(str, range(200)) if rules.status(name, now).kind is StatusKind.FREE}
    assert found == free_courts
