"""A site, from TOML, with the device models it uses.

Nothing here opens a port: a configuration can be checked on any machine.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import available_timezones

import msgspec

from gateway.capabilities.legacy import ACTIONS, Duties
from gateway.capabilities.needs.site import NeedsOptions, needs
from gateway.capabilities.safety.services.alarms import Output, Rule
from gateway.capabilities.safety.site import duties, escalation
from gateway.capabilities.safety.site import rules as safety
from gateway.capabilities.visitors import site as visiting
from gateway.capabilities.visitors.services import Layout
from gateway.journal import Limits
from gateway.model import Checks, ConfigError, Device, Driver
from gateway.model.hours import Hours
from gateway.uplink import Options as UplinkOptions
from gateway.words import LANGUAGES

from .profile import Profile, load_profile
from .reading import NAME, Mistakes, Table, TomlReader, driver_name, localized

SITE = "linli/site/1"
RESERVED = frozenset(
    {"uplink", "gateway", "safety", "presence", "visitors", "parking", "lockers", "commands", "timekeeping"}
    | {
        "outputs",
        "rule",
        "drill",
        "response",
        "supervision",
        "batteries",
        "patrols",
        "hazards",
        "needs",
        "escalation",
    }
)

SECTIONS = (
    "schema", "site", "journal", "statistics", "uplink", "control", "metrics", "dashboard", "bus", "device",
    "hours", "rule", "output", "tests", "patrol", "hazards", "needs", *visiting.SECTIONS,
    *escalation.SECTIONS,
)  # fmt: skip

_PROFILE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}/[A-Za-z0-9._-]{1,64}")


def _is_port(number: int) -> bool:
    return 0 < number < 65_536


class Centre(msgspec.Struct, frozen=True, kw_only=True):
    """`[site]`: who this is. `id` names the site upstream; `language` is that of the log; `contact` is whom
    visitors may ask about the protection of personal information (name, telephone, e-mail)."""

    id: str
    title: str | dict[str, str]
    timezone: str = "Asia/Shanghai"
    language: str = "zh"
    contact: str | dict[str, str] = ""

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


class StatisticsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[statistics]`: where the visitors of all years are kept; beside the journal unless it says."""

    path: Path | None = None


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

    @property
    def stills(self) -> bool:
        """Whether it is a camera that a person may look at."""
        return self.driver.allows_stills is not None and self.driver.allows_stills(self.options)


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A checked configuration."""

    centre: Centre
    journal: JournalOptions
    statistics: StatisticsOptions = StatisticsOptions()
    uplink: UplinkOptions | None
    control: ControlOptions
    metrics: MetricsOptions
    dashboard: DashboardOptions
    buses: dict[str, BusSpec]
    devices: dict[str, Device]
    sources: dict[str, str]
    """The text of the site's file under `""`, and that of each device model under its name."""
    hours: Hours | None = None
    """When it is open to visitors."""
    rules: dict[str, Rule] = {}
    outputs: dict[str, Output] = {}
    telling: escalation.Telling = escalation.Telling()
    """Whom to tell of an alarm, and how."""
    duties: Duties = Duties()
    needs: NeedsOptions | None = None
    """Where the particulars of residents' needs lie, if they are registered here."""
    layout: Layout = Layout()
    """The rooms and doors that visitors walk through."""

    @property
    def statistics_file(self) -> Path:
        """Where the visitors of all years are kept."""
        return self.statistics.path or self.journal.path.with_name("statistics.db")

    @property
    def digest(self) -> str:
        """What tells this configuration from every other one."""
        return digest(self.sources)


def offered(buses: Mapping[str, BusSpec], devices: Mapping[str, Device]) -> frozenset[str]:
    """Every action that some service or device here can carry out."""
    return frozenset(
        {
            *ACTIONS,
            *(action for device in devices.values() for action in buses[device.bus].driver.actions),
            *(action for device in devices.values() for action in device.actions),
        }
    )


class _DeviceKeys(msgspec.Struct, frozen=True, kw_only=True):
    profile: str
    bus: str
    title: str | dict[str, str] = ""
    every: float = 1.0

    CHECKS: ClassVar[Checks] = {"every": (lambda seconds: 0.05 <= seconds <= 86_400, "every-range")}


