"""The declaration of a capability, and the registry of all capabilities.

A capability is one folder below `gateway/capabilities/` with a `CAPABILITY` in its `__init__.py`. That
names its modules, so that a program imports only the parts it needs. The core knows no capability by name:
it finds the folders, and derives every list from the declarations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeVar

import msgspec

from gateway.model import GATEWAY_DEVICE, UPLINK_DEVICE, ConfigError, Device, Point, Service
from gateway.model.hours import WeeklyHours
from gateway.services import CORE_SERVICES

from .fields import Table
from .options import BusSpec
from .reading import TomlReader, has_named_tables, table_names
from .settable import SettingSection
from .site import Site

PACKAGE = "gateway.capabilities"
CORE_OWNER = "core"
"""The owner that messages name where the core itself owns a name."""

_CORE_NAMES = (GATEWAY_DEVICE, UPLINK_DEVICE)
"""Names used like those of devices, beside the services'."""

T = TypeVar("T")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a service's summary. Rules test it as `<service>.<figure>`."""

    point: Point = Point()
    """Its unit and range. With `alarm`, it raises an alarm without a rule of the site."""
    rule: str = ""
    """The name of that alarm's rule. A `[rule.<name>]` of the site replaces it."""
    title: dict[str, str] = {}
    """The title of that rule, by language."""
    people_inside: bool = False
    """It is the number of people in the centre, who must be found in a fire."""


Figures = Mapping[str, Mapping[str, Figure]]
"""By service, by name."""


class SiteDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A site file while it is read, as the section of a capability sees it. Report mistakes to `reader`."""

    reader: TomlReader
    data: Table
    """The whole file."""
    buses: Mapping[str, BusSpec]
    devices: Mapping[str, Device]
    """Those without mistakes."""
    core_is_valid: bool
    """Whether the core's own tables have no mistakes."""
    hours: WeeklyHours | None
    """When the centre is open to visitors."""
    folders: Callable[[str], list[Path]]
    """The folders of a kind of files (`plans`): the one beside the site file, then the shipped one."""
    saved_sources: Mapping[str, str] | None
    """The texts of an adopted configuration, to be read in place of such files."""
    sources: dict[str, str]
    """Add the texts of such files here, each under a unique name: they belong to the configuration."""

    def is_reported(self, device: str) -> bool:
        """Whether the site file has the device, but with mistakes, which have been reported already."""
        written = table_names(self.data, "device")
        return device not in self.devices and (
            device in written or not has_named_tables(self.data, "device")
        )


class SiteSection(msgspec.Struct, frozen=True, kw_only=True):
    """What a capability reads from the site file, and the services that follow from it."""

    tables: tuple[str, ...] = ()
    """The top-level tables that it owns."""
    read: Callable[[SiteDraft], Any] = lambda draft: None
    """Reads its part of the site, a frozen struct, and reports mistakes to the draft's reader."""
    resolve: Callable[[SiteDraft, Any, Figures], Any] = lambda draft, part, figures: part
    """Completes its part when the figures of all capabilities are known."""
    figures: Callable[[Any], Figures] = lambda part: {}
    """The figures of its services' summaries, from its part of the site."""
    fixed: Callable[[Any], Mapping[str, msgspec.Struct | None]] = lambda part: {}
    """By table: the keys that cannot change without a restart."""
    inspect: Callable[[Site, TomlReader], None] = lambda site, reader: None
    """Reports to the reader of the site file what should be corrected although the gateway starts with it:
    for `linli check`."""
    service_types: tuple[type[Service], ...] = ()
    services: Callable[[Site], Sequence[Service]] = lambda site: ()
    """Its services, in the order in which they are stepped."""
    settings: Callable[[Site], Sequence[SettingSection]] = lambda site: ()
    """What a manager may change on the dashboard."""
    reserved: tuple[str, ...] = ()
    """Further names that no device may have, beside those of its services."""
    documents: Mapping[str, Callable[[Path], str]] = {}
    """Files of its own that `linli check` reads: schema name to a function that checks one, raises
    `Mistakes`, and returns a sentence about it in the reader's language."""


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """One capability. Modules are given by their full dotted names."""

    name: str
    """The folder's name."""
    order: int = 100
    """Its place among the others, lowest first: safety is stepped before everything else."""
    site: str = ""
    """The module with its `SITE`, a `SiteSection`."""
    jobs: str = ""
    """The module with its `JOBS`: what the daemon runs beside the services (`gateway.jobs`)."""
    pages: str = ""
    """The module of its part of the dashboard, which has a `PAGES` (`gateway.web.part.PagePart`); only the
    dashboard imports it. Templates and static files lie in `templates` and `static` of the folder."""
    commands: Mapping[str, str] = {}
    """Name of a `linli` command to its module, which has `add_arguments(parser)` and `run(options)`. Its
    description is `cli.<name>` in the capability's words."""

    @property
    def section(self) -> SiteSection:
        """Its section of the site file."""
        return load_declared(self.name, self.site, "SITE", SiteSection) if self.site else SiteSection()


