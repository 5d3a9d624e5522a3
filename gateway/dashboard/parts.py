"""The parts of the pages: the core's, and one for each capability."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway.config.capability import (
    CORE_OWNER,
    PACKAGE,
    Capability,
    capabilities,
    check_declared_name,
    check_unique,
    load_declared,
)
from gateway.model import ConfigError
from gateway.web.part import PagePart
from gateway.web.templating import KIT_FOLDER

from .core import CORE
from .summaries import summary_part

Part = PagePart[Any, Any]


@functools.cache
def page_parts() -> tuple[Part, ...]:
    """All parts, the core first. Raises `ConfigError` if one is not declared, or two use the same name."""
    parts: tuple[Part, ...] = (CORE, *(_part(capability) for capability in capabilities()))
    owned = [(CORE_OWNER if part is CORE else part.name, part) for part in parts]
    check_unique("PagePart.name", ((owner, part.name) for owner, part in owned))
    check_unique("Page.name", ((owner, page.name) for owner, part in owned for page in part.pages))
    check_unique(
        "Page.regions", ((owner, region) for owner, part in owned for region in sorted(_regions(part)))
    )
    check_unique(
        "PagePart.requests",
        ((owner, str(request.__struct_config__.tag)) for owner, part in owned for request in part.requests),
    )
    folders = template_folders()
    static = [(CORE_OWNER, KIT_FOLDER), *((part.name, folders[part.name]) for part in parts[1:])]
    check_unique(
        "static/", ((owner, file.name) for owner, folder in static for file in folder.glob("static/*"))
    )
    for capability, part in zip(capabilities(), parts[1:], strict=True):
        if capability.pages:
            _check_templates(part, folders[part.name])
    return parts


def _part(capability: Capability) -> Part:
    if not capability.pages:
        return summary_part(capability.name, capability.section.service_types)
    part: Part = load_declared(capability.name, capability.pages, "PAGES", PagePart)
    check_declared_name(capability.name, "PAGES", part.name)
    return part


def _check_templates(part: Part, folder: Path) -> None:
    """Raises `ConfigError` if a template that a part names is missing."""
    own_slots = filter(None, (part.status, part.device_state, part.device_actions))
    for template in (*sorted(_regions(part)), *(tile.template for tile in part.tiles), *own_slots):
        if not (folder / "templates" / f"{template}.html").is_file():
            facts = {"capability": part.name, "template": template, "folder": folder / "templates"}
            raise ConfigError("capability-template", **facts)


def _regions(part: Part) -> set[str]:
    own = (region for page in part.pages for region in page.regions)
    return {*own, *part.frame_regions, *part.home_regions, *part.kiosk_regions}


def template_folders() -> Mapping[str, Path]:
    """By part: the folder with its `templates` and `static`."""
    packages = {each.name: import_module(f"{PACKAGE}.{each.name}") for each in capabilities()}
    folders = {name: Path(package.__path__[0]) for name, package in packages.items()}
    return {CORE.name: Path(__file__).parent, **folders}


def static_folders() -> list[Path]:
    """Where the files below `/static` are, the kit's first."""
    return [folder / "static" for folder in (KIT_FOLDER, *template_folders().values())]
