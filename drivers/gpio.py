"""Contacts, buttons, beams and relays on GPIO lines (the kernel's GPIO character device, ABI v2), through
libgpiod.

The kernel debounces, and keeps every edge until it is read: a pulse shorter than a poll is not missed.
Each poll reads the levels, so that a contact that closed before the start is an alarm too.
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

MAX_BUFFERED_EDGES = 1024
"""Edges of a device that the kernel stores until they are read."""
BEAM_STATES = [(False, False), (True, False), (True, True), (False, True)]
"""The states of two beams, in the order in which a person who walks through breaks them."""

Bias = Literal["as-is", "pull-up", "pull-down", "disabled"]
GpioLine = Annotated[int, msgspec.Meta(ge=0)] | Annotated[str, msgspec.Meta(min_length=1)]
"""A line's number on the chip, or its name (`GPIO17`)."""


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`chip`: its path, or its label (`pinctrl-rp1`), which stays the same when chips are renumbered."""

    chip: str

    CHECKS: ClassVar[Checks] = {"chip": (bool, "gpio-chip-empty")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The chip's lines for those of the model; `active_low` and `bias` if they are wired differently."""

    lines: dict[str, GpioLine]
    active_low: bool | None = None
    bias: Bias | None = None


class PinPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The level of the line named like the point. With `counts`, a count since the start: `["beam"]` counts
    the pulses of that line, `["outer", "inner"]` the persons who passed first the one beam and then the
    other; the beams are so close together that a body breaks both."""

    counts: tuple[str, ...] = ()
    active_low: bool = False
    bias: Bias = "as-is"
    debounce: int = 20
    """Milliseconds that a level must last."""
    output: bool = False
    safe: bool = False
    """An output's level when the gateway starts, stops, or reopens its chip. After a crash it is up to the
    kernel: wire a relay so that it does no harm without power."""

    CHECKS: ClassVar[Checks] = {
        "counts": (lambda lines: len(lines) in (1, 2), "gpio-counts"),
        "debounce": (lambda ms: 1 <= ms <= 10_000, "gpio-debounce"),
    }


class PinAction(Action, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Outputs and their levels."""

    set: dict[str, bool]


class PinReading(msgspec.Struct, frozen=True):
    """Levels by line; pulses by line, and passages by pair of lines."""

    levels: dict[str, bool]
    counts: dict[tuple[str, ...], int]


class PinStates:
    """Levels and counts of a device's lines, from their edges. Pure."""

    def __init__(self, levels: Mapping[str, bool]) -> None:
        self.levels = dict(levels)
        self.counts: Counter[tuple[str, ...]] = Counter()
        self._net_steps: Counter[tuple[str, ...]] = Counter()
        """By pair of beams, steps forward minus steps back."""

    def apply_edge(self, line: str, level: bool) -> None:
        """Count the edge of a line to a level."""
        before = self.levels
        if before[line] == level:
            return
        self.levels = {**before, line: level}
        self.counts[line,] += level
        for pair in itertools.combinations(self.levels, 2):
            if line in pair:
                self._update_passage(pair, before)

    def _update_passage(self, pair: tuple[str, str], before: Mapping[str, bool]) -> None:
        earlier, now = (
            BEAM_STATES.index((levels[pair[0]], levels[pair[1]])) for levels in (before, self.levels)
        )
        self._net_steps[pair] += 1 if now == (earlier + 1) % len(BEAM_STATES) else -1
        if now == 0:
            # For a person who turned back between the beams, the sum is 0.
            net_steps = self._net_steps.pop(pair)
            if abs(net_steps) == len(BEAM_STATES):
                self.counts[pair if net_steps > 0 else pair[::-1]] += 1

    def reading(self) -> PinReading:
        return PinReading(self.levels, dict(self.counts))


def decode(points: Mapping[str, PinPoint], raw: PinReading) -> dict[str, Value]:
    """Levels and counts; a point whose lines were not read is left out."""
    return {
        name: raw.counts.get(point.counts, 0) if point.counts else raw.levels[name]
        for name, point in points.items()
        if raw.levels.keys() >= set(point.counts or (name,))
    }


def parse_example(fields: Mapping[str, Any]) -> PinReading:
    """A worked example: the `levels` of lines at first, and the lines that changed afterwards (`edges`)."""
    states = PinStates(msgspec.convert(fields["levels"], dict[str, bool]))
    for line in fields.get("edges", ()):
        states.apply_edge(line, not states.levels[line])
    return states.reading()


def format_reading(raw: PinReading) -> str:
    levels = [f"{line}: {level:d}" for line, level in raw.levels.items()]
    return "\n".join([*levels, *(f"{' → '.join(key)}: {count}×" for key, count in raw.counts.items())])


def check_device(device: Device, other_devices: tuple[Device, ...], _: Options) -> None:
    """Each line of the model has a line of the chip, which no other device has. Raises `ConfigError`."""
    points: dict[str, PinPoint] = device.points
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
    for other in (*other_devices, device):
        for line in map(str, other.address.lines.values()):
            if line in taken and other is device:
                raise ConfigError("gpio-taken", line=line, other=taken[line])
            taken[line] = other.name


class _OwnedLines(msgspec.Struct, frozen=True):
    """The lines of a device, requested from the kernel."""

    device: Device
    request: gpiod.LineRequest
    offsets: dict[str, int]
    states: PinStates


