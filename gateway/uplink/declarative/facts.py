"""What templates ask for: of the gateway, of a device and its points, and of a message in the making."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.config.dialect.rules import PointName, PointNames, Sign
from gateway.config.dialect.template import TIME_FORMATS
from gateway.model import Record, Stamp

Format = Callable[[Any], Any]
encode = msgspec.json.Encoder().encode

_HASHES = {"md5": hashlib.md5, "sha1": hashlib.sha1, "sha256": hashlib.sha256}
FIRST_MILLISECONDS = 100_000_000_000
"""A number of a time from here on is of milliseconds: as seconds it would be in the year 5138."""
MAX_SHAPES = 16
"""Sets of points of a device whose objects are kept."""
_LOCAL = "local "
_MILLISECONDS = "\ue000"
"""What stands for them in a time that is the same for a whole second."""


@functools.lru_cache(maxsize=256)
def fixed_object(keys: tuple[str, ...]) -> Callable[..., Any]:
    """What makes an object with these keys: a struct of its own, which the encoder writes fastest."""
    if not all(key.isprintable() and not set(key) & {'"', "\\"} for key in keys):
        # The encoder writes the keys of a struct as they are.
        return lambda *values: dict(zip(keys, values, strict=True))
    fields = [f"f{number}" for number in range(len(keys))]
    names = dict(zip(fields, keys, strict=True))
    return msgspec.defstruct("Payload", [(field, Any) for field in fields], rename=names, gc=False)


class DeviceFacts:
    """One device of the site, or the gateway, as the platform knows it."""

    def __init__(
        self,
        name: str,
        kind: str,
        keys: Mapping[str, str],
        names: PointNames,
        *,
        title: str = "",
        room: str = "",
        secret: Callable[[], str] = str,
    ) -> None:
        """`secret`: returns its secret, or raises `LinkDown`."""
        self.name = name
        self.kind = kind
        self.title = title or name
        self.room = room
        self.keys = keys
        self.secret = secret
        self._names = names
        self._points: dict[str, PointName | None] = {}
        self._renamed: dict[str, str] = {}
        """Points whose values are sent as they are."""
        self._objects: dict[tuple[str, ...], Callable[..., Any] | None] = {}
        """By the points of a sample: see `_object_of`. A device mostly has the same in each."""
        self._has_plain_booleans = names.booleans == (False, True)
        self._keeps_unlisted = names.unlisted == "keep"
        self._keeps_all = (
            names.unlisted == "keep"
            and names.dot == "."
            and names.booleans == (False, True)
            and not (names.points or names.kinds.get(kind))
        )

    def point(self, point: str) -> PointName | None:
        """What one of its points is called on the platform; None: it is not sent."""
        if point not in self._points:
            found = self._points[point] = self._names.find(self.kind, point)
            if found == PointName(name=found.name if found else ""):
                self._renamed[point] = found.name
        return self._points[point]

    def items(self, body: Mapping[str, Any]) -> list[tuple[str, Any, str, PointName]]:
        """The platform's name, the platform's value, our name, and the rest, of each value that is sent."""
        values = body.get("values")
        if not isinstance(values, dict):
            return []
        named = ((point, raw, self.point(point)) for point, raw in values.items())
        return [
            (as_.name, self._converted(raw, as_), point, as_)
            for point, raw, as_ in named
            if as_ is not None
        ]

    def values(self, body: Mapping[str, Any]) -> Any:
        """The values by the platform's names."""
        values = body.get("values", {})
        if self._keeps_all:
            return values
        points = tuple(values)
        if points not in self._objects:
            self._objects[points] = self._object_of(points)
            if len(self._objects) > MAX_SHAPES:
                del self._objects[next(iter(self._objects))]
        if make := self._objects.get(points):
            return make(*values.values())
        made: dict[str, Any] = {}
        for point, raw in values.items():
            name = self._renamed.get(point)
            if name is not None and (self._has_plain_booleans or not isinstance(raw, bool)):
                made[name] = raw
            elif (as_ := self.point(point)) is not None:
                made[as_.name] = self._converted(raw, as_)
        return made

    def _object_of(self, points: tuple[str, ...]) -> Callable[..., Any] | None:
        """What makes the object with the values of these points, if all of them are sent, and none is
        converted."""
        names = tuple(
            self._renamed[point] for point in points if self.point(point) and point in self._renamed
        )
        is_plain = self._has_plain_booleans and len(set(names)) == len(points)
        return fixed_object(names) if is_plain else None

    def has_values(self, body: Mapping[str, Any]) -> bool:
        """Whether any value is sent."""
        values = body.get("values")
        return bool(values) and (
            self._keeps_unlisted or any(self.point(point) is not None for point in values or ())
        )

    def _converted(self, value: Any, as_: PointName) -> Any:
        if as_.words and (word := as_.words.get(text_of(value))) is not None:
            return word
        if isinstance(value, bool):
            if not as_.type:
                return self._names.booleans[value]
        elif isinstance(value, int | float) and (as_.scale != 1.0 or as_.offset):
            value = value * as_.scale + as_.offset
        if as_.decimals is not None and isinstance(value, float):
            value = round(value, as_.decimals)
        return _TYPES[as_.type](value)


