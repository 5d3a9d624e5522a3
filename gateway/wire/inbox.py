"""Messages that wait to be processed: bounded, and shared fairly among their senders."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

BLOCK_BYTES = 4096


class _Queue(Generic[T]):
    """The messages of one sender, oldest first, each with its size in blocks."""

    def __init__(self) -> None:
        self.messages: deque[tuple[T, int]] = deque()
        self.blocks = 0

    def append(self, message: T, blocks: int) -> None:
        self.messages.append((message, blocks))
        self.blocks += blocks

    def pop_oldest(self) -> T:
        message, blocks = self.messages.popleft()
        self.blocks -= blocks
        return message


class FairInbox(Generic[T]):
    """One queue a sender, which are emptied in turn. When all of them together are full, the one that takes
    the most room loses its oldest message: a flood costs the sender of the flood only."""

    def __init__(self, max_blocks: int) -> None:
        """`max_blocks`: how much may wait. A message takes one block, and one more for each further
        `BLOCK_BYTES`."""
        self._max_blocks = max_blocks
        self._blocks = 0
        self._queues: OrderedDict[str, _Queue[T]] = OrderedDict()
        """By sender; the one whose turn it is comes first."""

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __len__(self) -> int:
        return sum(len(queue.messages) for queue in self._queues.values())

    def put(self, sender: str, message: T, size_bytes: int) -> list[str]:
        """Add a message. Returns the sender of each message that was dropped to make room."""
        blocks = 1 + size_bytes // BLOCK_BYTES
        self._queues.setdefault(sender, _Queue()).append(message, blocks)
        self._blocks += blocks
        dropped = []
        while self._blocks > self._max_blocks:
            dropped.append(self._largest(sender))
            self._take_oldest(dropped[-1])
        return dropped

    def take(self) -> T:
        """Remove the oldest message of the sender whose turn it is. Raises `KeyError` when empty."""
        sender = next(iter(self._queues), "")
        message = self._take_oldest(sender)
        if sender in self._queues:
            self._queues.move_to_end(sender)
        return message

    def _largest(self, newest: str) -> str:
        """The sender that takes the most room. Usually that of the newest message, which is tried first, as
        there may be as many senders as messages."""
        queue = self._queues.get(newest)
        if queue and queue.blocks > 1 and queue.blocks * len(self._queues) >= self._blocks:
            return newest
        return max(self._queues, key=lambda sender: self._queues[sender].blocks)

    def _take_oldest(self, sender: str) -> T:
        queue = self._queues[sender]
        before = queue.blocks
        message = queue.pop_oldest()
        self._blocks += queue.blocks - before
        if not queue.messages:
            del self._queues[sender]
        return message
