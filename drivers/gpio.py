"""Contacts, buttons, beams and relays on GPIO lines (the kernel's GPIO character device, ABI v2), through
libgpiod.

The kernel debounces, and keeps every edge until it is read: a pulse shorter than a poll is not missed.
Each poll reads the levels: a contact that closed before the gateway started is an alarm all the same.
"""

from __future__ import annotations

import asyncio
import itertools
import select
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from gateway.model import (
    Action,
    Bus,
    Checks,
    ConfigError,
    Device,
    Driver,
    LinkDown,
    Listener,
    Point,
    ReadFailed,
    Value,
)

if TYPE_CHECKING:
    import gpiod

BUFFER = 1024
"""Edges of a device that the kernel keeps while we are busy."""
STEPS = [(False, False), (True, False), (True, True), (False, True)]
"""How somebody who walks through breaks two beams."""

Bias = Literal["as-is", "pull-up", "pull-down", "disabled"]
Line = Annotated[int, msgspec.Meta(ge=0)] | Annotated[str, msgspec.Meta(min_length=1)]
"""Its number on the chip, or its name (`GPIO17`)."""


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`chip`: its path, or its label (`pinctrl-rp1`), which stays the same when chips are renumbered."""

    chip: str

    CHECKS: ClassVar[Checks] = {"chip": (bool, "gpio-chip-empty")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where the lines of the model are; `active_low` and `bias` where they are wired otherwise than it
    says."""

    lines: dict[str, Line]
    active_low: bool | None = None
    bias: Bias | None = None


class LinePoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A line, named like the point. Or with `counts`, how often something has happened since the start:
    `["beam"]` counts the pulses of that line, `["outer", "inner"]` who passed the one beam and then the
    other; the beams are so close together that a body breaks both."""

    counts: tuple[str, ...] = ()
    active_low: bool = False
    bias: Bias = "as-is"
    debounce: int = 20
    """Milliseconds that a level must last to count."""
    output: bool = False
    safe: bool = False
    """An output's level when the gateway starts, ends, or finds its chip again. What a gateway that was
    killed leaves behind is up to the kernel: wire a relay so that it does no harm without power."""

    CHECKS: ClassVar[Checks] = {
        "counts": (lambda lines: len(lines) in (1, 2), "gpio-counts"),
        "debounce": (lambda ms: 1 <= ms <= 10_000, "gpio-debounce"),
    }


class LineAction(Action, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Outputs and their levels."""

    set: dict[str, bool]


class Reading(msgspec.Struct, frozen=True):
    """Levels by line, and how often the lines of each key have been passed."""

    levels: dict[str, bool]
    counts: dict[tuple[str, ...], int]


class Lines:
    """What has happened on the lines of a device. Pure."""

    def __init__(self, levels: Mapping[str, bool]) -> None:
        self.levels = dict(levels)
        self.counts: Counter[tuple[str, ...]] = Counter()
        self._gone: Counter[tuple[str, ...]] = Counter()
        """Steps forth less steps back, for each pair."""

    def turn(self, line: str, level: bool) -> None:
        """An edge."""
        before = self.levels
        if before[line] == level:
            return
        self.levels = {**before, line: level}
        self.counts[line,] += level
        for pair in itertools.combinations(self.levels, 2):
            if line in pair:
                self._step(pair, before)

    def _step(self, pair: tuple[str, str], before: Mapping[str, bool]) -> None:
        was, now = (STEPS.index((levels[pair[0]], levels[pair[1]])) for levels in (before, self.levels))
        self._gone[pair] += 1 if now == (was + 1) % len(STEPS) else -1
        if now == 0:
            # Who turned back between the beams has gone no steps at all.
            gone = self._gone.pop(pair)
            if abs(gone) == len(STEPS):
                self.counts[pair if gone > 0 else pair[::-1]] += 1

    def reading(self) -> Reading:
        return Reading(self.levels, dict(self.counts))


def decode(points: Mapping[str, LinePoint], raw: Reading) -> dict[str, Value]:
    """Levels and counts; a point whose lines were not read is left out."""
    return {
        name: raw.counts.get(point.counts, 0) if point.counts else raw.levels[name]
        for name, point in points.items()
        if raw.levels.keys() >= set(point.counts or (name,))
    }