class Scope:
    """A message in the making, and, for an answer, the message that it answers."""

    __slots__ = (
        "backfill",
        "captures",
        "groups",
        "incoming",
        "now",
        "number",
        "outcome",
        "received",
        "records",
    )

    def __init__(
        self,
        number: int = 0,
        now: int = 0,
        groups: Sequence[tuple[DeviceFacts, Sequence[Record]]] = (),
        *,
        backfill: bool = False,
    ) -> None:
        self.number = number
        self.now = now
        self.groups = groups
        self.backfill = backfill
        self.records: Sequence[Record] = groups[0][1] if groups else ()
        """Of the device in turn."""
        self.incoming: Any = None
        self.captures: Mapping[str, str] = {}
        self.received = 0
        self.outcome: Mapping[str, str] = {}


def text_of(value: Any) -> str:
    """A value within a text: as JSON has it, without quotes; empty for none."""
    if isinstance(value, str):
        return value
    return "" if value is None else encode(value).decode()


def find_pointer(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901); None if there is none."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(key)
        elif isinstance(document, list) and key.isdecimal() and len(key) < 10 and int(key) < len(document):
            document = document[int(key)]
        else:
            return None
    return document


def make_format(name: str, zone: tzinfo, maps: Mapping[str, Mapping[str, Any]]) -> Format:
    """The function of a format; it returns None for a value that has no such form."""
    if not name:
        return lambda value: value
    if name in maps:
        table = maps[name]
        default = table.get("*")
        return lambda value: table.get(text_of(value), default)
    if name in _FORMATS:
        return _FORMATS[name]
    if decimals := re.fullmatch(r"\.(\d+)f", name):
        return lambda value: _with_decimals(value, int(decimals[1]))
    if name in TIME_FORMATS:
        return _time_format(_TIMES[name], zone)
    within = zone if name.startswith(_LOCAL) else UTC
    form = name.removeprefix(_LOCAL)
    form = form.replace("%f", "%3f000").replace("%3f", _MILLISECONDS)
    return _time_format(
        lambda ms, _: _second(ms // 1000, within, form).replace(_MILLISECONDS, f"{ms % 1000:03d}"), zone
    )


def sign(keys: Sign, text: str, key: str) -> str:
    """The digest of a text. A key that is not of its encoding gives an empty one."""
    function = keys.keys.function
    if not function.startswith("hmac_"):
        digest = _HASHES[function](text.encode(), usedforsecurity=False).digest()
    else:
        try:
            decoded = _KEY_DECODERS[keys.keys.key_encoding](key)
        except ValueError:
            return ""
        digest = hmac.digest(decoded, text.encode(), function.removeprefix("hmac_"))
    if keys.keys.encoding == "base64":
        return base64.b64encode(digest).decode()
    return digest.hex().upper() if keys.keys.encoding == "HEX" else digest.hex()


def milliseconds(at: Stamp) -> int:
    """Unix time."""
    return at.wall_ms


def read_time(value: Any, zone: tzinfo) -> int | None:
    """Unix time in milliseconds of a number of milliseconds or seconds, or of a text (ISO 8601, also with a
    blank for the T; without an offset it is local); None if it is none."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,16}", value):
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            round(value if abs(value) >= FIRST_MILLISECONDS else value * 1000)
            if _is_finite(value)
            else None
        )
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
        return (
            round((read if read.tzinfo else read.replace(tzinfo=zone)).timestamp() * 1000) if read else None
        )
    except (ValueError, OverflowError):
        return None


def _is_finite(value: float) -> bool:
    return -1e18 < value < 1e18


def _time_format(form: Callable[[int, tzinfo], Any], zone: tzinfo) -> Format:
    def formatted(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            return form(int(value), zone)
        except (OverflowError, ValueError, OSError):
            return None

    return formatted


# Records of one message are of the same minute, mostly.
@functools.lru_cache(maxsize=1024)
def _minute(minute: int, zone: tzinfo) -> tuple[str, str]:
    """What is before the seconds of a time, and the offset after them."""
    text = datetime.fromtimestamp(60 * minute, zone).isoformat(timespec="seconds")
    return text[:17], text[19:]


@functools.lru_cache(maxsize=1024)
def _second(second: int, zone: tzinfo, form: str) -> str:
    return datetime.fromtimestamp(second, zone).strftime(form)


def _iso(ms: int, zone: tzinfo) -> str:
    minute, rest = divmod(ms, 60_000)
    begin, offset = _minute(minute, zone)
    return f"{begin}{rest // 1000:02d}.{rest % 1000:03d}{offset}"


def _utc(ms: int, _: tzinfo) -> str:
    return f"{_iso(ms, UTC)[:23]}Z"


_TIMES: dict[str, Callable[[int, tzinfo], Any]] = {
    "ms": lambda ms, _: ms,
    "s": lambda ms, _: ms // 1000,
    "iso": _iso,
    "utc": _utc,
}


def _as_int(value: Any) -> Any:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _as_float(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _with_decimals(value: Any, decimals: int) -> Any:
    number = _as_float(value)
    return None if number is None else f"{number:.{decimals}f}"


def _as_bit(value: Any) -> Any:
    return None if value is None else int(bool(value) and value != "false")


_FORMATS: dict[str, Format] = {
    "text": text_of,
    "int": _as_int,
    "float": _as_float,
    "01": _as_bit,
    "json": lambda value: encode(value).decode(),
    "url": lambda value: quote(text_of(value), safe=""),
}
_TYPES: dict[str, Format] = {
    "": lambda value: value,
    "int": lambda value: _as_int(round(value) if isinstance(value, float) and abs(value) < 1e18 else value),
    "float": _as_float,
    "text": text_of,
    "bool": bool,
}
_KEY_DECODERS: dict[str, Callable[[str], bytes]] = {
    "text": str.encode,
    "base64": lambda key: base64.b64decode(key, validate=True),
    "hex": bytes.fromhex,
}
