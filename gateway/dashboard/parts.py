"""The parts of the pages: the core's, and one for each capability."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway.config.capability import PACKAGE, Capability, capabilities
from gateway.web.part import PagePart
from gateway.web.templating import KIT_FOLDER

from .core import CORE
from .summaries import summary_part

Part = PagePart[Any, Any]


@functools.cache
def page_parts() -> tuple[Part, ...]:
    """All parts, the core first. Raises `ValueError` when two of them use one name."""
    parts: tuple[Part, ...] = (CORE, *(_part(capability) for capability in capabilities()))
    names = [
        *(f"page {page.name}" for part in parts for page in part.pages),
        *(f"region {region}" for part in parts for region in _regions(part)),
        *(f"request {request.__struct_config__.tag}" for part in parts for request in part.requests),
        *(f"part {part.name}" for part in parts),
    ]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"used by several parts of the dashboard: {', '.join(repeated)}")
    return parts


def _part(capability: Capability) -> Part:
    if not capability.pages:
        return summary_part(capability.name, capability.section.service_types)
    part = import_module(capability.pages).PAGES
    assert isinstance(part, PagePart)
    return part


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
