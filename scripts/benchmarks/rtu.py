"""Modbus devices on a serial line of 9600 baud; a separate process.

A pty takes and gives bytes at once, so the time they need on a wire is kept here: a reply's last byte comes
when 11 bits of each byte of both frames, and 3.5 characters of silence between them, have gone by. A
request that does not keep 3.5 characters' silence after a reply is no frame and is not answered.
Every unit answers function 3 with the numbers of the registers. Told "?" on stdin, it says how things are.
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

BAUD = 9600
CHARACTER = 11 / BAUD
GAP = 3.5 * CHARACTER
TOLERANCE = 0.0002
"""Seconds by which two processes may differ in measuring a silence."""
SPIN = 0.002


class Line:
    """The far end of a pty, with counters of what happened on it."""

    def __init__(self, dead: set[int]) -> None:
        self._near, far = os.openpty()
        tty.setraw(far)
        self.path = os.ttyname(far)
        self._dead = dead
        self._quiet = 0.0
        """When the line fell silent."""
        self.ideal = 0.0
        """Seconds that the answered requests and their replies need at best."""
        self.hasty = 0
        """Requests that came before the required silence."""
        self.asked: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()

    def fileno(self) -> int:
        return self._near

    def serve(self) -> None:
        """Answer one request."""
        came = time.monotonic()
        frame = os.read(self._near, 4096)
        unit, function, first, count = struct.unpack_from(">BBHH", frame)
        self.asked[unit] += 1
        if came < self._quiet + GAP - TOLERANCE:
            self.hasty += 1
            return
        self._quiet = came + len(frame) * CHARACTER
        if len(frame) != 8 or function != 3 or unit in self._dead:
            return
        body = struct.pack(f">BBB{count}H", unit, 3, 2 * count, *range(first, first + count))
        reply = body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
        self._quiet += GAP + len(reply) * CHARACTER
        half = len(reply) // 2
        _wait_until(self._quiet - (len(reply) - half) * CHARACTER)
        os.write(self._near, reply[:half])
        _wait_until(self._quiet)
        os.write(self._near, reply[half:])
        self.ideal += (len(frame) + len(reply)) * CHARACTER + 2 * GAP
        self.answered[unit] += 1


def _wait_until(when: float) -> None:
    """Accurate to a microsecond, which sleep alone is not."""
    while (rest := when - time.monotonic()) > 0:
        if rest > SPIN:
            time.sleep(rest - SPIN)


def main(dead: list[int]) -> None:
    line = Line(set(dead))
    print(json.dumps(f"rtu:{line.path}"), flush=True)
    while True:
        ready, _, _ = select.select([line, sys.stdin], [], [])
        if line in ready:
            line.serve()
        if sys.stdin in ready:
            if not sys.stdin.readline():
                return
            said = {
                "at": time.monotonic(), "ideal": line.ideal, "hasty": line.hasty,
                "asked": line.asked, "answered": line.answered,
            }  # fmt: skip
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