def load_site(file: Path, *, kept: Mapping[str, str] | None = None, running: Site | None = None) -> Site:
    """Read and check a site. Raises `Mistakes`.

    `kept` are a site's `sources`, read in place of its files; `running` is the site that the new one is
    to follow without a restart.
    """
    reading = _SiteReading(file, kept)
    site = reading.site()
    if site and running:
        reading.compare(running, site)
    if reading.mistakes:
        raise Mistakes(reading.mistakes)
    assert site is not None
    return site


def digest(sources: Mapping[str, str]) -> str:
    """Sixteen hexadecimal digits that differ when any of the texts does."""
    return hashlib.sha256(msgspec.json.encode(sources, order="sorted")).hexdigest()[:16]


def profile_folders(site: Path) -> list[Path]:
    """Where device models are looked for: beside the site's file first, then those that came along."""
    return folders(site, "profiles")


def folders(site: Path, name: str) -> list[Path]:
    """A folder beside the site's file, and the one of that name that came along."""
    shipped = Path(str(files("gateway"))) / name
    checkout = Path(str(files("gateway"))).parent / "config" / name
    return [site.parent / name, shipped if shipped.is_dir() else checkout]


def load_models(site: Path) -> dict[str, Profile]:
    """Every device model that a site in this file could use, by name; those with mistakes are left out."""
    found: dict[str, Profile] = {}
    for folder in profile_folders(site):
        for file in sorted(folder.glob("*/*.toml")):
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name not in found and _PROFILE_NAME.fullmatch(name):
                with contextlib.suppress(Mistakes):
                    found[name] = load_profile(file)
    return found


