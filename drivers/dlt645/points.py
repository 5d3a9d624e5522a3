"""The data items of a meter, and their numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from gateway.model import Checks, Point, Value

from .frames import READ, REFUSED, REPLY, split_frames

ItemData = dict[str, bytes]
"""By identification, such as 02010100: what the meter replied, as sent."""


def _is_format(text: str) -> bool:
    decimal = re.fullmatch(r"X+(\.X+)?", text) is not None
    return (decimal or re.fullmatch("H+", text) is not None) and len(text.replace(".", "")) % 2 == 0


class MeterPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A number in a data item.

    `di`: the item's identification, DI3 first. `format`: the number's digits as the standard's tables have
    them, such as XXX.X; H stands for a hexadecimal digit, as in a status word. `signed`: the first bit is
    the sign. `item`: which number of a block it is (a repeated point continues from there)."""

    di: str
    format: str
    signed: bool = False
    item: int = 1

    CHECKS: ClassVar[Checks] = {
        "di": (lambda text: re.fullmatch("[0-9A-F]{8}", text) is not None, "dlt645-di"),
        "format": (_is_format, "dlt645-format"),
        "item": (lambda number: 1 <= number <= 64, "dlt645-item"),
    }


def decode(points: Mapping[str, MeterPoint], raw: ItemData) -> dict[str, Value]:
    """Decode the items to numbers; what is missing, or is not in digits (FF, AA: no value), is left out."""
    values: dict[str, Value] = {}
    for name, point in points.items():
        size = len(point.format.replace(".", "")) // 2
        start = (point.item + point.index - 2) * size
        number = _parse_number(point, raw.get(point.di, b"")[start : start + size], size)
        if number is not None:
            values[name] = number
    return values


def _parse_number(point: MeterPoint, data: bytes, size: int) -> Value | None:
    if len(data) < size:
        return None
    number, bits = int.from_bytes(data, "little"), 8 * size
    if point.format.startswith("H"):
        return number
    is_negative = point.signed and bool(number >> bits - 1)
    digits = f"{number & ~(is_negative << bits - 1):x}"
    if not digits.isdecimal():
        return None
    decimals = len(point.format.partition(".")[2])
    value = -int(digits) if is_negative else int(digits)
    return round(value / 10**decimals, decimals) if decimals else value


def parse_example(fields: Mapping[str, Any]) -> ItemData:
    """A worked example: `replies`, a list of the meter's frames in hexadecimal."""
    items: ItemData = {}
    for reply in fields["replies"]:
        frames, others = split_frames(bytes.fromhex(reply))
        if others.strip(b"\xfe") or [frame.control & ~REFUSED for frame in frames] != [READ | REPLY]:
            raise ValueError(reply)
        if not frames[0].control & REFUSED:
            items[item_identification(frames[0].data)] = frames[0].data[4:]
    return items


def item_identification(data: bytes) -> str:
    """The identification that data begin with."""
    return data[3::-1].hex().upper()


def format_raw(raw: ItemData) -> str:
    return ", ".join(f"{di}: {data.hex(' ').upper()}" for di, data in raw.items())
