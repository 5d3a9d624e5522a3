"""A GPIO chip as the kernel offers it (linux/gpio.h, ABI v2), for a process preloaded with
`tests/foreign/gpiochip.c`: requests, edges, debouncing, bias, and what is at the other end of the wires.
"""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
import time
from pathlib import Path

ACTIVE_LOW, INPUT, OUTPUT, RISING, FALLING, PULL_UP = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 8
USED = 1 << 0
OPEN, CHIP_INFO, LINE_INFO, GET_LINE, GET_VALUES, SET_VALUES = 0, 0x01, 0x05, 0x07, 0x0E, 0x0F
FLAGS, VALUES, DEBOUNCE = 1, 2, 3
"""Attributes of a line's configuration."""


class Line:
    """One line; levels are those of the wire."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.consumer = ""
        self.flags = 0
        self.debounce = 0.0
        self.driven: bool | None = None
        """What is wired to it; None for nothing."""
        self.output = False
        self.stable = False
        """The level of an input that has lasted."""
        self.timer: threading.Timer | None = None
        self.owner: Request | None = None
        self.edges = 0

    @property
    def level(self) -> bool:
        if self.flags & OUTPUT:
            return self.output
        return bool(self.flags & PULL_UP) if self.driven is None else self.driven


class Request:
    """Lines that a process has; `end` is ours of the pair whose other one it reads edges from."""

    def __init__(self, offsets: list[int], end: socket.socket) -> None:
        self.offsets = offsets
        self.end = end
        self.edges = 0


class GpioChip:
    """A chip that can be unplugged and comes back under another number."""

    def __init__(self, folder: Path, names: list[str], label: str = "pinctrl-test") -> None:
        self.label = label
        self.lines = [Line(name) for name in names]
        self.refusal = 0
        """The error with which it refuses to be opened."""
        self.inability = 0
        """The error with which it refuses its lines."""
        self.number = 0
        self._dev = folder / "dev"
        self._dev.mkdir()
        self._handles: dict[int, Request | socket.socket] = {}
        self._next = 1
        self._lock = threading.RLock()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(str(folder / "gpiochip.sock"))
        self._server.listen()
        self._events = selectors.DefaultSelector()
        self._events.register(self._server, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.environment = {
            "GPIOCHIP_SOCKET": str(folder / "gpiochip.sock"),
            "GPIOCHIP_DEV": str(self._dev),
        }
        self.plug(0)

    def close(self) -> None:
        self.unplug()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as last:
            last.connect(self.environment["GPIOCHIP_SOCKET"])
        self._thread.join(10)
        self._server.close()
        self._events.close()

    @property
    def group(self) -> str:
        """Whose the device file is."""
        return self._dev.group()

    def plug(self, number: int) -> None:
        self.number = number
        (self._dev / f"gpiochip{number}").touch()

    def link(self, number: int) -> None:
        """A second name for it."""
        (self._dev / f"gpiochip{number}").symlink_to(f"gpiochip{self.number}")

    def unplug(self) -> None:
        with self._lock:
            (self._dev / f"gpiochip{self.number}").unlink(missing_ok=True)
            for handle in list(self._handles):
                self._release(handle)

    def drive(self, offset: int, level: bool | None) -> None:
        """What is wired to the line pulls it up or down, or (None) lets go of it."""
        with self._lock:
            line = self.lines[offset]
            line.driven = level
            if line.timer:
                line.timer.cancel()
            if line.owner and line.level != line.stable:
                line.timer = threading.Timer(line.debounce, self._settle, (offset,))
                line.timer.start()

    def take(self, offset: int, consumer: str) -> None:
        """Another program has the line."""
        line = self.lines[offset]
        line.flags, line.consumer = USED, consumer

    def level(self, offset: int) -> bool:
        """What a meter would show."""
        with self._lock:
            return self.lines[offset].level

    def _settle(self, offset: int) -> None:
        """A level has lasted."""
        with self._lock:
            line = self.lines[offset]
            if not line.owner or line.level == line.stable:
                return
            line.stable = line.level
            active = line.stable != bool(line.flags & ACTIVE_LOW)
            if line.flags & (RISING if active else FALLING):
                line.edges += 1
                line.owner.edges += 1
                edge = struct.pack(
                    "<QIIII24x",
                    time.monotonic_ns(),
                    1 if active else 2,
                    offset,
                    line.owner.edges,
                    line.edges,
                )
                line.owner.end.send(edge)

    def _serve(self) -> None:
        while True:
            for key, _ in self._events.select():
                if key.fileobj is self._server:
                    caller, _ = self._server.accept()
                    with caller, self._lock:
                        call = caller.recv(2048)
                        if not call:
                            return
                        request, handle = struct.unpack_from("<II", call)
                        self._answer(caller, request, handle, call[8:])
                else:
                    with self._lock:
                        if key.data in self._handles:
                            self._release(key.data)

    def _answer(self, caller: socket.socket, request: int, handle: int, data: bytes) -> None:
        try:
            answer, passed = self._call(request & 0xFF, handle, data)
        except OSError as error:
            caller.sendall(struct.pack("<II", error.errno or errno.EIO, 0))
            return
        reply = struct.pack("<II", 0, self._next - 1) + answer
        if passed:
            with passed:
                socket.send_fds(caller, [reply], [passed.fileno()])
        else:
            caller.sendall(reply)

    def _call(self, number: int, handle: int, data: bytes) -> tuple[bytes, socket.socket | None]:
        """What the kernel would do; raises `OSError`."""
        if number == OPEN:
            if not (self._dev / data.decode()).exists():
                raise OSError(errno.ENOENT, "")
            if self.refusal:
                raise OSError(self.refusal, "")
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._keep(near, near)
            return b"", far
        held = self._handles.get(handle)
        if held is None:
            raise OSError(errno.ENODEV, "")
        if number == CHIP_INFO:
            name = f"gpiochip{self.number}".encode()
            return struct.pack("<32s32sI", name, self.label.encode(), len(self.lines)), None
        if number == LINE_INFO:
            (offset,) = struct.unpack_from("<I", data, 64)
            line = self._line(offset)
            names = line.name.encode(), line.consumer.encode()
            return struct.pack("<32s32sIIQ", *names, offset, 0, line.flags).ljust(256, b"\0"), None
        if number == GET_LINE:
            return data, self._take_lines(data)
        assert isinstance(held, Request)
        bits, mask = struct.unpack("<QQ", data)
        chosen = [(1 << i, self.lines[n]) for i, n in enumerate(held.offsets) if mask >> i & 1]
        if number == GET_VALUES:
            return struct.pack("<QQ", sum(bit for bit, line in chosen if _active(line)), mask), None
        assert number == SET_VALUES
        for bit, line in chosen:
            if not line.flags & OUTPUT:
                raise OSError(errno.EPERM, "")
            line.output = bool(bits & bit) != bool(line.flags & ACTIVE_LOW)
        return data, None

    def _take_lines(self, data: bytes) -> socket.socket:
        if self.inability:
            raise OSError(self.inability, "")
        (count,) = struct.unpack_from("<I", data, 560)
        offsets = list(struct.unpack_from(f"<{count}I", data))
        lines = [self._line(offset) for offset in offsets]
        if any(line.flags & USED for line in lines):
            raise OSError(errno.EBUSY, "")
        flags, attributes = struct.unpack_from("<QI", data, 288)
        consumer = data[256:288].rstrip(b"\0").decode()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        owner = Request(offsets, near)
        self._keep(near, owner)
        for line in lines:
            line.flags, line.consumer, line.owner, line.edges, line.debounce = (
                flags,
                consumer,
                owner,
                0,
                0.0,
            )
        values = 0
        for number in range(attributes):
            kind, value, mask = struct.unpack_from("<I4xQQ", data, 320 + 24 * number)
            for i, line in enumerate(lines):
                if not mask >> i & 1:
                    continue
                if kind == FLAGS:
                    line.flags = value
                elif kind == VALUES:
                    values |= value & 1 << i
                elif kind == DEBOUNCE:
                    line.debounce = (value & 0xFFFF_FFFF) / 1e6
        for i, line in enumerate(lines):
            line.flags |= USED
            line.output = bool(values >> i & 1) != bool(line.flags & ACTIVE_LOW)
            line.stable = line.level
        return far

    def _line(self, offset: int) -> Line:
        if offset >= len(self.lines):
            raise OSError(errno.EINVAL, "")
        return self.lines[offset]

    def _keep(self, near: socket.socket, what: Request | socket.socket) -> None:
        self._handles[self._next] = what
        self._events.register(near, selectors.EVENT_READ, self._next)
        self._next += 1

    def _release(self, handle: int) -> None:
        """The lines are nobody's again; an output keeps its level."""
        held = self._handles.pop(handle)
        end = held.end if isinstance(held, Request) else held
        self._events.unregister(end)
        end.close()
        for line in self.lines:
            if line.owner is held:
                line.owner, line.consumer, line.flags = None, "", line.flags & OUTPUT


def _active(line: Line) -> bool:
    level = line.level if line.flags & OUTPUT else line.stable
    return level != bool(line.flags & ACTIVE_LOW)
