from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.inbox import BLOCK_BYTES, MAX_REMEMBERED_TURNS, TURN_BYTES, FairInbox


def drained(inbox: FairInbox[str]) -> list[str]:
    return [inbox.take() for _ in range(len(inbox))]


def test_senders_take_turns() -> None:
    inbox: FairInbox[str] = FairInbox(100)
    for message in ("a1", "a2", "a3", "b1", "b2", "c1"):
        assert inbox.put(message[0], message, 0) == []
    assert drained(inbox) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert not inbox
    with pytest.raises(KeyError):
        inbox.take()


def test_the_largest_queue_loses_its_oldest() -> None:
    inbox: FairInbox[str] = FairInbox(5)
    for number in range(5):
        inbox.put("flood", f"f{number}", 0)
    assert inbox.put("alarm", "fire", 0) == ["f0"]
    assert inbox.put("flood", "f5", 0) == ["f1"]
    assert drained(inbox) == ["f2", "fire", "f3", "f4", "f5"]


def test_a_long_message_takes_the_room_of_several() -> None:
    inbox: FairInbox[str] = FairInbox(4)
    for name in "abc":
        inbox.put(name, name, 0)
    assert inbox.put("long", "long", 3 * BLOCK_BYTES) == ["long"]
    assert inbox.put("c", "c2", 2 * BLOCK_BYTES) == ["c", "c2"]
    assert drained(inbox) == ["a", "b"]


def test_long_messages_of_one_sender_delay_nobody_else() -> None:
    inbox: FairInbox[str] = FairInbox(1000)
    for number in range(20):
        inbox.put("flood", f"f{number}", 40 * TURN_BYTES)
    assert inbox.take() == "f0"
    for number in range(20):
        inbox.put("device", f"d{number}", 100)
    inbox.put("smoke", "fire", 100)
    taken = drained(inbox)
    assert taken.index("fire") <= 1
    assert taken[:21] == ["d0", "fire", *(f"d{number}" for number in range(1, 20))]
    assert taken[21:] == [f"f{number}" for number in range(1, 20)]


def test_who_sends_one_long_message_after_the_other_waits_for_the_others_as_well() -> None:
    """Its queue is empty whenever its message has been taken."""
    inbox: FairInbox[str] = FairInbox(1000)
    inbox.put("flood", "f", 40 * TURN_BYTES)
    for number in range(60):
        inbox.put("device", f"d{number}", 0)
    taken = []
    while inbox:
        taken.append(inbox.take())
        if taken[-1] == "f" and taken.count("f") < 10:
            inbox.put("flood", "f", 40 * TURN_BYTES)
    assert [taken[: taken.index("d59")].count("f")] == [2]


def test_who_was_alone_owes_nobody_more_than_one_message() -> None:
    inbox: FairInbox[str] = FairInbox(1000)
    for _ in range(100):
        inbox.put("alone", "a", 10 * TURN_BYTES)
        assert inbox.take() == "a"
    inbox.put("alone", "a", 0)
    for number in range(30):
        inbox.put("other", f"o{number}", 0)
    assert drained(inbox).index("a") <= 12


def test_what_is_remembered_of_gone_senders_is_bounded() -> None:
    inbox: FairInbox[str] = FairInbox(2)
    for number in range(5 * MAX_REMEMBERED_TURNS):
        inbox.put(f"{number}", "a", 0)
        inbox.put(f"x{number}", "b", 2 * BLOCK_BYTES)
        while inbox:
            inbox.take()
    assert len(inbox._next_turns) <= MAX_REMEMBERED_TURNS
    assert len(inbox._turns) < 10


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5 * BLOCK_BYTES)), max_size=200))
def test_it_stays_within_its_bounds_and_costs_those_below_their_share_nothing(
    messages: list[tuple[str, int]],
) -> None:
    limit = 24
    inbox: FairInbox[tuple[str, int]] = FairInbox(limit)
    waiting, lost = Counter[str](), Counter[str]()
    for number, (sender, size) in enumerate(messages):
        dropped = [name for name, _ in inbox.put(sender, (sender, number), size)]
        waiting[sender] += 1
        lost.update(dropped)
        waiting.subtract(dropped)
        assert len(inbox) == sum(waiting.values()) <= limit
    sent = Counter[str]()
    for sender, size in messages:
        sent[sender] += 1 + size // BLOCK_BYTES
    assert all(sent[sender] > limit / 6 for sender in lost)
    taken = [inbox.take() for _ in range(len(inbox))]
    for sender in "abcdef":
        numbers = [number for name, number in taken if name == sender]
        assert numbers == sorted(numbers)
        assert len(numbers) == waiting[sender]


def test_senders_whose_messages_are_dropped_leave_nothing_behind() -> None:
    tracemalloc.start()
    try:
        inbox = FairInbox[int](4)
        for number in range(3000):
            inbox.put(f"sender {number}", number, 0)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(3000, 30_000):
            inbox.put(f"sender {number}", number, 0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after < 2 * before
    taken = [inbox.take() for _ in range(len(inbox))]
    assert len(taken) == 4
    assert 29_999 in taken
