"""A site and its device models, from TOML. Every mistake is found at once, named with its line and mend.

Nothing here opens a port: a configuration can be checked on any machine.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
import tomllib
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from zoneinfo import available_timezones

import msgspec

import drivers
from drivers import load

from .codec import finish
from .journal import Limits
from .model import Action, Checks, ConfigError, Device, Driver, Point
from .services.safety import Safety
from .uplink import Options as UplinkOptions
from .words import LANGUAGES, say, words

LARGEST = 1 << 20
"""Bytes of a file that somebody may have written by hand."""
SITE, PROFILE = "linli/site/1", "linli/profile/1"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Names end up in MQTT topics and metric labels."""
RESERVED = frozenset(
    {"uplink", "gateway", "safety", "presence", "visitors", "parking", "lockers", "commands", "timekeeping"}
)

_PROFILE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}/[A-Za-z0-9._-]{1,64}")

T = TypeVar("T", bound=msgspec.Struct)
Table = dict[str, Any]


def _is_port(number: int) -> bool:
    return 0 < number < 65_536


class Mistake(msgspec.Struct, frozen=True):
    """One thing to mend."""

    file: Path
    line: int
    where: str
    key: str
    facts: dict[str, object]

    def say(self, language: str) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}: {where}{say(language, f'error.{self.key}', **self.facts)}"


class Mistakes(ConfigError):
    """All the mistakes of a configuration."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("config-refused", count=len(mistakes), file=mistakes[0].file)
        self.mistakes = mistakes


class Centre(msgspec.Struct, frozen=True, kw_only=True):
    """`[site]`: who this is. `id` names the site upstream; `language` is that of the log."""

    id: str
    title: str | dict[str, str]
    timezone: str = "Asia/Shanghai"
    language: str = "zh"

    CHECKS: ClassVar[Checks] = {
        "id": (lambda name: bool(NAME.fullmatch(name)), "name-form"),
        "title": (bool, "title-empty"),
        "language": (LANGUAGES.__contains__, "language-unknown"),
        "timezone": (lambda name: name in available_timezones(), "timezone-unknown"),
    }


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[journal]`: where it lies, the seconds of telemetry a power cut may cost, the bytes it may take,
    the bytes a day that may be written, and those the card bears in its life."""

    path: Path = Path("/var/lib/linli/journal.db")
    window: float = 1.0
    cap: int = Limits().cap
    daily: int = Limits().daily
    endurance: int = Limits().endurance

    CHECKS: ClassVar[Checks] = {
        "window": (lambda seconds: 0.1 <= seconds <= 10, "window-range"),
        "cap": (lambda size: size >= 16_000_000, "cap-range"),
        "daily": (lambda size: size > 0, "positive"),
        "endurance": (lambda size: size > 0, "positive"),
    }

    @property
    def limits(self) -> Limits:
        return Limits(cap=self.cap, daily=self.daily, endurance=self.endurance)


class ControlOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[control]`: the local socket for the dashboard and `linli`."""

    socket: Path = Path("/run/linli/control.sock")


class MetricsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[metrics]`: where /metrics and /healthz answer; loopback unless said otherwise."""

    host: str = "127.0.0.1"
    port: int = 9109

    CHECKS: ClassVar[Checks] = {"port": (_is_port, "port-range")}


class DashboardOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[dashboard]`: where it listens, and the file that keeps its access key."""

    host: str = "127.0.0.1"
    port: int = 8080
    access: Path = Path("/var/lib/linli/access.key")

    CHECKS: ClassVar[Checks] = {"port": (_is_port, "port-range")}


