from __future__ import annotations

import asyncio

import pytest

from gateway.wire.turns import FairTurns


class Worker:
    """Tasks that note whose turn it was, and stay in it until they may go on."""

    def __init__(self, max_waiting: int = 100) -> None:
        self.turns = FairTurns(max_waiting)
        self.begun: list[str] = []
        self.go_on = asyncio.Event()

    async def work(self, sender: str, size_bytes: int = 0) -> None:
        async with self.turns.turn(sender, size_bytes):
            self.begun.append(sender)
            await self.go_on.wait()

    async def start(self, *senders: str) -> list[asyncio.Task[None]]:
        """One task for each, in this order; all wait but the first."""
        tasks = [asyncio.create_task(self.work(sender)) for sender in senders]
        await asyncio.sleep(0)
        return tasks

    async def finish(self, tasks: list[asyncio.Task[None]]) -> list[str]:
        self.go_on.set()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks)
        return self.begun


async def test_senders_take_turns_however_many_tasks_they_have() -> None:
    worker = Worker()
    assert await worker.finish(await worker.start(*"aaaaabc")) == list("abcaaaa")


async def test_one_task_at_a_time_has_the_turn() -> None:
    worker = Worker()
    tasks = await worker.start(*"abc")
    for _ in range(10):
        await asyncio.sleep(0)
    assert worker.begun == ["a"]
    await worker.finish(tasks)


async def test_a_task_that_ends_while_it_waits_holds_up_nobody() -> None:
    worker = Worker()
    tasks = await worker.start(*"abc")
    tasks[1].cancel()
    assert await worker.finish([tasks[0], tasks[2]]) == ["a", "c"]


async def test_a_task_that_ends_when_its_turn_has_come_holds_up_nobody() -> None:
    worker = Worker()
    async with worker.turns.turn("a", 0):
        second, third = await worker.start(*"bc")
    second.cancel()
    assert await worker.finish([third]) == ["c"]
    assert second.cancelled()


async def test_a_task_that_fails_in_its_turn_holds_up_nobody() -> None:
    turns = FairTurns(10)
    with pytest.raises(ValueError, match="wrong"):
        async with turns.turn("a", 0):
            raise ValueError("wrong")
    async with asyncio.timeout(10), turns.turn("b", 0):
        pass


async def test_when_too_many_wait_the_sender_with_the_most_loses_a_turn() -> None:
    worker = Worker(max_waiting=3)
    tasks = await worker.start(*"xaabc")
    with pytest.raises(ConnectionError):
        await tasks[1]
    assert await worker.finish([tasks[0], *tasks[2:]]) == ["x", "a", "b", "c"]


async def test_tasks_that_no_longer_wait_lose_nobody_a_turn() -> None:
    worker = Worker(max_waiting=4)
    first = await worker.start("x")
    for _ in range(20):
        for task in await worker.start("a", "a"):
            task.cancel()
        await asyncio.sleep(0)
    assert await worker.finish(first + await worker.start(*"bc")) == ["x", "b", "c"]
