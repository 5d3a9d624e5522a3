"""Whatever counters and people say, and whatever the clock does."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.capabilities.visitors.services import Place
from gateway.model import ClockQuality, Command, Message, Sample, Stamp, Tick
from tests.gateway.capabilities.visitors.services.kit import START, WIDEST, day, iso, wall
from tests.gateway.capabilities.visitors.services.test_service import WEEK, hall

TIMES = st.sampled_from(
    [
        "",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        "2026-11-21",
        "24:00",
        *map(iso, range(0, 9000, 900)),
    ]
)
VALUES: Any = st.one_of(
    st.booleans(), st.integers(-WIDEST, WIDEST), st.integers(0, 30), st.floats(), st.text(max_size=3), TIMES
)
NAMES = st.sampled_from(
    ["in", "out", "period_in", "period_out", "period_start", "period_end", "time", "invalid"]
)
ARGS = st.sampled_from(
    [
        "title",
        "class",
        "room",
        "door",
        "from",
        "until",
        "expected",
        "count",
        "minutes",
        "inside",
        "booking",
        "person",
        "wait",
    ]
)
STAMPS = st.builds(
    lambda second, boot, clock: Stamp(wall(second), round(abs(second) * 1e9), boot, clock),
    st.floats(-2e9, 2e9),
    st.sampled_from("ab"),
    st.sampled_from(ClockQuality),
)
SAMPLES = st.builds(
    Sample,
    st.sampled_from("abcsyl"),
    STAMPS,
    st.dictionaries(NAMES, VALUES, max_size=6),
    st.dictionaries(NAMES, st.sampled_from(["missing", "out-of-range"]), max_size=2),
    st.sampled_from(["", "", "", "timeout"]),
)
TICKS = st.builds(lambda stamp: Tick(stamp, day(stamp.wall_ms / 1000 - START.timestamp())), STAMPS)
COMMANDS = st.builds(
    lambda stamp, action, args: Command(
        id="c", at=stamp, device="gateway", action=action, args=args, expires=0, origin="console"
    ),
    STAMPS,
    st.sampled_from(
        ["book", "cancel-booking", "check-in-booking", "end-booking", "mark-tour", "correct-inside", "open"]
    ),
    st.dictionaries(ARGS, VALUES, max_size=7),
)


@settings(max_examples=150)
@given(st.lists(st.one_of(SAMPLES, SAMPLES, TICKS, COMMANDS), max_size=25))
def test_nothing_makes_it_stumble(messages: list[Message]) -> None:
    centre = hall(WEEK)
    centre.step(*messages)
    assert all(row.inside >= 0 for row in centre.rows.values() if isinstance(row, Place))
    centre.reboot()
    centre.tick(2.5e9)