class BusSpec(msgspec.Struct, frozen=True):
    """`[bus.…]`: a line or connection."""

    name: str
    driver: Driver
    options: Any


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A checked configuration."""

    centre: Centre
    journal: JournalOptions
    uplink: UplinkOptions | None
    control: ControlOptions
    metrics: MetricsOptions
    dashboard: DashboardOptions
    buses: dict[str, BusSpec]
    devices: dict[str, Device]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A device model: what a file below config/profiles says."""

    kind: str
    maker: str
    model: str
    driver: Driver
    points: dict[str, Point]
    actions: dict[str, Action]
    examples: tuple[Table, ...]
    fingerprint: dict[str, str]
    """What a device of this model says of itself to a scan: patterns with * and ?, whatever the case."""


class _DeviceKeys(msgspec.Struct, frozen=True, kw_only=True):
    profile: str
    bus: str
    title: str | dict[str, str] = ""
    every: float = 1.0

    CHECKS: ClassVar[Checks] = {"every": (lambda seconds: 0.05 <= seconds <= 86_400, "every-range")}


class _ProfileKeys(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    kind: str
    maker: str
    model: str
    driver: str
    source: str
    verified: bool = False


def load_site(file: Path) -> Site:
    """Read and check a site. Raises `Mistakes`."""
    reading = _Reading(file)
    site = reading.site()
    if reading.mistakes:
        raise Mistakes(reading.mistakes)
    assert site is not None
    return site


def load_profile(file: Path) -> Profile:
    """Read and check one device model. Raises `Mistakes`."""
    reading = _Reading(file)
    profile = reading.profile()
    if reading.mistakes:
        raise Mistakes(reading.mistakes)
    assert profile is not None
    return profile


def load_models(site: Path) -> dict[str, Profile]:
    """Every device model that a site in this file could use, by name; those with mistakes are left out."""
    found: dict[str, Profile] = {}
    for folder in profile_folders(site):
        for file in sorted(folder.glob("*/*.toml")):
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name not in found and _PROFILE_NAME.fullmatch(name):
                with contextlib.suppress(Mistakes):
                    found[name] = _cached_profile(file)
    return found


def try_example(profile: Profile, example: Table) -> tuple[Any, Any]:
    """What a worked example promises, and what decoding it gives: values, and those left out.

    Points that the example does not mention are not compared.
    """
    values, bad = finish(profile.points, profile.driver.decode(profile.points, _raw(profile, example)))
    wanted = example.get("values", {}), example.get("bad", {})
    got = {key: values.get(key) for key in wanted[0]}, {key: bad.get(key) for key in wanted[1]}
    return wanted, got


def _raw(profile: Profile, example: Table) -> Any:
    try:
        return profile.driver.example(example["raw"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError("example-form", reason=error) from error


def profile_folders(site: Path) -> list[Path]:
    """Where device models are looked for: beside the site's file first, then those that came along."""
    shipped = Path(str(files("gateway"))) / "profiles"
    checkout = Path(str(files("gateway"))).parent / "config" / "profiles"
    return [site.parent / "profiles", shipped if shipped.is_dir() else checkout]


class _Reading:
    """One file being read: collects mistakes instead of stopping at the first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: dict[tuple[str, ...], int] = {}
        self.mistakes: list[Mistake] = []

    def site(self) -> Site | None:
        data = self._parse(SITE)
        if data is None:
            return None
        known = ("schema", "site", "journal", "uplink", "control", "metrics", "dashboard", "bus", "device")
        self._unknown(data, known, ())
        centre = self._section(Centre, data, "site", required=True)
        journal = self._section(JournalOptions, data, "journal")
        uplink = self._section(UplinkOptions, data, "uplink") if "uplink" in data else None
        control = self._section(ControlOptions, data, "control")
        metrics = self._section(MetricsOptions, data, "metrics")
        dashboard = self._section(DashboardOptions, data, "dashboard")
        buses = self._buses(data)
        devices = self._devices(data, buses)
        self._commands(uplink, buses, devices)
        if not (centre and journal and control and metrics and dashboard):
            return None
        return Site(
            centre=centre,
            journal=journal,
            uplink=uplink,
            control=control,
            metrics=metrics,
            dashboard=dashboard,
            buses=buses,
            devices=devices,
        )

    def profile(self) -> Profile | None:
        data = self._parse(PROFILE)
        if data is None:
            return None
        points, examples = data.pop("points", {}), data.pop("examples", [])
        orders = self._tables(data, "actions")
        data.pop("actions", None)
        fingerprint = data.pop("fingerprint", {})
        if not isinstance(examples, list) or not all(isinstance(each, dict) for each in examples):
            self._mistake(("examples",), "table-expected", key="[examples]")
            return None
        keys = self._build(_ProfileKeys, data, ())
        if keys is None:
            return None
        if f"kind.{keys.kind}" not in words("en"):
            kinds = [key.removeprefix("kind.") for key in words("en") if key.startswith("kind.")]
            self._mistake(("kind",), "kind-unknown", kind=keys.kind, known=", ".join(sorted(kinds)))
        driver = self._driver(keys.driver, ("driver",))
        if driver is None:
            return None
        if not isinstance(points, dict) or not points:
            self._mistake(("points",), "points-missing")
            return None
        found: dict[str, Point] = {}
        for name, table in points.items():
            point = self._build(driver.point, table, ("points", name))
            if point is not None:
                found |= _repeat(name, point)
        self._fingerprint(driver, fingerprint)
        return Profile(
            kind=keys.kind,
            maker=keys.maker,
            model=keys.model,
            driver=driver,
            points=found,
            actions=self._actions(driver, orders, found),
            examples=tuple(examples),
            fingerprint=fingerprint,
        )

    def _fingerprint(self, driver: Driver, patterns: Any) -> None:
        if not isinstance(patterns, dict):
            self._mistake(("fingerprint",), "table-expected", key="[fingerprint]")
            return
        self._unknown(patterns, driver.scan.says if driver.scan else (), ("fingerprint",))
        for key, pattern in patterns.items():
            if not isinstance(pattern, str):
                got = type(pattern).__name__
                self._mistake(("fingerprint", key), "value-type", wanted="str", got=got)

    def _actions(
        self, driver: Driver, tables: list[tuple[str, Table]], points: dict[str, Point]
    ) -> dict[str, Action]:
        actions: dict[str, Action] = {}
        for name, table in tables:
            path = ("actions", name)
            if driver.action is None:
                self._mistake(path, "actions-none", driver=_name(driver))
                continue
            # What a service or the driver itself does would never reach the profile's action.
            if name in (*Safety.actions, *driver.actions):
                self._mistake(path, "name-reserved", name=name)
            action = self._build(driver.action, table, path)
            if action is None:
                continue
            for point in sorted(action.confirm.keys() - points.keys()):
                known = ", ".join(points)
                self._mistake((*path, "confirm"), "point-unknown", point=point, known=known)
            actions[name] = action
        return actions

    def _buses(self, data: Table) -> dict[str, BusSpec]:
        buses: dict[str, BusSpec] = {}
        for name, table in self._tables(data, "bus"):
            path = ("bus", name)
            if "driver" not in table:
                self._mistake(path, "key-missing", key="driver")
                continue
            driver = self._driver(table.pop("driver"), (*path, "driver"))
            options = driver and self._build(driver.options, table, path)
            if driver and options is not None:
                twin = next((bus.name for bus in buses.values() if bus.options == options), None)
                if twin:
                    self._mistake(path, "bus-twice", other=twin)
                buses[name] = BusSpec(name, driver, options)
        return buses

    def _devices(self, data: Table, buses: dict[str, BusSpec]) -> dict[str, Device]:
        devices: dict[str, Device] = {}
        common = [field.name for field in msgspec.structs.fields(_DeviceKeys)]
        for name, table in self._tables(data, "device"):
            path = ("device", name)
            if name in RESERVED:
                self._mistake(path, "name-reserved", name=name)
            address_table = {key: table.pop(key) for key in list(table) if key not in common}
            keys = self._build(_DeviceKeys, table, path)
            if keys is None:
                continue
            profile = self._find_profile(keys.profile, (*path, "profile"))
            bus = buses.get(keys.bus)
            if bus is None:
                # A bus that is written down but wrong has been told of already.
                written = data.get("bus", {})
                if not isinstance(written, dict):
                    continue
                if keys.bus not in written:
                    known = ", ".join(written) or "–"
                    self._mistake((*path, "bus"), "bus-unknown", bus=keys.bus, known=known)
                continue
            address = self._build(bus.driver.address, address_table, path)
            if profile is None or address is None:
                continue
            if profile.driver is not bus.driver:
                self._mistake(
                    (*path, "bus"),
                    "driver-differs",
                    profile=keys.profile,
                    needs=_name(profile.driver),
                    bus=keys.bus,
                    has=_name(bus.driver),
                )
                continue
            twin = next(
                (d.name for d in devices.values() if d.bus == keys.bus and d.address == address), None
            )
            if twin:
                self._mistake(path, "address-twice", other=twin, bus=keys.bus)
            devices[name] = Device(
                name=name,
                title=titles(keys.title or name),
                kind=profile.kind,
                profile=keys.profile,
                bus=keys.bus,
                address=address,
                points=profile.points,
                every=keys.every,
                actions=profile.actions,
            )
        return devices

    def _commands(
        self, uplink: UplinkOptions | None, buses: dict[str, BusSpec], devices: dict[str, Device]
    ) -> None:
        """A command that nothing here could carry out is a slip of the pen."""
        known = {
            *Safety.actions,
            *(action for bus in buses.values() for action in bus.driver.actions),
            *(action for device in devices.values() for action in device.actions),
        }
        for action in uplink.commands if uplink else ():
            if action not in known:
                listed = ", ".join(sorted(known))
                self._mistake(("uplink", "commands"), "action-nobody", action=action, known=listed)

    def _find_profile(self, name: str, path: tuple[str, ...]) -> Profile | None:
        folders = profile_folders(self._file)
        for folder in folders:
            file = folder / f"{name}.toml"
            if _PROFILE_NAME.fullmatch(name) and file.is_file():
                try:
                    return _cached_profile(file)
                except Mistakes as wrong:
                    self.mistakes += (m for m in wrong.mistakes if m not in self.mistakes)
                    return None
        known = [str(f.relative_to(d).with_suffix("")) for d in folders for f in d.glob("*/*.toml")]
        close = difflib.get_close_matches(name, known, 3, 0.4) or sorted(known)
        self._mistake(path, "profile-unknown", profile=name, close=", ".join(close))
        return None

    def _driver(self, name: Any, path: tuple[str, ...]) -> Driver | None:
        try:
            return load(str(name))
        except ConfigError as error:
            self._mistake(path, error.key, 0, **error.facts)
            return None

    def _tables(self, data: Table, section: str) -> list[tuple[str, Table]]:
        tables = data.get(section, {})
        if not isinstance(tables, dict):
            self._mistake((section,), "table-expected", key=section)
            return []
        found = []
        for name, table in tables.items():
            if not isinstance(table, dict):
                self._mistake((section, name), "table-expected", key=f"{section}.{name}")
                continue
            if not NAME.fullmatch(name):
                self._mistake((section, name), "name-form", name=name)
            found.append((name, dict(table)))
        return found

    def _section(self, kind: type[T], data: Table, name: str, required: bool = False) -> T | None:
        table = data.get(name, {})
        if required and name not in data:
            self._mistake((), "key-missing", key=f"[{name}]")
            return None
        return self._build(kind, table, (name,))

    def _build(self, kind: type[T], table: Any, path: tuple[str, ...]) -> T | None:
        """A struct from a table, with every field that is wrong, missing or unknown named."""
        if not isinstance(table, dict):
            self._mistake(path, "table-expected", key=".".join(path))
            return None
        before = len(self.mistakes)
        checks: Checks = getattr(kind, "CHECKS", {})
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        self._unknown(table, fields, path)
        values: Table = {}
        for name, field in fields.items():
            if name not in table:
                if field.required:
                    self._mistake(path, "key-missing", key=name)
                continue
            try:
                values[name] = msgspec.convert(table[name], field.type, dec_hook=_path)
            except msgspec.ValidationError as error:
                found = re.match(r"Expected `(.+?)`, got `(.+?)`", str(error))
                if found:
                    self._mistake((*path, name), "value-type", wanted=found[1], got=found[2])
                else:
                    self._mistake((*path, name), "value-wrong", value=table[name], reason=error)
                continue
            holds, sentence = checks.get(name, (lambda _: True, ""))
            if not _passes(holds, values[name]):
                self._mistake((*path, name), sentence)
        return None if len(self.mistakes) > before else kind(**values)

    def _unknown(self, table: Table, known: Any, path: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key, list(known), 1)
                self._mistake((*path, key), "key-unknown", known=", ".join(close or sorted(known)))

    def _parse(self, schema: str) -> Table | None:
        try:
            with self._file.open(encoding="utf-8") as file:
                text = file.read(LARGEST + 1)
            if len(text) > LARGEST:
                self._mistake((), "file-large", megabytes=LARGEST >> 20)
                return None
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            self._mistake((), "toml", at_line=int(line[1]) if line else text.count("\n") + 1, reason=error)
            return None
        except (OSError, UnicodeDecodeError) as error:
            self._mistake((), "file-unreadable", reason=error)
            return None
        except (ValueError, RecursionError) as error:
            # What tomllib passes on of Python's own limits: digits of a number, depth of nesting.
            self._mistake((), "toml", reason=error)
            return None
        self._lines = _locate(text, data)
        if data.get("schema") != schema:
            self._mistake(("schema",), "schema", wanted=schema)
        return data

    def _mistake(self, path: tuple[str, ...], key: str, /, at_line: int = 0, **facts: object) -> None:
        tried = [path[:n] for n in range(len(path), 0, -1)]
        line = at_line or next((self._lines[part] for part in tried if part in self._lines), 1)
        self.mistakes.append(Mistake(self._file, line, ".".join(path), key, facts))


@functools.lru_cache(maxsize=256)
def _cached_profile(file: Path) -> Profile:
    return load_profile(file)


def _passes(holds: Callable[[Any], bool], value: Any) -> bool:
    """A test that chokes on the value (no url at all) has failed."""
    try:
        return holds(value)
    except ValueError:
        return False


def _repeat(name: str, point: Point) -> dict[str, Point]:
    if not point.repeat:
        return {name: point}
    return {
        f"{name}.{index}": msgspec.structs.replace(point, index=index)
        for index in range(1, point.repeat + 1)
    }


def titles(title: str | Mapping[str, str]) -> dict[str, str]:
    """A title in every language; one given without a language serves for all."""
    if isinstance(title, str):
        return dict.fromkeys(LANGUAGES, title)
    first = next(iter(title.values()))
    return {language: title.get(language, first) for language in LANGUAGES}


def _name(driver: Driver) -> str:
    return next(name for name in drivers.names() if load(name) is driver)


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")


_KEY = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_HEADER = re.compile(rf"\s*\[+\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]+")
_ASSIGNMENT = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")


def _locate(text: str, data: Table) -> dict[tuple[str, ...], int]:
    """The line of each table and key. `tomllib` keeps none; what only looks like a key (inside a
    multi-line string) is told apart by not being in the data."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = path = _keys(header[1])
        elif assignment := _ASSIGNMENT.match(line):
            path = (*table, *_keys(assignment[1]))
        else:
            continue
        if _holds(data, path):
            lines.setdefault(path, number)
    return lines


def _keys(dotted: str) -> tuple[str, ...]:
    return tuple(key.strip("\"'") for key in re.findall(_KEY, dotted))


def _holds(data: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if isinstance(data, list):
            data = data[-1] if data else {}
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True
