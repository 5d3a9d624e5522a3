"""Reading a site from its TOML file, with the device models it uses.

Nothing here opens a port: a configuration can be checked on any machine.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from gateway.model import GATEWAY_ACTIONS, Calibration, Checks, ConfigError, Device
from gateway.model.hours import WeeklyHours
from gateway.wire.broker import BrokerOptions, with_default_client_id

from .capability import (
    Figure,
    SiteDraft,
    capabilities,
    check_sections,
    reserved_names,
    service_actions,
)
from .dialect.file import dialect_names, find_dialect, load_dialect
from .dialect.identity import identity_mistakes
from .dialect.rules import BUILT_IN, DialectFile, source_name
from .fields import Table
from .options import (
    BusSpec,
    Centre,
    ControlOptions,
    DashboardOptions,
    JournalOptions,
    MetricsOptions,
    UplinkOptions,
)
from .profile import PROFILE_SCHEMA, Profile, load_profile
from .reading import Mistakes, TomlReader, driver_name, has_named_tables, line_with, localized, table_names
from .site import Site, files_of

SITE_SCHEMA = "linli/site/1"
CORE_TABLES = (
    "schema", "site", "journal", "uplink", "control", "metrics", "dashboard", "bus", "device", "hours",
)  # fmt: skip
"""The top-level tables that belong to no capability."""
RESTART_TABLES = ("journal", "control", "metrics", "dashboard")
"""Changes of these, and of most of `[site]`, need a restart."""
FOLLOWED_CENTRE_KEYS = ("title", "contact")
"""What the pages and messages follow at once."""

DEFAULT_POLL_S = 1.0

_PROFILE_NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}/[A-Za-z0-9._-]{1,64}")


def figures_of(parts: Mapping[str, Any]) -> dict[str, Mapping[str, Figure]]:
    """The figures of the services of all capabilities, by service and name. `parts`: see `Site`."""
    found: dict[str, Mapping[str, Figure]] = {}
    for capability in capabilities():
        found |= capability.section.figures(parts[capability.name])
    return found


def available_actions(buses: Mapping[str, BusSpec], devices: Mapping[str, Device]) -> frozenset[str]:
    """Every action that a service or one of these devices can execute."""
    return frozenset(
        {
            *service_actions(),
            *(action for device in devices.values() for action in buses[device.bus].driver.actions),
            *(action for device in devices.values() for action in device.actions),
        }
    )


class _DeviceKeys(msgspec.Struct, frozen=True, kw_only=True):
    profile: str
    bus: str
    title: str | dict[str, str] = ""
    room: str | dict[str, str] = ""
    every: float | None = None
    serial: str = ""
    calibrate: dict[str, Calibration] = {}

    CHECKS: ClassVar[Checks] = {
        "serial": (lambda text: len(text) <= 64 and text.isprintable(), "serial-form"),
        "every": (lambda seconds: seconds is None or 0.05 <= seconds <= 86_400, "every-range"),
    }


_DEVICE_KEYS = tuple(field.name for field in msgspec.structs.fields(_DeviceKeys))


def load_site(
    file: Path, *, saved_sources: Mapping[str, str] | None = None, running: Site | None = None
) -> Site:
    """Read and check a site. Raises `Mistakes`.

    `saved_sources` are the `sources` of a site, read instead of its files; `running` is the current site: a
    change that needs a restart is then a mistake.
    """
    reading = _SiteReader(file, saved_sources)
    site = reading.read_site()
    if site and running:
        reading.check_restart_keys(running, site)
    if reading.mistakes:
        raise Mistakes(reading.mistakes)
    assert site is not None
    return site


def profile_folders(site: Path) -> list[Path]:
    """Where device models are searched for: beside the site file first, then those of the distribution."""
    return search_folders(site, "profiles")


def search_folders(site: Path, name: str) -> list[Path]:
    """The folder of that name beside the site file, and the one of the distribution."""
    shipped = Path(str(files("gateway"))) / name
    checkout = Path(str(files("gateway"))).parent / "config" / name
    return [site.parent / name, shipped if shipped.is_dir() else checkout]


def load_profiles(site: Path) -> dict[str, Profile]:
    """Every device model that a site in this file could use, by name; those with mistakes are left out."""
    found: dict[str, Profile] = {}
    for folder in profile_folders(site):
        for file in sorted(folder.glob("*/*.toml")):
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name not in found and _PROFILE_NAME_PATTERN.fullmatch(name):
                with contextlib.suppress(Mistakes):
                    found[name] = load_profile(file)
    return found


class _SiteReader(TomlReader):
    """The file of a site."""

    def __init__(self, file: Path, saved_sources: Mapping[str, str] | None) -> None:
        super().__init__(file, None if saved_sources is None else saved_sources[""])
        self._saved_sources = saved_sources
        self._profiles: dict[str, Profile | None] = {}

    def read_site(self) -> Site | None:
        data = self.parse_file(SITE_SCHEMA)
        if data is None:
            return None
        if "points" in data and "site" not in data:
            self.add_mistake(("schema",), "schema", wanted=PROFILE_SCHEMA)
            return None
        check_sections(CORE_TABLES)
        sections = {capability.name: capability.section for capability in capabilities()}
        own = (table for section in sections.values() for table in section.tables)
        self.check_keys(data, (*CORE_TABLES, *own), ())
        centre = self.read_section(Centre, data, "site", required=True)
        journal = self.read_section(JournalOptions, data, "journal")
        uplinks = self._read_uplinks(data)
        control = self.read_section(ControlOptions, data, "control")
        metrics = self.read_section(MetricsOptions, data, "metrics")
        dashboard = self.read_section(DashboardOptions, data, "dashboard")
        buses = self._read_buses(data)
        self._check_client_ids(uplinks, buses)
        if centre:
            buses = {
                name: msgspec.structs.replace(
                    bus, options=with_default_client_id(bus.options, centre.id, name)
                )
                for name, bus in buses.items()
            }
        devices = self._read_devices(data, buses)
        read = (self._read_dialect(options, devices, path) for path, options in uplinks.items())
        dialects = {dialect.name: dialect for dialect in read if dialect}
        # What a device that is configured wrongly can do is not known.
        if has_named_tables(data, "device") and len(devices) == len(table_names(data, "device")):
            self._check_uplinks(uplinks, buses, devices)
        hours = self._read_hours(data)
        draft = SiteDraft(
            reader=self,
            data=data,
            buses=buses,
            devices=devices,
            core_is_valid=not self.mistakes,
            hours=hours,
            folders=lambda name: search_folders(self._file, name),
            saved_sources=self._saved_sources,
            sources={},
        )
        parts = {name: section.read(draft) for name, section in sections.items()}
        figures = figures_of(parts)
        parts = {name: sections[name].resolve(draft, part, figures) for name, part in parts.items()}
        if not (centre and journal and control and metrics and dashboard):
            return None
        site = Site(
            centre=centre,
            journal=journal,
            uplinks={path[-1]: options for path, options in uplinks.items()},
            control=control,
            metrics=metrics,
            dashboard=dashboard,
            buses=buses,
            devices=devices,
            hours=hours,
            sources={
                "": self.text,
                **{name: profile.text for name, profile in self._profiles.items() if profile},
                **{
                    source_name(name): text
                    for each in dialects.values()
                    for name, text in each.texts.items()
                },
                **draft.sources,
            },
            dialects=dialects,
            parts=parts,
        )
        for key, path, _ in files_of(site):
            if path.resolve() == self._file.resolve():
                self.add_mistake((), "file-configuration", line_with(self.text, str(path)), key=key)
        return site

    def check_restart_keys(self, running: Site, site: Site) -> None:
        """Report changes that need a restart."""
        pairs: list[tuple[str, msgspec.Struct | None, msgspec.Struct | None]] = [
            (name, getattr(running, field), getattr(site, field))
            for name, field in (("site", "centre"), *((name, name) for name in RESTART_TABLES))
        ]
        for capability in capabilities():
            fixed = capability.section.fixed
            old, new = fixed(running.parts[capability.name]), fixed(site.parts[capability.name])
            pairs += [(name, old[name], new[name]) for name in old]
        for name, before, after in pairs:
            if before is None or after is None:
                continue
            for key in before.__struct_fields__:
                if name == "site" and key in FOLLOWED_CENTRE_KEYS:
                    continue
                if getattr(before, key) != getattr(after, key):
                    self.add_mistake((name, key), "needs-restart")

    def _read_hours(self, data: Table) -> WeeklyHours | None:
        """The opening hours, if the site file gives any."""
        if "hours" not in data:
            return None
        table = data["hours"]
        if not isinstance(table, dict):
            self.add_mistake(("hours",), "table-expected", key="hours")
            return None
        return self.read_week(table, ("hours",))

    def _read_buses(self, data: Table) -> dict[str, BusSpec]:
        buses: dict[str, BusSpec] = {}
        for name, table in self.named_tables(data, "bus", "driver"):
            path = ("bus", name)
            if "driver" not in table:
                self.add_mistake(path, "key-missing", key="driver")
                continue
            driver = self.load_driver(table.pop("driver"), (*path, "driver"))
            options = driver and self.build_struct(driver.options, table, path)
            if driver and options is not None:
                twin = next((bus.name for bus in buses.values() if bus.options == options), None)
                if twin:
                    self.add_mistake(path, "bus-twice", other=twin)
                buses[name] = BusSpec(name, driver, options)
        return buses

    def _read_uplinks(self, data: Table) -> dict[tuple[str, ...], UplinkOptions]:
        """Each by its path: that of `[uplink]` alone, or those of `[uplink.…]`."""
        if "uplink" not in data:
            return {}
        table = data["uplink"]
        if not table or not has_named_tables(data, "uplink"):
            if isinstance(table, dict):
                others = [name for name, each in table.items() if isinstance(each, dict) and "url" in each]
                for name in others:
                    self.add_mistake(("uplink", name), "uplink-unnamed", name=name)
                table = {name: each for name, each in table.items() if name not in others}
            read = self.build_struct(UplinkOptions, table, ("uplink",))
            return {("uplink",): read} if read else {}
        found = {
            ("uplink", name): self.build_struct(UplinkOptions, table, ("uplink", name))
            for name, table in self.named_tables(data, "uplink", "url")
        }
        return {path: options for path, options in found.items() if options}

    def _check_client_ids(
        self, uplinks: dict[tuple[str, ...], UplinkOptions], buses: dict[str, BusSpec]
    ) -> None:
        """A broker ends the older of two connections with the same client id."""
        connections: dict[tuple[str, ...], Any] = {**uplinks}
        connections |= {("bus", bus.name): bus.options for bus in buses.values()}
        seen: dict[tuple[str, int, str], str] = {}
        for path, options in connections.items():
            if isinstance(options, BrokerOptions) and options.client_id:
                key = options.host, options.port, options.client_id
                other = seen.setdefault(key, ".".join(path))
                if other != ".".join(path):
                    self.add_mistake((*path, "client_id"), "client-id-twice", other=other)

    def _read_devices(self, data: Table, buses: dict[str, BusSpec]) -> dict[str, Device]:
        devices: dict[str, Device] = {}
        for name, table in self.named_tables(data, "device", "profile"):
            path = ("device", name)
            if name in reserved_names():
                self.add_mistake(path, "name-reserved", name=name)
            address_table = {key: table.pop(key) for key in list(table) if key not in _DEVICE_KEYS}
            keys = self.build_struct(_DeviceKeys, table, path)
            if keys is None:
                continue
            profile = self._find_profile(keys.profile, (*path, "profile"))
            bus = self._find_bus(keys.bus, buses, data, (*path, "bus"))
            if profile and bus and profile.driver is not bus.driver:
                # The keys of its address are those of the other driver: they would all be unknown.
                self.add_mistake(
                    (*path, "bus"),
                    "driver-differs",
                    profile=keys.profile,
                    needs=driver_name(profile.driver),
                    bus=keys.bus,
                    has=driver_name(bus.driver),
                )
                continue
            address = self._read_address(profile or bus, address_table, path)
            if profile is None or bus is None or address is None:
                continue
            twin = next(
                (d.name for d in devices.values() if d.bus == keys.bus and d.address == address), None
            )
            if twin:
                self.add_mistake(path, "address-twice", other=twin, bus=keys.bus)
            device = Device(
                name=name,
                title=localized(keys.title or name),
                room=localized(keys.room) if keys.room else {},
                kind=profile.kind,
                profile=keys.profile,
                bus=keys.bus,
                address=address,
                points=self._calibrated(profile, keys.calibrate, (*path, "calibrate")),
                calibrations=keys.calibrate,
                serial=keys.serial.strip(),
                every=keys.every or bus.driver.silence_s or DEFAULT_POLL_S,
                actions=profile.actions if bus.driver.can_send(bus.options) else {},
                retained=profile.retained,
            )
            try:
                others = tuple(other for other in devices.values() if other.bus == keys.bus)
                bus.driver.check_device(device, others, bus.options)
            except ConfigError as error:
                self.add_mistake(path, error.key, 0, **error.facts)
            devices[name] = device
        return devices

    def _calibrated(
        self, profile: Profile, calibrations: Mapping[str, Calibration], path: tuple[str, ...]
    ) -> dict[str, Any]:
        """The points of a profile as a site has calibrated them; reports what may not be."""
        points = dict(profile.points)
        for name, calibration in calibrations.items():
            where = (*path, name)
            point = profile.points.get(name)
            if point is None:
                self.add_mistake(where, "point-unknown", point=name, known=", ".join(profile.points))
            elif not point.calibration_limit:
                self.add_mistake(where, "calibration-none", point=name)
            elif not point.admits(calibration):
                most = f"{point.calibration_limit:g} {point.unit}".rstrip()
                self.add_mistake(where, "calibration-far", point=name, most=most)
            else:
                points[name] = point.calibrated(calibration)
        return points

    def _read_address(
        self, of_driver: Profile | BusSpec | None, table: Table, path: tuple[str, ...]
    ) -> msgspec.Struct | None:
        """The address of a device, by the driver of its model or its bus, whichever is known."""
        if of_driver is None:
            return None
        address_type = of_driver.driver.address
        own = [field.name for field in msgspec.structs.fields(address_type)]
        # A key that is unknown may also be a misspelt key that all devices have.
        self.check_keys(table, (*own, *_DEVICE_KEYS), path)
        return self.build_struct(address_type, {key: table[key] for key in own if key in table}, path)

    def _find_bus(
        self, name: str, buses: dict[str, BusSpec], data: Table, path: tuple[str, ...]
    ) -> BusSpec | None:
        """Report an unknown bus; one that is configured wrongly has been reported already."""
        configured = data.get("bus", {})
        if name not in buses and isinstance(configured, dict) and name not in configured:
            self.add_mistake(path, "bus-unknown", bus=name, known=", ".join(configured) or "–")
        return buses.get(name)

    def _check_uplinks(
        self,
        uplinks: dict[tuple[str, ...], UplinkOptions],
        buses: dict[str, BusSpec],
        devices: dict[str, Device],
    ) -> None:
        """Report allowed commands that no service or device here can execute, and devices and kinds that
        there are not."""
        known = available_actions(buses, devices) | GATEWAY_ACTIONS
        names = [*devices, *reserved_names()]
        kinds = sorted({device.kind for device in devices.values()})
        for path, options in uplinks.items():
            for action in options.commands:
                if action not in known:
                    near = difflib.get_close_matches(action.lower(), known, 1)
                    listed = ", ".join(near or sorted(known))
                    self.add_mistake((*path, "commands"), "action-nobody", action=action, known=listed)
            for pattern in options.devices:
                if not fnmatch.filter(names, pattern):
                    self.add_mistake(
                        (*path, "devices"), "uplink-devices", read=pattern, known=", ".join(devices)
                    )
            for kind in options.kinds:
                if kind not in kinds:
                    self.add_mistake((*path, "kinds"), "uplink-kinds", read=kind, known=", ".join(kinds))

    def _read_dialect(
        self, options: UplinkOptions, devices: Mapping[str, Device], path: tuple[str, ...]
    ) -> DialectFile | None:
        """The dialect file of an uplink; None for a built-in dialect, or where it is wrong."""
        if options.dialect in BUILT_IN:
            return None
        folders = search_folders(self._file, "dialects")
        file = find_dialect(options.dialect, folders, self._saved_sources)
        if file is None:
            known = dialect_names(folders)
            close = difflib.get_close_matches(options.dialect, known, 3, 0.4) or known
            facts = {"dialect": options.dialect, "known": ", ".join(close)}
            self.add_mistake((*path, "dialect"), "dialect-unknown", **facts)
            return None
        try:
            dialect = load_dialect(file, folders, self._saved_sources)
        except Mistakes as wrong:
            self.mistakes += wrong.mistakes
            return None
        received = {
            name: device for name, device in devices.items()
            if not (options.devices or options.kinds) or device.kind in options.kinds
            or any(fnmatch.fnmatchcase(name, pattern) for pattern in options.devices)
        }  # fmt: skip
        for where, key, said in identity_mistakes(dialect, options.identity, received):
            table = (*path, "identity", *where)
            shown = {"table": ".".join(table)} if key == "identity-missing" else {}
            self.add_mistake(table, key, 0, **said, **shown)
        return dialect

    def _find_profile(self, name: str, path: tuple[str, ...]) -> Profile | None:
        if name in self._profiles:
            return self._profiles[name]
        folders = profile_folders(self._file)
        saved_text = self._saved_sources.get(name) if self._saved_sources else None
        for folder in folders:
            file = folder / f"{name}.toml"
            if saved_text is not None or (_PROFILE_NAME_PATTERN.fullmatch(name) and file.is_file()):
                self._profiles[name] = None
                try:
                    self._profiles[name] = load_profile(file, saved_text)
                except Mistakes as wrong:
                    self.mistakes += wrong.mistakes
                return self._profiles[name]
        known = [str(f.relative_to(d).with_suffix("")) for d in folders for f in d.glob("*/*.toml")]
        close = difflib.get_close_matches(name, known, 3, 0.4) or sorted(known)
        self.add_mistake(path, "profile-unknown", profile=name, close=", ".join(close))
        return None
