"""What a capability declares of itself, and which capabilities there are.

A capability is one folder below `gateway/capabilities/` with a `CAPABILITY` in its `__init__.py`. That
names its modules, so that a program imports only the parts it needs. The core knows no capability by name:
it finds the folders, and derives every list from the declarations.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

import msgspec

PACKAGE = "gateway.capabilities"


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """One capability. Modules are given by their full dotted names."""

    name: str
    """The folder's name."""
    order: int = 100
    """Where it stands among the others, lowest first: safety is stepped before everything else."""
    pages: str = ""
    """The module of its part of the dashboard, which has a `PAGES` (`gateway.web.part.PagePart`); only the
    dashboard imports it. Templates and static files lie in `templates` and `static` of the folder."""
    commands: Mapping[str, str] = {}
    """Name of a `linli` command to its module, which has `add_arguments(parser)` and `run(options)`. What
    a command says of itself stands under `cli.<name>` in the capability's words."""


@functools.cache
def capabilities() -> tuple[Capability, ...]:
    """Every capability that is installed, in their order."""
    folders = iter_modules(import_module(PACKAGE).__path__)
    found = [import_module(f"{PACKAGE}.{folder.name}").CAPABILITY for folder in folders if folder.ispkg]
    return tuple(sorted(found, key=lambda capability: (capability.order, capability.name)))