def example(fields: Mapping[str, Any]) -> Reading:
    """A worked example: the `levels` of lines at first, and the lines that turned afterwards (`edges`)."""
    lines = Lines(msgspec.convert(fields["levels"], dict[str, bool]))
    for line in fields.get("edges", ()):
        lines.turn(line, not lines.levels[line])
    return lines.reading()


def show(raw: Reading) -> str:
    levels = [f"{line}: {level:d}" for line, level in raw.levels.items()]
    return "\n".join([*levels, *(f"{' → '.join(key)}: {count}×" for key, count in raw.counts.items())])


def check(device: Device, others: tuple[Device, ...]) -> None:
    """Each line of the model has its place, and nobody else's."""
    points: dict[str, LinePoint] = device.points
    lines = {name for name, point in points.items() if not point.counts}
    if device.address.lines.keys() != lines:
        raise ConfigError("gpio-lines", wanted=", ".join(f"{line} = …" for line in sorted(lines)))
    wrong = {line for point in points.values() for line in point.counts} - lines
    wrong |= {
        line for action in device.actions.values() for line in action.set
        if line not in lines or not points[line].output
    }  # fmt: skip
    if wrong:
        raise ConfigError("gpio-model", lines=", ".join(sorted(wrong)), profile=device.profile)
    taken: dict[str, str] = {}
    for other in (*others, device):
        for line in map(str, other.address.lines.values()):
            if line in taken and other is device:
                raise ConfigError("gpio-taken", line=line, other=taken[line])
            taken[line] = other.name


class _Held(msgspec.Struct, frozen=True):
    """The lines of a device, while they are ours."""

    device: Device
    request: gpiod.LineRequest
    offsets: dict[str, int]
    lines: Lines