class _SiteReading(TomlReader):
    """The file of a site."""

    def __init__(self, file: Path, kept: Mapping[str, str] | None) -> None:
        super().__init__(file, None if kept is None else kept[""])
        self._sources = kept
        self._profiles: dict[str, Profile | None] = {}

    def site(self) -> Site | None:
        data = self.parse(SITE)
        if data is None:
            return None
        self.unknown(data, SECTIONS, ())
        centre = self.section(Centre, data, "site", required=True)
        journal = self.section(JournalOptions, data, "journal")
        statistics = self.section(StatisticsOptions, data, "statistics")
        uplink = self.section(UplinkOptions, data, "uplink") if "uplink" in data else None
        control = self.section(ControlOptions, data, "control")
        metrics = self.section(MetricsOptions, data, "metrics")
        dashboard = self.section(DashboardOptions, data, "dashboard")
        buses = self._buses(data)
        devices = self._devices(data, buses)
        self._commands(uplink, buses, devices)
        opening = safety.hours(self, data)
        layout = visiting.layout(self, data, devices)
        rules = visiting.crowding(layout) | safety.rules(
            self, data, devices, opening, visiting.figures(layout)
        )
        outputs = safety.outputs(self, data, devices, {bus.name: bus.driver for bus in buses.values()})
        plans, texts = duties.plans(self, folders(self._file, "plans"), self._sources)
        asked = duties.duties(self, data, plans)
        told = needs(self, data)
        telling = escalation.telling(self, data)
        if not (centre and journal and statistics and control and metrics and dashboard):
            return None
        return Site(
            centre=centre,
            journal=journal,
            statistics=statistics,
            uplink=uplink,
            control=control,
            metrics=metrics,
            dashboard=dashboard,
            buses=buses,
            devices=devices,
            hours=opening,
            rules=rules,
            outputs=outputs,
            sources={
                "": self.text,
                **{name: profile.text for name, profile in self._profiles.items() if profile},
                **texts,
            },
            duties=msgspec.structs.replace(asked, needs=told[1]) if told else asked,
            needs=told[0] if told else None,
            layout=layout,
            telling=telling,
        )

    def compare(self, running: Site, site: Site) -> None:
        """Name what cannot change while the gateway runs."""
        for section, old, new in (
            ("site", running.centre, site.centre),
            ("journal", running.journal, site.journal),
            ("statistics", running.statistics, site.statistics),
            ("control", running.control, site.control),
            ("metrics", running.metrics, site.metrics),
            ("dashboard", running.dashboard, site.dashboard),
            *([("needs", running.needs, site.needs)] if running.needs and site.needs else []),
        ):
            for key in old.__struct_fields__:
                if getattr(old, key) != getattr(new, key):
                    self.mistake((section, key), "needs-restart")

    def _buses(self, data: Table) -> dict[str, BusSpec]:
        buses: dict[str, BusSpec] = {}
        for name, table in self.tables(data, "bus"):
            path = ("bus", name)
            if "driver" not in table:
                self.mistake(path, "key-missing", key="driver")
                continue
            driver = self.driver(table.pop("driver"), (*path, "driver"))
            options = driver and self.build(driver.options, table, path)
            if driver and options is not None:
                twin = next((bus.name for bus in buses.values() if bus.options == options), None)
                if twin:
                    self.mistake(path, "bus-twice", other=twin)
                buses[name] = BusSpec(name, driver, options)
        return buses

    def _devices(self, data: Table, buses: dict[str, BusSpec]) -> dict[str, Device]:
        devices: dict[str, Device] = {}
        common = [field.name for field in msgspec.structs.fields(_DeviceKeys)]
        for name, table in self.tables(data, "device"):
            path = ("device", name)
            if name in RESERVED:
                self.mistake(path, "name-reserved", name=name)
            address_table = {key: table.pop(key) for key in list(table) if key not in common}
            keys = self.build(_DeviceKeys, table, path)
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
                    self.mistake((*path, "bus"), "bus-unknown", bus=keys.bus, known=known)
                continue
            address = self.build(bus.driver.address, address_table, path)
            if profile is None or address is None:
                continue
            if profile.driver is not bus.driver:
                self.mistake(
                    (*path, "bus"),
                    "driver-differs",
                    profile=keys.profile,
                    needs=driver_name(profile.driver),
                    bus=keys.bus,
                    has=driver_name(bus.driver),
                )
                continue
            twin = next(
                (d.name for d in devices.values() if d.bus == keys.bus and d.address == address), None
            )
            if twin:
                self.mistake(path, "address-twice", other=twin, bus=keys.bus)
            device = Device(
                name=name,
                title=localized(keys.title or name),
                kind=profile.kind,
                profile=keys.profile,
                bus=keys.bus,
                address=address,
                points=profile.points,
                every=keys.every,
                actions=profile.actions,
            )
            try:
                bus.driver.check_device(device, tuple(d for d in devices.values() if d.bus == keys.bus))
            except ConfigError as error:
                self.mistake(path, error.key, 0, **error.facts)
            devices[name] = device
        return devices

    def _commands(
        self, uplink: UplinkOptions | None, buses: dict[str, BusSpec], devices: dict[str, Device]
    ) -> None:
        """A command that nothing here could carry out is a slip of the pen."""
        known = offered(buses, devices)
        for action in uplink.commands if uplink else ():
            if action not in known:
                listed = ", ".join(sorted(known))
                self.mistake(("uplink", "commands"), "action-nobody", action=action, known=listed)

    def _find_profile(self, name: str, path: tuple[str, ...]) -> Profile | None:
        if name in self._profiles:
            return self._profiles[name]
        folders = profile_folders(self._file)
        kept = self._sources.get(name) if self._sources else None
        for folder in folders:
            file = folder / f"{name}.toml"
            if kept is not None or (_PROFILE_NAME.fullmatch(name) and file.is_file()):
                self._profiles[name] = None
                try:
                    self._profiles[name] = load_profile(file, kept)
                except Mistakes as wrong:
                    self.mistakes += wrong.mistakes
                return self._profiles[name]
        known = [str(f.relative_to(d).with_suffix("")) for d in folders for f in d.glob("*/*.toml")]
        close = difflib.get_close_matches(name, known, 3, 0.4) or sorted(known)
        self.mistake(path, "profile-unknown", profile=name, close=", ".join(close))
        return None
