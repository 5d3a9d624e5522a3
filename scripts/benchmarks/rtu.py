"""Modbus slaves on a serial line of 9600 baud; a separate process.

A pty transfers bytes at once, so the time they need on a wire is simulated: the last byte of a reply is
sent after 11 bits for each byte of both frames, and 3.5 characters of silence between them. A request
without 3.5 characters of silence after a reply is not a frame, and is not answered. Every unit answers
function 3 with the numbers of the registers. On "?" on stdin, the state is printed.
"""

from __future__ import annotations

import json
import os
import select
import struct
import sys
import time
import tty
from collections import Counter

from pymodbus.framer import FramerRTU

BAUD_RATE = 9600
CHARACTER_S = 11 / BAUD_RATE
FRAME_GAP_S = 3.5 * CHARACTER_S
TOLERANCE_S = 0.0002
"""How much two processes may disagree on the length of a silence."""
SPIN_S = 0.002


class TimedSerialLine:
    """The far end of a pty, with statistics."""

    def __init__(self, dead: set[int]) -> None:
        self._near, far = os.openpty()
        tty.setraw(far)
        self.path = os.ttyname(far)
        self._dead = dead
        self._silent_since = 0.0
        """Time of the end of the last frame."""
        self.ideal_s = 0.0
        """The least time that the answered requests and their replies need."""
        self.too_early = 0
        """Requests without the silence before them."""
        self.asked: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()

    def fileno(self) -> int:
        return self._near

    def serve(self) -> None:
        """Answer one request."""
        received = time.monotonic()
        frame = os.read(self._near, 4096)
        unit, function, first, count = struct.unpack_from(">BBHH", frame)
        self.asked[unit] += 1
        if received < self._silent_since + FRAME_GAP_S - TOLERANCE_S:
            self.too_early += 1
            return
        self._silent_since = received + len(frame) * CHARACTER_S
        if len(frame) != 8 or function != 3 or unit in self._dead:
            return
        body = struct.pack(f">BBB{count}H", unit, 3, 2 * count, *range(first, first + count))
        reply = body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
        self._silent_since += FRAME_GAP_S + len(reply) * CHARACTER_S
        half = len(reply) // 2
        _wait_until(self._silent_since - (len(reply) - half) * CHARACTER_S)
        os.write(self._near, reply[:half])
        _wait_until(self._silent_since)
        os.write(self._near, reply[half:])
        self.ideal_s += (len(frame) + len(reply)) * CHARACTER_S + 2 * FRAME_GAP_S
        self.answered[unit] += 1


def _wait_until(when: float) -> None:
    """Wait precisely, to the microsecond, which sleep alone cannot."""
    while (rest := when - time.monotonic()) > 0:
        if rest > SPIN_S:
            time.sleep(rest - SPIN_S)


def main(dead: list[int]) -> None:
    line = TimedSerialLine(set(dead))
    print(json.dumps(f"rtu:{line.path}"), flush=True)
    while True:
        ready, _, _ = select.select([line, sys.stdin], [], [])
        if line in ready:
            line.serve()
        if sys.stdin in ready:
            if not sys.stdin.readline():
                return
            state = {
                "at": time.monotonic(), "ideal": line.ideal_s, "hasty": line.too_early,
                "asked": line.asked, "answered": line.answered,
            }  # fmt: skip
            print(json.dumps(state), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