class GpioBus(Bus, Listener):
    """A chip: it is polled, and reports edges between polls."""

    def __init__(self, chip: gpiod.Chip) -> None:
        self._chip = chip
        self._owned: dict[int, _OwnedLines] = {}
        """By file descriptor."""
        self._edges = select.epoll()

    async def read(self, device: Device) -> PinReading:
        owned = self.own_lines(device)
        return PinReading(_read_levels(owned.request, owned.offsets), dict(owned.states.counts))

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """An action of the device's profile; it takes no arguments."""
        action_keys: PinAction | None = device.actions.get(action)
        if action_keys is None:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        _set_outputs(self.own_lines(device), action_keys.set)
        return action_keys.confirm

    async def listen(self) -> AsyncIterator[tuple[str, PinReading]]:
        while True:
            for owned in await self._lines_with_new_edges():
                with _link_down_on_error():
                    events = owned.request.read_edge_events()
                names = {offset: line for line, offset in owned.offsets.items()}
                for event in events:
                    rising = event.event_type is event.Type.RISING_EDGE
                    owned.states.apply_edge(names[event.line_offset], rising)
                    yield owned.device.name, owned.states.reading()

    async def _lines_with_new_edges(self) -> list[_OwnedLines]:
        """Wait for edges that have not been read yet: the kernel stores them."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._edges.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._edges.fileno())
        return [self._owned[fd] for fd, _ in self._edges.poll(0)]

    def own_lines(self, device: Device) -> _OwnedLines:
        """The device's lines, requested if necessary. Raises `ReadFailed` if another program has one."""
        owned = next((owned for owned in self._owned.values() if owned.device is device), None)
        if owned:
            return owned
        with _link_down_on_error():
            offsets = {name: self._offset(line) for name, line in device.address.lines.items()}
        settings: dict[Iterable[GpioLine] | GpioLine, gpiod.LineSettings | None] = {
            offset: _line_settings(device.points[name], device.address) for name, offset in offsets.items()
        }
        try:
            request = self._chip.request_lines(settings, f"linli {device.name}"[:31], MAX_BUFFERED_EDGES)
        except (OSError, ValueError, NotImplementedError) as error:
            raise self._request_error(device, offsets, error) from error
        owned = _OwnedLines(device, request, offsets, PinStates(_read_levels(request, offsets)))
        self._owned[request.fd] = owned
        self._edges.register(request.fd, select.EPOLLIN)
        return owned

    def _offset(self, line: GpioLine) -> int:
        try:
            return self._chip.line_offset_from_id(line)
        except (FileNotFoundError, ValueError) as error:
            info = self._chip.get_info()
            raise ReadFailed("gpio-line", line=line, chip=info.label, count=info.num_lines) from error

    def _request_error(self, device: Device, offsets: Mapping[str, int], error: Exception) -> ReadFailed:
        """Why the kernel refuses the lines."""
        lines = device.address.lines
        with _link_down_on_error():
            infos = {name: self._chip.get_line_info(offset) for name, offset in offsets.items()}
        for name, info in infos.items():
            if info.used:
                return ReadFailed("gpio-busy", line=lines[name], consumer=info.consumer or "?")
        return ReadFailed("gpio-refused", lines=", ".join(map(str, lines.values())), reason=error)

    def close(self) -> None:
        """Set the outputs to their safe level and release all lines."""
        for owned in self._owned.values():
            points = owned.device.points.items()
            with suppress(LinkDown):
                _set_outputs(owned, {name: point.safe for name, point in points if point.output})
            owned.request.release()
        self._edges.close()


def _read_levels(request: gpiod.LineRequest, offsets: Mapping[str, int]) -> dict[str, bool]:
    with _link_down_on_error():
        values = request.get_values(list(offsets.values()))
    return {name: bool(value) for name, value in zip(offsets, values, strict=True)}


def _set_outputs(owned: _OwnedLines, levels: Mapping[str, bool]) -> None:
    import gpiod

    values: dict[int | str, gpiod.line.Value] = {
        owned.offsets[name]: gpiod.line.Value(int(level)) for name, level in levels.items()
    }
    if values:
        with _link_down_on_error():
            owned.request.set_values(values)


def _line_settings(point: PinPoint, address: Address) -> gpiod.LineSettings:
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
def _link_down_on_error() -> Iterator[None]:
    """If the kernel refuses something with lines that are ours, the chip was unplugged."""
    try:
        yield
    except OSError as error:
        raise LinkDown("line-down", reason=error) from error


def _open_chip(chip: str) -> gpiod.Chip:
    """By path or label. Raises `LinkDown`."""
    if chip.startswith("/"):
        return _open_path(Path(chip))
    # Some systems give a chip a second name, by a symbolic link.
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
    """Open the chip and request the devices' lines."""
    try:
        import gpiod  # noqa: F401
    except ImportError as error:
        raise LinkDown("gpio-missing", reason=error) from error
    with _open_chip(options.chip) as chip:
        bus = GpioBus(chip)
        try:
            for device in devices:
                # A line that another program has is requested again, and reported, at each poll.
                with suppress(ReadFailed):
                    bus.own_lines(device)
            yield bus
        finally:
            bus.close()


DRIVER = Driver(
    options=Options,
    address=Address,
    point=PinPoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_reading,
    action=PinAction,
    check_device=check_device,
)
