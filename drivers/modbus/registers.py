"""The register map of a device: points, the requests that cover them, and the values of registers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from gateway.model import Action, Checks, FailureKind, Point, ReadFailed, Value

Table = Literal["holding", "input", "coil", "discrete"]
Type = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
Join = Literal["near", "next", "never"]
FORMATS: dict[Type, str] = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i",
    "uint64": "Q", "int64": "q", "float32": "f", "float64": "d",
}  # fmt: skip
WORD_COUNTS = {kind: struct.calcsize(code) // 2 for kind, code in FORMATS.items()}
BIT_TABLES = ("coil", "discrete")
MAX_REQUEST_COUNT = {"holding": 125, "input": 125, "coil": 2000, "discrete": 2000}
"""Registers or bits one request may ask for (V1.1b3, 6.1 to 6.4)."""

RANGE_EXCEPTIONS = (2, 3)
"""Exceptions that reject the requested range: illegal data address, illegal data value (V1.1b3, 7)."""
SILENCE_KINDS = (FailureKind.TIMEOUT, FailureKind.SILENT)
MAX_HOLE_REGISTERS = 8
"""Registers without a point that a request may read in order to cover two points at once."""
MAX_HOLE_BY_JOIN = {"next": 0, "never": -1}
"""The same next to points that allow fewer."""

Registers = dict[Table, dict[int, int]]
"""A raw reading: the content of each address that was read."""
Request = tuple[Table, int, int]
"""Table, first address, count."""
Word = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]


class RegisterPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where a value is. `order` is the order of its bytes on the wire, A the most significant."""

    address: int
    table: Table = "holding"
    type: Type = "uint16"
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"
    stride: int = 1
    """With `repeat`: how far each copy is from the one before."""
    join: Join = "near"
    """Whether a request may cover it together with others: over a small hole, only without a hole (the
    registers next to it must not be read), or not at all."""
    longest: int = 0
    """How many registers or bits a request that covers it may ask for at most; 0: as many as the
    specification allows."""

    CHECKS: ClassVar[Checks] = {
        "address": (lambda address: 0 <= address <= 0xFFFF, "modbus-address"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "address": (lambda point: point.ends_within(0x10000), "modbus-beyond"),
        "bit": (lambda point: (point.bit or 0) < point.bits, "bit-range"),
        "longest": (
            lambda point: (
                not point.longest or point.width <= point.longest <= MAX_REQUEST_COUNT[point.table]
            ),
            "modbus-longest",
        ),
    }

    def ends_within(self, count: int) -> bool:
        """Whether it and all its copies are at addresses below `count`."""
        last = self.address + (max(self.repeat, 1) - 1) * self.stride
        return last >= 0 and max(self.address, last) + self.width <= count

    @property
    def is_boolean(self) -> bool:
        return self.table in BIT_TABLES or super().is_boolean

    @property
    def bits(self) -> int:
        """How many bits its number has."""
        return 1 if self.table in BIT_TABLES else 16 * self.width

    @property
    def first(self) -> int:
        return self.address + (self.index - 1) * self.stride

    @property
    def width(self) -> int:
        return 1 if self.table in BIT_TABLES else WORD_COUNTS[self.type]


class WriteAction(Action, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """One coil or holding register to write (V1.1b3, 6.5 and 6.6); any number but 0 sets a coil."""

    address: int
    value: bool | Word
    table: Literal["coil", "holding"] = "coil"

    CHECKS: ClassVar[Checks] = {"address": (lambda address: 0 <= address <= 0xFFFF, "modbus-address")}


def plan_requests(points: Iterable[RegisterPoint], max_hole: int = MAX_HOLE_REGISTERS) -> list[Request]:
    """The fewest requests that cover the points, over holes up to `max_hole` where the points allow it."""
    spans: dict[tuple[Table, int, int], tuple[int, int]] = {}
    for point in points:
        span = point.table, point.first, point.first + point.width
        hole, longest = spans.get(span, (max_hole, MAX_REQUEST_COUNT[point.table]))
        spans[span] = (
            min(hole, MAX_HOLE_BY_JOIN.get(point.join, max_hole)),
            min(longest, point.longest or longest),
        )
    requests: list[Request] = []
    before, limit = max_hole, 0
    for (table, first, end), (allowed, longest) in sorted(spans.items()):
        hole, before = min(before, allowed), allowed
        if requests:
            open_table, begin, count = requests[-1]
            joined_count = max(end, begin + count) - begin
            if (
                table == open_table
                and first <= begin + count + hole
                and joined_count <= min(limit, longest)
            ):
                requests[-1] = table, begin, joined_count
                limit = min(limit, longest)
                continue
        requests.append((table, first, end - first))
        limit = longest
    return requests


def split_request(points: Iterable[RegisterPoint], request: Request) -> list[Request]:
    """Two smaller sets of requests for one that is not answered: the device may lack only part of it."""
    inside = points_within(points, request)
    firsts = sorted({point.first for point in inside})
    middle = firsts[len(firsts) // 2]
    lower, upper = (
        plan_requests((p for p in inside if (p.first < middle) == low), max_hole=0) for low in (True, False)
    )
    return lower + upper


def points_within(points: Iterable[RegisterPoint], request: Request) -> list[RegisterPoint]:
    """The points that a request covers."""
    table, begin, count = request
    return [point for point in points if point.table == table and begin <= point.first < begin + count]


class ReadingPlan:
    """The requests by which a device is read, as far as is known what it answers.

    Some devices are silent where they should refuse a request: one that is too long for them, or for an
    address they do not have. The reply to a shorter request in the same poll tells them from a device that
    is dead, of which a poll costs one request.
    """

    def __init__(self, points: Iterable[RegisterPoint]) -> None:
        self._points = list(points)
        self.requests = plan_requests(self._points)
        self._proven: set[Request] = set()
        """Those that have been answered."""
        self._suspects: set[Request] = set()
        """Those that were not answered, and parts of such."""
        self._silent_tables: set[Table] = set()
        self._fixed: set[Request] = set()
        """Those that were not answered when they were longer."""
        self._silent_polls = 0
        """Without any reply, since the last reply to one of the requests."""
        self._has_replied = False
        """In this poll."""

    def begin_poll(self) -> list[Request]:
        """The requests of one poll: what becomes of each is told to the plan."""
        self._has_replied = False
        requests = sorted(self.requests, key=lambda request: request not in self._proven)
        if not self._silent_polls:
            return requests
        # They may be too much for the device: a single point first, each time another one until one is
        # answered.
        request = requests[self._silent_polls % len(requests)]
        first_point = min(points_within(self._points, request), key=lambda point: point.first)
        probe = min(self._proven or plan_requests([first_point]), key=lambda request: request[2])
        return [probe, *(other for other in requests if other != probe)]

    def longest_count(self, request: Request) -> int:
        """How many registers or bits may be asked for instead of the request's."""
        table, _, count = request
        if request in self._fixed:
            return count
        points = points_within(self._points, request)
        if any(point.join != "near" for point in points):
            return count
        if table not in self._silent_tables:
            return min(point.longest or MAX_REQUEST_COUNT[table] for point in points)
        return max([count, *(proven for other, _, proven in self._proven if other == table)])

    def record_reply(self, request: Request) -> None:
        self._has_replied = True
        self._proven.add(request)
        if request in self.requests:
            self._silent_polls = 0

    def keep_length(self, request: Request) -> None:
        """It was not answered when it was longer: the device may have nothing more there."""
        self._fixed.add(request)

    def record_failure(self, request: Request, failed: ReadFailed) -> bool:
        """Learn from it. Returns whether the device is there, and only this request is unanswered; if not,
        the poll has failed."""
        if failed.kind is FailureKind.REFUSED:
            self._has_replied = True
            if failed.facts["code"] in RANGE_EXCEPTIONS:
                self._split(request)
            return True
        if request in self._proven:
            return False
        if failed.key == "reply-length":
            return self._record_silence(request)
        if failed.kind in SILENCE_KINDS:
            if self._has_replied:
                return self._record_silence(request)
            self._suspects.add(request)
            self._silent_polls += 1
            return False
        return self._has_replied and failed.kind is FailureKind.OUT_OF_STEP

    def _record_silence(self, request: Request) -> bool:
        """The device does not answer it, or not all of it, although it answers others: ask for less, unless
        it is the first time and a reply may be lost. Returns whether it is not."""
        if request not in self._suspects:
            self._suspects.add(request)
            return False
        table, _, count = request
        self._silent_tables.add(table)
        suspects = [request]
        if not any(shown == table and proven >= count for shown, _, proven in self._proven):
            suspects = [other for other in self.requests if other[0] == table and other[2] >= count]
        for suspect in suspects:
            if suspect not in self._proven:
                self._suspects.update(self._split(suspect))
        return True

    def _split(self, request: Request) -> list[Request]:
        """Ask for less the next time, and last, as it may cost a timeout again."""
        if request not in self.requests:
            return []
        self.requests.remove(request)
        parts = split_request(self._points, request)
        self.requests += parts
        return parts


def decode(points: Mapping[str, RegisterPoint], raw: Registers) -> dict[str, Value]:
    """Registers to numbers; a point whose registers were not read is left out."""
    values: dict[str, Value] = {}
    for name, point in points.items():
        cells, first = raw.get(point.table, {}), point.first
        if point.type == "uint16" and point.order == "ABCD" and point.table not in BIT_TABLES:
            if first in cells:  # Most points are such: this is the hot path.
                values[name] = cells[first]
            continue
        try:
            words = [cells[address] for address in range(first, first + point.width)]
        except KeyError:
            continue
        if point.table in BIT_TABLES:
            values[name] = bool(words[0])
            continue
        if point.order in ("CDAB", "DCBA"):
            words.reverse()
        code = "<" if point.order in ("BADC", "DCBA") else ">"
        data = struct.pack(f"{code}{len(words)}H", *words)
        values[name] = struct.unpack(f">{FORMATS[point.type]}", data)[0]
    return values


def parse_example(fields: Mapping[str, Any]) -> Registers:
    """A worked example: tables of runs, such as `holding = { 0 = [125, 0], 6 = [25] }`."""
    tables = msgspec.convert(fields, dict[Table, dict[Word, list[Word]]], strict=False)
    return {
        table: {start + i: word for start, words in runs.items() for i, word in enumerate(words)}
        for table, runs in tables.items()
    }


def format_registers(raw: Registers) -> str:
    return "\n".join(
        f"{table} {address}: {value} (0x{value:04X})"
        for table, cells in raw.items()
        for address, value in sorted(cells.items())
    )
