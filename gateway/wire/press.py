"""Buttons that report a press and no release: a press ends as soon as it is reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.model import Point, Raw, Value


class PressPoint(Point, kw_only=True, frozen=True):
    """A point that may be such a button."""

    pulse: bool = False
    """A button press without a release message: it ends as soon as it is reported."""


class PressEnd(msgspec.Struct, frozen=True):
    """A reading of its own: the end of the presses that the reading `raw` reported."""

    raw: Raw


def original_message(raw: Raw) -> Raw:
    """The message that a reading, or the end of its presses, comes from."""
    return raw.raw if isinstance(raw, PressEnd) else raw


def end_presses(
    points: Mapping[str, PressPoint], raw: Raw, values: Mapping[str, Value]
) -> dict[str, Value]:
    """The values decoded from the message of `raw`. In a `PressEnd` every press among them is released (it
    has the zero of its type), and what need not be in every reading is not reported again."""
    if not isinstance(raw, PressEnd):
        return dict(values)
    return {
        name: type(value)() if points[name].pulse else value
        for name, value in values.items()
        if points[name].pulse or not points[name].optional
    }


def with_press_end(points: Mapping[str, PressPoint], raw: Raw, values: Mapping[str, Any]) -> Iterator[Raw]:
    """The readings that a message gives: itself and, if it reports a press, the end of it."""
    yield raw
    if any(points[name].pulse for name in values):
        yield PressEnd(raw)
