"""Which device models match what a device reported. Pure.

A model matches if all its values came and every one of them is possible. That is no proof: a register
full of zeros matches many models. So all models that match are named, the most specific one first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from gateway.config import Profile
from gateway.model import LATCHING_HAZARDS, Point, Role, Value
from gateway.wire.codec import convert_values

FINGERPRINT_WEIGHT, MODEL_NAME_WEIGHT, CHOICE_WEIGHT, LIMIT_WEIGHT = 100, 50, 4, 2
"""Evidence for a model: a fingerprint that agrees, its name in the device's identity, a value out of a few
possible ones, a value within a limit."""

WireValues = Mapping[str, Value | None]
"""What a driver decoded, before scaling."""


class ProfileMatch(msgspec.Struct, frozen=True):
    """A model that matches, the evidence for it, and the values of the device if it is that model."""

    profile: str
    weight: int
    values: dict[str, Value]
    is_identified: bool = False
    """Whether the device itself names the model (by a fingerprint, or by its name), or its protocol has no
    other."""
    protects_life: bool = False
    """Whether one of the model's alarms is of a hazard to life, or one of its actions is for whoever is on
    duty: a siren, a valve, the release of a door. Such a model is not guessed: what only looks like a smoke
    detector would show "no alarm" for ever, and a plug that looks like a siren would be switched."""


def is_certain_enough(matches: Sequence[ProfileMatch]) -> bool:
    """Whether the first match may be proposed as it is: the device names the model, or no other matches as
    well and no life depends on it."""
    first, *others = matches
    stands_out = all(other.weight < first.weight for other in others)
    return first.is_identified or (stands_out and not first.protects_life)


def matching_profiles(
    models: Mapping[str, Profile],
    identity: Mapping[str, str],
    wire_readings: Mapping[str, Sequence[WireValues]],
) -> list[ProfileMatch]:
    """The models that match, by falling weight; those that protect life come last unless the device names
    them. `wire_readings`: the values that were read, or the
    messages that were received, decoded by each model."""
    matches = (
        match_profile(name, profile, identity, wire_readings.get(name, ()))
        for name, profile in models.items()
    )
    found = [match for match in matches if match]
    if len(models) == 1:
        found = [msgspec.structs.replace(match, is_identified=True) for match in found]
    if len(found) > 1 and not any(match.values for match in found):
        return []  # A format that several models share, and nothing that could be read.
    return sorted(found, key=_rank)


def _rank(match: ProfileMatch) -> tuple[bool, int, str]:
    return match.protects_life and not match.is_identified, -match.weight, match.profile


def match_profile(
    name: str,
    profile: Profile,
    identity: Mapping[str, str],
    wire_readings: Sequence[WireValues],
) -> ProfileMatch | None:
    """None where the model does not match."""
    if contradicts_identity(profile, identity):
        return None
    # A register may hold anything; a message is at least of the format that it was taken for.
    asked = profile.driver.scan is not None and profile.driver.scan.candidate_addresses is not None
    weight = FINGERPRINT_WEIGHT * sum(key in identity for key in profile.fingerprint)
    weight += MODEL_NAME_WEIGHT * _identity_names_model(profile, identity)
    is_identified = weight > 0
    values: dict[str, Value] = {}
    for wire in wire_readings:
        found, bad = convert_values(profile.points, wire)
        if found and (bad or (asked and not _are_known_choices(profile.points, wire))):
            return None
        values |= found
    if not values and (wire_readings or not weight):
        return None
    weight += sum(_point_weight(profile.points[point]) for point in values)
    hazards = {point.alarm.hazard for point in profile.points.values() if point.alarm}
    is_output = any(action.role is Role.DUTY for action in profile.actions.values())
    protects_life = bool(hazards & LATCHING_HAZARDS) or is_output
    return ProfileMatch(name, weight, values, is_identified, protects_life)


def contradicts_identity(profile: Profile, identity: Mapping[str, str]) -> bool:
    """Whether the device's identity rules the model out."""
    return any(
        key in identity and not fnmatchcase(identity[key].lower(), pattern.lower())
        for key, pattern in profile.fingerprint.items()
    )


def _identity_names_model(profile: Profile, identity: Mapping[str, str]) -> bool:
    """Whether the device's identity contains the maker's name for the model, such as "EM300-ZLD"."""
    code = _letters_and_digits(profile.model.split()[0])
    distinctive = len(code) >= 4 and any(letter.isdigit() for letter in code)
    generic = profile.maker.lower().startswith("generic")
    return (
        distinctive and not generic and any(code in _letters_and_digits(text) for text in identity.values())
    )


def _letters_and_digits(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _point_weight(point: Point) -> int:
    limits = sum(limit is not None for limit in (point.min, point.max))
    return 1 + LIMIT_WEIGHT * limits + CHOICE_WEIGHT * (point.equals is not None)


def _are_known_choices(points: Mapping[str, Point], wire_values: WireValues) -> bool:
    """Points that compare the same place on the wire with numbers tell together which states exist: from 0
    to one more than the largest of them."""
    last: dict[object, int] = {}
    for point in points.values():
        several = point.equals if isinstance(point.equals, tuple) else (point.equals,)
        states = [state for state in several if isinstance(state, int)]
        last[_wire_location(point)] = max(last.get(_wire_location(point), 0), *states, 0)
    states_of = {name: point for name, point in points.items() if point.equals is not None}
    return all(
        not isinstance(value := wire_values.get(name), int) or 0 <= value <= last[_wire_location(point)] + 1
        for name, point in states_of.items()
    )


def _wire_location(point: Point) -> object:
    """Where on the wire a point is: the keys that its driver adds, and which copy it is."""
    common = {field.name for field in msgspec.structs.fields(Point)}
    own = (field.name for field in msgspec.structs.fields(point) if field.name not in common)
    return repr((point.index, [(name, getattr(point, name)) for name in own]))
