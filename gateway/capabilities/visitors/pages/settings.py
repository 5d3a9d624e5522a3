"""The settings of the pages of visitors."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.capabilities.visitors.services import Layout, with_counters
from gateway.capabilities.visitors.site import VisitorsSite, statistics_file
from gateway.capabilities.visitors.statistics.results import CentreLayout
from gateway.capabilities.visitors.statistics.site import centre_layout
from gateway.config import Site, localized

from .cameras import CameraInfo, cameras_of


class VisitorsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The site's rooms, doors and cameras, and its statistics."""

    layout: Layout = Layout()
    """The rooms and doors that visitors walk through; each counter has a door."""
    statistics_file: Path
    """The statistics file."""
    centre: CentreLayout
    """Doors, rooms and opening hours, for the statistics."""
    cameras: tuple[CameraInfo, ...] = ()
    contact: dict[str, str] = {}
    """The person to ask about personal information, by language."""


def settings(site: Site) -> VisitorsSettings:
    """The settings of a site."""
    return VisitorsSettings(
        layout=with_counters(site.part(VisitorsSite).layout, site.devices.values()),
        statistics_file=statistics_file(site),
        centre=centre_layout(site),
        cameras=cameras_of(site),
        contact=localized(site.centre.contact) if site.centre.contact else {},
    )
