"""A device model, from TOML: its points, its actions and its worked examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from gateway.model import GATEWAY_ACTIONS, Action, Checks, ConfigError, Driver, Point, ReadFailed
from gateway.wire.codec import convert_values
from gateway.words import words

from .capability import service_actions
from .fields import Table, as_read
from .reading import Mistakes, TomlReader, driver_name

PROFILE_SCHEMA = "linli/profile/1"
RESERVED_POINTS = ("link", "unusable")
"""By these names the alarms of a device that does not respond, or without usable values, are known."""
_POINT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}(\.[1-9][0-9]{0,3})?")
"""Names end up in topics, metric labels and the ids of alarms; `.1`, `.2` … are several of one kind."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A device model: the contents of one file of `config/profiles/`."""

    kind: str
    maker: str
    model: str
    driver: Driver
    points: dict[str, Point]
    actions: dict[str, Action]
    examples: tuple[Table, ...]
    fingerprint: dict[str, str]
    """How a device of this model identifies itself to a scan: patterns with * and ?, case-insensitive."""
    text: str
    """The text of the file."""
    retained: Literal["", "state"] = ""
    """As `Device.retained`."""


class _ProfileKeys(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    kind: str
    maker: str
    model: str
    driver: str
    source: str
    verified: bool = False
    retained: Literal["", "state"] = ""

    CHECKS: ClassVar[Checks] = {"source": (lambda source: bool(source.strip()), "source-empty")}


def load_profile(file: Path, saved_text: str | None = None) -> Profile:
    """Read and check one device model; `saved_text` is read instead of the file, if given. Raises
    `Mistakes`."""
    reading = _ProfileReader(file, saved_text)
    profile = reading.read_profile()
    if reading.mistakes:
        raise Mistakes(reading.mistakes)
    assert profile is not None
    return profile


def run_example(profile: Profile, example: Table) -> tuple[Any, Any]:
    """The expected and the actual result of an example, each as values and reasons for bad points.

    Points that the example does not name are left out of both. `reading` is the number of the reading in a
    message of several. Raises `ConfigError`.
    """
    values, bad = convert_values(
        profile.points, profile.driver.decode(profile.points, _raw_reading(profile, example))
    )
    wanted = example.get("values", {}), example.get("bad", {})
    got = {key: values.get(key) for key in wanted[0]}, {key: bad.get(key) for key in wanted[1]}
    return wanted, got


def _raw_reading(profile: Profile, example: Table) -> Any:
    if "raw" not in example:
        raise ConfigError("key-missing", key="raw")
    try:
        raw = profile.driver.parse_example(example["raw"])
        return profile.driver.split(profile.points, raw)[example.get("reading", 1) - 1]
    except ReadFailed as error:
        raise ConfigError("example-refused", reason=error) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError("example-form", **as_read(example["raw"])) from error


_TABLES = "points", "examples", "actions", "fingerprint"


class _ProfileReader(TomlReader):
    """The file of a device model."""

    def read_profile(self) -> Profile | None:
        data = self.parse_file(PROFILE_SCHEMA)
        if data is None:
            return None
        points, examples = data.pop("points", {}), data.pop("examples", [])
        orders = self.named_tables(data, "actions")
        data.pop("actions", None)
        fingerprint = data.pop("fingerprint", {})
        if not isinstance(examples, list) or not all(isinstance(each, dict) for each in examples):
            self.add_mistake(("examples",), "table-expected", key="[examples]")
            return None
        known = _ProfileKeys.__struct_fields__
        others = [key for key, value in data.items() if key not in known and isinstance(value, dict | list)]
        self.check_keys({key: data.pop(key) for key in others}, _TABLES, ())
        keys = self.build_struct(_ProfileKeys, data, ())
        if keys is None:
            return None
        if f"kind.{keys.kind}" not in words("en"):
            kinds = [key.removeprefix("kind.") for key in words("en") if key.startswith("kind.")]
            self.add_mistake(("kind",), "kind-unknown", kind=keys.kind, known=", ".join(sorted(kinds)))
        driver = self.load_driver(keys.driver, ("driver",))
        if driver is None:
            return None
        if keys.retained and not driver.may_retain:
            self.add_mistake(("retained",), "retained-none", driver=keys.driver)
        if not isinstance(points, dict) or not points:
            self.add_mistake(("points",), "points-missing")
            return None
        found: dict[str, Point] = {}
        for name, table in points.items():
            if name in RESERVED_POINTS:
                self.add_mistake(("points", name), "name-reserved", name=name)
            elif not _POINT_NAME.fullmatch(name):
                self.add_mistake(("points", name), "point-name")
            point = self.build_struct(driver.point, table, ("points", name))
            if point is not None:
                found |= _expand_repeated(name, point)
        self._check_fingerprint(driver, fingerprint)
        return Profile(
            kind=keys.kind,
            maker=keys.maker,
            model=keys.model,
            driver=driver,
            points=found,
            actions=self._read_actions(driver, orders, found),
            examples=tuple(examples),
            fingerprint=fingerprint,
            text=self.text,
            retained=keys.retained,
        )

    def _check_fingerprint(self, driver: Driver, patterns: Any) -> None:
        if not isinstance(patterns, dict):
            self.add_mistake(("fingerprint",), "table-expected", key="[fingerprint]")
            return
        self.check_keys(patterns, driver.scan.identity_keys if driver.scan else (), ("fingerprint",))
        for key, pattern in patterns.items():
            if not isinstance(pattern, str):
                self.add_mistake(("fingerprint", key), "value-text", **as_read(pattern))

    def _read_actions(
        self, driver: Driver, tables: list[tuple[str, Table]], points: dict[str, Point]
    ) -> dict[str, Action]:
        actions: dict[str, Action] = {}
        for name, table in tables:
            path = ("actions", name)
            if driver.action is None:
                self.add_mistake(path, "actions-none", driver=driver_name(driver))
                continue
            # An action of a service or of the driver would take precedence over the profile's.
            if name in (*service_actions(), *GATEWAY_ACTIONS, *driver.actions):
                self.add_mistake(path, "name-reserved", name=name)
            action = self.build_struct(driver.action, table, path)
            if action is None:
                continue
            for point in sorted(action.confirm.keys() - points.keys()):
                known = ", ".join(points)
                self.add_mistake((*path, "confirm"), "point-unknown", point=point, known=known)
            actions[name] = action
        return actions


def _expand_repeated(name: str, point: Point) -> dict[str, Point]:
    if not point.repeat:
        return {name: point}
    return {
        f"{name}.{index}": msgspec.structs.replace(point, index=index)
        for index in range(1, point.repeat + 1)
    }