class GpioBus(Bus, Listener):
    """A chip: it is polled, and tells of edges between polls."""

    def __init__(self, chip: gpiod.Chip) -> None:
        self._chip = chip
        self._held: dict[int, _Held] = {}
        """By file descriptor."""
        self._edges = select.epoll()

    async def read(self, device: Device) -> Reading:
        held = self.hold(device)
        return Reading(_levels(held.request, held.offsets), dict(held.lines.counts))

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """An action of the device's profile; it takes no arguments."""
        order: LineAction | None = device.actions.get(action)
        if order is None:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        _set(self.hold(device), order.set)
        return order.confirm

    async def listen(self) -> AsyncIterator[tuple[str, Reading]]:
        while True:
            for held in await self._ready():
                with _gone():
                    events = held.request.read_edge_events()
                names = {offset: line for line, offset in held.offsets.items()}
                for event in events:
                    held.lines.turn(names[event.line_offset], event.event_type is event.Type.RISING_EDGE)
                    yield held.device.name, held.lines.reading()

    async def _ready(self) -> list[_Held]:
        """Those with edges that nobody has read: the kernel keeps them until we have time."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._edges.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._edges.fileno())
        return [self._held[fd] for fd, _ in self._edges.poll(0)]

    def hold(self, device: Device) -> _Held:
        """Its lines, asked for unless they are ours. Raises `ReadFailed`, when somebody else has one."""
        held = next((held for held in self._held.values() if held.device is device), None)
        if held:
            return held
        with _gone():
            offsets = {name: self._offset(line) for name, line in device.address.lines.items()}
        settings: dict[Iterable[Line] | Line, gpiod.LineSettings | None] = {
            offset: _settings(device.points[name], device.address) for name, offset in offsets.items()
        }
        try:
            request = self._chip.request_lines(settings, f"linli {device.name}"[:31], BUFFER)
        except (OSError, ValueError, NotImplementedError) as error:
            raise self._refusal(device, offsets, error) from error
        held = _Held(device, request, offsets, Lines(_levels(request, offsets)))
        self._held[request.fd] = held
        self._edges.register(request.fd, select.EPOLLIN)
        return held

    def _offset(self, line: Line) -> int:
        try:
            return self._chip.line_offset_from_id(line)
        except (FileNotFoundError, ValueError) as error:
            info = self._chip.get_info()
            raise ReadFailed("gpio-line", line=line, chip=info.label, count=info.num_lines) from error

    def _refusal(self, device: Device, offsets: Mapping[str, int], error: Exception) -> ReadFailed:
        """Why the kernel does not give us the lines."""
        lines = device.address.lines
        with _gone():
            infos = {name: self._chip.get_line_info(offset) for name, offset in offsets.items()}
        for name, info in infos.items():
            if info.used:
                return ReadFailed("gpio-busy", line=lines[name], consumer=info.consumer or "?")
        return ReadFailed("gpio-refused", lines=", ".join(map(str, lines.values())), reason=error)

    def close(self) -> None:
        """Outputs to what is safe, and everything given back."""
        for held in self._held.values():
            with suppress(LinkDown):
                _set(held, {name: point.safe for name, point in held.device.points.items() if point.output})
            held.request.release()
        self._edges.close()


def _levels(request: gpiod.LineRequest, offsets: Mapping[str, int]) -> dict[str, bool]:
    with _gone():
        values = request.get_values(list(offsets.values()))
    return {name: bool(value) for name, value in zip(offsets, values, strict=True)}


def _set(held: _Held, levels: Mapping[str, bool]) -> None:
    import gpiod

    values: dict[int | str, gpiod.line.Value] = {
        held.offsets[name]: gpiod.line.Value(int(level)) for name, level in levels.items()
    }
    if values:
        with _gone():
            held.request.set_values(values)


def _settings(point: LinePoint, address: Address) -> gpiod.LineSettings:
    import gpiod

    line = gpiod.line
    bias = address.bias or point.bias
    active_low = point.active_low if address.active_low is None else address.active_low
    settings = gpiod.LineSettings(active_low=active_low, bias=line.Bias[bias.upper().replace("-", "_")])
    if point.output:
        settings.direction = line.Direction.OUTPUT
        settings.output_value = line.Value(int(point.safe))
    else:
        settings.direction = line.Direction.INPUT
        settings.edge_detection = line.Edge.BOTH
        settings.debounce_period = timedelta(milliseconds=point.debounce)
    return settings


@contextmanager
def _gone() -> Iterator[None]:
    """Whatever the kernel refuses of lines that are ours: the chip was unplugged."""
    try:
        yield
    except OSError as error:
        raise LinkDown("line-down", reason=error) from error


def _open(chip: str) -> gpiod.Chip:
    """By path or label. Raises `LinkDown`."""
    if chip.startswith("/"):
        return _open_path(Path(chip))
    # Some systems give a chip a second name, by a link.
    found = {path: _label(path) for path in Path("/dev").glob("gpiochip*") if not path.is_symlink()}
    paths = [path for path, label in found.items() if label == chip]
    if len(paths) != 1:
        known = ", ".join(sorted(f"{path} ({label})" for path, label in found.items()))
        raise LinkDown("gpio-chip", chip=chip, known=known or "–")
    return _open_path(paths[0])


def _open_path(path: Path) -> gpiod.Chip:
    import gpiod

    try:
        return gpiod.Chip(str(path))
    except PermissionError as error:
        raise LinkDown("gpio-permission", path=path, group=_group(path)) from error
    except OSError as error:
        raise LinkDown("line-open", url=path, reason=error) from error


def _group(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):
        return "?"


def _label(path: Path) -> str:
    with _open_path(path) as chip:
        return chip.get_info().label


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[GpioBus]:
    """Open the chip and take the devices' lines."""
    try:
        import gpiod  # noqa: F401
    except ImportError as error:
        raise LinkDown("gpio-missing", reason=error) from error
    with _open(options.chip) as chip:
        bus = GpioBus(chip)
        try:
            for device in devices:
                # A line that somebody else has is asked for again, and complained of, at each poll.
                with suppress(ReadFailed):
                    bus.hold(device)
            yield bus
        finally:
            bus.close()


DRIVER = Driver(
    options=Options,
    address=Address,
    point=LinePoint,
    connect=connect,
    decode=decode,
    parse_example=example,
    format_raw=show,
    action=LineAction,
    check_device=check,
)
