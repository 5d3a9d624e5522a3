from __future__ import annotations

import asyncio
import os
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.model import LinkDown, ReadFailed
from gateway.wire.serialport import open_port


class Pty:
    """A serial line with nothing at its far end but the test."""

    def __init__(self) -> None:
        self.near, far = os.openpty()
        tty.setraw(far)
        self.path = os.ttyname(far)
        self._open = [self.near, far]

    def unplug(self) -> None:
        while self._open:
            os.close(self._open.pop())


@pytest.fixture
def pty() -> Iterator[Pty]:
    new = Pty()
    yield new
    new.unplug()


def ending(data: bytes) -> str | None:
    """A parser: all up to the first full stop."""
    head, stop, _ = data.partition(b".")
    return head.decode() if stop else None


async def test_a_reply_in_pieces(pty: Pty) -> None:
    async with open_port(pty.path, 9600) as port:
        port.send(b"?")
        assert os.read(pty.near, 10) == b"?"
        for delay, piece in enumerate((b"ab", b"c", b".d")):
            asyncio.get_running_loop().call_later(delay / 100, os.write, pty.near, piece)
        assert await port.receive(ending, 5) == "abc"


async def test_silence_and_noise_are_told_apart(pty: Pty) -> None:
    async with open_port(pty.path, 9600) as port:
        port.send(b"?")
        with pytest.raises(ReadFailed, match="timeout"):
            await port.receive(ending, 0.05)
        os.write(pty.near, b"xyz")
        with pytest.raises(ReadFailed) as failed:
            await port.receive(ending, 0.05)
        assert (failed.value.key, failed.value.facts) == ("garbage", {"bytes": 3})


async def test_a_port_is_opened_by_one_only(pty: Pty, tmp_path: Path) -> None:
    async with open_port(pty.path, 9600):
        with pytest.raises(LinkDown, match="line-open"):
            async with open_port(pty.path, 9600):
                pass
    async with open_port(pty.path, 9600):
        pass
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(LinkDown, match="line-open"):
            async with open_port(str(path), 9600):
                pass


async def test_an_unplugged_port_is_down_and_costs_no_time(pty: Pty) -> None:
    async with open_port(pty.path, 9600) as port:
        port.send(b"?")
        asyncio.get_running_loop().call_later(0.05, pty.unplug)
        with pytest.raises(LinkDown, match="line-down"):
            await port.receive(ending, 5)
        watched = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        assert watched.select(0) == [], "a port that is watched any longer wakes the loop in each turn"
        with pytest.raises(LinkDown, match="line-down"):
            port.send(b"?")


async def test_a_port_unplugged_just_before_a_frame_is_down(pty: Pty) -> None:
    async with open_port(pty.path, 9600) as port:
        pty.unplug()
        with pytest.raises(LinkDown, match="line-down"):
            port.send(b"?")


async def test_a_line_that_takes_nothing_does_not_hold_up_the_gateway(pty: Pty) -> None:
    async with open_port(pty.path, 9600) as port:
        waited_s = []
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises(LinkDown, match="line-down"):
                port.write(bytes(1 << 20))
            waited_s.append(time.monotonic() - began)
        assert min(waited_s) < 0.05, "the machine may have been busy, but not each time"
