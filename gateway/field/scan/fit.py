"""Which device models fit what a device said. Pure.

A model fits if all its values came and every one of them is possible. That proves nothing: a register
full of zeros is many things. So all models that fit are named, the most demanding one first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from gateway.config import Profile
from gateway.model import Point, Value
from gateway.wire.codec import convert_values

KNOWN, MODEL, CHOICE, LIMIT = 100, 50, 4, 2
"""What it counts for a model: a fingerprint that agrees, its name in what the device says of itself, a
value that may be one of a few only, a value with a limit."""


class Fit(msgspec.Struct, frozen=True):
    """A model that fits, how much speaks for it, and what the device measures if that is what it is."""

    profile: str
    weight: int
    values: dict[str, Value]


def fits(
    models: Mapping[str, Profile],
    says: Mapping[str, str],
    wires: Mapping[str, Sequence[Mapping[str, Value]]],
) -> list[Fit]:
    """The models that fit, by falling weight. `wires`: what was read, or said time and again, as each
    model would have it."""
    found = [
        one for name, profile in models.items() if (one := fit(name, profile, says, wires.get(name, ())))
    ]
    if len(found) > 1 and not any(one.values for one in found):
        return []  # A format that several models share, and nothing that could be read.
    return sorted(found, key=lambda one: (-one.weight, one.profile))


def fit(
    name: str, profile: Profile, says: Mapping[str, str], wires: Sequence[Mapping[str, Value]]
) -> Fit | None:
    """None where the model does not fit."""
    if contradicts(profile, says):
        return None
    # A register may hold anything; a message is at least of the format that it was taken for.
    asked = profile.driver.scan is not None and profile.driver.scan.candidate_addresses is not None
    weight = KNOWN * sum(key in says for key in profile.fingerprint) + MODEL * _named(profile, says)
    values: dict[str, Value] = {}
    for wire in wires:
        found, bad = convert_values(profile.points, wire)
        if found and (bad or (asked and not _among_choices(profile.points, wire))):
            return None
        values |= found
    if not values and (wires or not weight):
        return None
    return Fit(name, weight + sum(_demand(profile.points[point]) for point in values), values)


def contradicts(profile: Profile, says: Mapping[str, str]) -> bool:
    """Whether the device says of itself that it is none of these."""
    return any(
        key in says and not fnmatchcase(says[key].lower(), pattern.lower())
        for key, pattern in profile.fingerprint.items()
    )


def _named(profile: Profile, says: Mapping[str, str]) -> bool:
    """Whether the device's own words hold the maker's name for the model, "EM300-ZLD" say."""
    code = _letters(profile.model.split()[0])
    distinctive = len(code) >= 4 and any(letter.isdigit() for letter in code)
    generic = profile.maker.lower().startswith("generic")
    return distinctive and not generic and any(code in _letters(text) for text in says.values())


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _demand(point: Point) -> int:
    limits = sum(limit is not None for limit in (point.min, point.max))
    return 1 + LIMIT * limits + CHOICE * (point.equals is not None)


def _among_choices(points: Mapping[str, Point], wire: Mapping[str, Value]) -> bool:
    """Points that compare one place of the wire with numbers say together which states there are; those
    that they do not name count from nought to one more than the last."""
    last: dict[object, int] = {}
    for point in points.values():
        several = point.equals if isinstance(point.equals, tuple) else (point.equals,)
        states = [state for state in several if isinstance(state, int)]
        last[_place(point)] = max(last.get(_place(point), 0), *states, 0)
    states_of = {name: point for name, point in points.items() if point.equals is not None}
    return all(
        not isinstance(value := wire.get(name), int) or 0 <= value <= last[_place(point)] + 1
        for name, point in states_of.items()
    )


def _place(point: Point) -> object:
    """Where on the wire a point stands: the keys that its driver adds, and which copy it is."""
    common = {field.name for field in msgspec.structs.fields(Point)}
    own = (field.name for field in msgspec.structs.fields(point) if field.name not in common)
    return repr((point.index, [(name, getattr(point, name)) for name in own]))
