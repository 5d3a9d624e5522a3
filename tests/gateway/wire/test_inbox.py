from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.inbox import BLOCK_BYTES, FairInbox


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
    assert inbox.put("alarm", "fire", 0) == ["flood"]
    assert inbox.put("flood", "f5", 0) == ["flood"]
    assert drained(inbox) == ["f2", "fire", "f3", "f4", "f5"]


def test_a_long_message_takes_the_room_of_several() -> None:
    inbox: FairInbox[str] = FairInbox(4)
    for name in "abc":
        inbox.put(name, name, 0)
    assert inbox.put("long", "long", 3 * BLOCK_BYTES) == ["long"]
    assert inbox.put("c", "c2", 2 * BLOCK_BYTES) == ["c", "c"]
    assert drained(inbox) == ["a", "b"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5 * BLOCK_BYTES)), max_size=200))
def test_it_stays_within_its_bounds_and_costs_those_below_their_share_nothing(
    messages: list[tuple[str, int]],
) -> None:
    limit = 24
    inbox: FairInbox[tuple[str, int]] = FairInbox(limit)
    waiting, lost = Counter[str](), Counter[str]()
    for number, (sender, size) in enumerate(messages):
        dropped = inbox.put(sender, (sender, number), size)
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
