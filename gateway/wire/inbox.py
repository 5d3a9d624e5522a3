"""Messages that wait to be processed: bounded, and shared fairly among their senders."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

BLOCK_BYTES = 4096
TURN_BYTES = 512
"""A message costs its sender a turn, and one more for each further so many bytes."""
MAX_REMEMBERED_TURNS = 1024
"""Senders without a waiting message whose next turn is remembered."""


class _Waiting(NamedTuple, Generic[T]):
    message: T
    blocks: int
    turns: int


class _Queue(Generic[T]):
    """The messages of one sender, oldest first."""

    def __init__(self) -> None:
        self.messages: deque[_Waiting[T]] = deque()
        self.blocks = 0

    def append(self, waiting: _Waiting[T]) -> None:
        self.messages.append(waiting)
        self.blocks += waiting.blocks

    def pop_oldest(self) -> _Waiting[T]:
        oldest = self.messages.popleft()
        self.blocks -= oldest.blocks
        return oldest


class FairInbox(Generic[T]):
    """One queue a sender, which are emptied in turn: a flood costs the sender of the flood only.

    After a long message, which takes long to decode, a sender waits for several turns of the others
    (self-clocked fair queueing: Golestani, INFOCOM 1994). When all queues together are full, the one that
    takes the most room loses its oldest message.
    """

    def __init__(self, max_blocks: int) -> None:
        """`max_blocks`: how much may wait. A message takes one block, and one more for each further
        `BLOCK_BYTES`."""
        self._max_blocks = max_blocks
        self._blocks = 0
        self._queues: dict[str, _Queue[T]] = {}
        self._turns: list[tuple[int, int, str, _Queue[T]]] = []
        """A heap with an entry for each queue: the number of its turn, the order among those with the same
        number, the sender and the queue, which may be gone meanwhile."""
        self._order = itertools.count()
        self._turn = 0
        """The number of the present turn."""
        self._next_turns: OrderedDict[str, int] = OrderedDict()
        """Of senders without a queue."""

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __len__(self) -> int:
        return sum(len(queue.messages) for queue in self._queues.values())

    def put(self, sender: str, message: T, size_bytes: int) -> list[T]:
        """Add a message. Returns those that were dropped to make room."""
        blocks = 1 + size_bytes // BLOCK_BYTES
        if sender not in self._queues:
            self._queues[sender] = _Queue()
            self._add_turn(sender, max(self._turn, self._next_turns.pop(sender, 0)))
        self._queues[sender].append(_Waiting(message, blocks, 1 + size_bytes // TURN_BYTES))
        self._blocks += blocks
        dropped = []
        while self._blocks > self._max_blocks:
            dropped.append(self._take_oldest(self._largest(sender)).message)
        return dropped

    def take(self) -> T:
        """Remove the oldest message of the sender whose turn it is. Raises `KeyError` when empty."""
        if not self._queues:
            raise KeyError
        while True:
            turn, _, sender, queue = heapq.heappop(self._turns)
            if self._queues.get(sender) is queue:
                break
        self._turn = turn
        taken = self._take_oldest(sender)
        turn += taken.turns
        if sender in self._queues:
            self._add_turn(sender, turn)
        else:
            self._next_turns[sender] = turn
            if len(self._next_turns) > MAX_REMEMBERED_TURNS:
                self._next_turns.popitem(last=False)
        return taken.message

    def _add_turn(self, sender: str, turn: int) -> None:
        heapq.heappush(self._turns, (turn, next(self._order), sender, self._queues[sender]))
        # Without this, senders whose queues are dropped would fill the memory while nobody takes anything.
        if len(self._turns) > 2 * len(self._queues) + MAX_REMEMBERED_TURNS:
            self._turns = [each for each in self._turns if self._queues.get(each[2]) is each[3]]
            heapq.heapify(self._turns)

    def _largest(self, newest: str) -> str:
        """The sender that takes the most room. Usually that of the newest message, which is tried first, as
        there may be as many senders as messages."""
        queue = self._queues.get(newest)
        if queue and queue.blocks > 1 and queue.blocks * len(self._queues) >= self._blocks:
            return newest
        return max(self._queues, key=lambda sender: self._queues[sender].blocks)

    def _take_oldest(self, sender: str) -> _Waiting[T]:
        queue = self._queues[sender]
        oldest = queue.pop_oldest()
        self._blocks -= oldest.blocks
        if not queue.messages:
            del self._queues[sender]
        return oldest