@functools.cache
def capabilities() -> tuple[Capability, ...]:
    """Every capability that is installed, in their order. Raises `ConfigError`."""
    found = []
    for folder in iter_modules(import_module(PACKAGE).__path__):
        if folder.ispkg:
            module = f"{PACKAGE}.{folder.name}"
            capability = load_declared(folder.name, module, "CAPABILITY", Capability)
            check_declared_name(folder.name, "CAPABILITY", capability.name)
            found.append(capability)
    return tuple(sorted(found, key=lambda capability: (capability.order, capability.name)))


def load_declared(capability: str, module: str, attribute: str, kind: type[T]) -> T:
    """What a module of a capability declares. Raises `ConfigError` if it does not."""
    try:
        declared = getattr(import_module(module), attribute, None)
    except ImportError as error:
        facts = {"capability": capability, "module": module, "reason": error}
        raise ConfigError("capability-module", **facts) from error
    if not isinstance(declared, kind):
        facts = {"capability": capability, "module": module, "attribute": attribute}
        raise ConfigError("capability-declaration", kind=kind.__name__, **facts)
    return declared


def check_declared_name(capability: str, attribute: str, name: str) -> None:
    """Raises `ConfigError` unless a declaration has the name of the capability's folder."""
    if name != capability:
        raise ConfigError("capability-name", capability=capability, attribute=attribute, name=name)


def check_unique(declaration: str, names: Iterable[tuple[str, str]]) -> None:
    """Raises `ConfigError` if a name is declared twice. `names`: who declares a name (a capability, or
    `CORE_OWNER`), and the name; `declaration`: where, such as `Page.name`."""
    owners: dict[str, str] = {}
    for owner, name in names:
        if name in owners:
            facts = {"declaration": declaration, "name": name, "other": owners[name]}
            raise ConfigError("capability-twice", capability=owner, **facts)
        owners[name] = owner


def check_sections(core_tables: Iterable[str]) -> None:
    """Raises `ConfigError` if capabilities, or one of them and the core, use the same names."""
    sections = {capability.name: capability.section for capability in capabilities()}
    services = [(owner, kind) for owner, section in sections.items() for kind in section.service_types]
    services += [(CORE_OWNER, kind) for kind in CORE_SERVICES]
    check_unique(
        "SiteSection.tables",
        [
            *((CORE_OWNER, table) for table in core_tables),
            *((owner, table) for owner, section in sections.items() for table in section.tables),
        ],
    )
    check_unique(
        "Service.name",
        [
            *((CORE_OWNER, name) for name in _CORE_NAMES),
            *((owner, name) for owner, section in sections.items() for name in section.reserved),
            *((owner, kind.name) for owner, kind in services),
        ],
    )
    check_unique(
        "Service.actions", ((owner, action) for owner, kind in services for action in kind.actions)
    )
    check_unique(
        "SiteSection.documents",
        ((owner, schema) for owner, section in sections.items() for schema in section.documents),
    )


def service_types() -> tuple[type[Service], ...]:
    """Of all capabilities, and of the core."""
    own = (kind for capability in capabilities() for kind in capability.section.service_types)
    return (*own, *CORE_SERVICES)


def service_actions() -> frozenset[str]:
    """The commands that services carry out, rather than devices."""
    return frozenset(action for kind in service_types() for action in kind.actions)


def reserved_names() -> frozenset[str]:
    """What no device may be called: the gateway, its uplink, and what its services report as."""
    own = (name for capability in capabilities() for name in capability.section.reserved)
    return frozenset({*_CORE_NAMES, *own, *(kind.name for kind in service_types())})
