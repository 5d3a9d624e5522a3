"""Parcel lockers have no table of their own: the service follows from the devices."""

from __future__ import annotations

from gateway.config.capability import Figure, SiteSection

from .services import Lockers

FIGURES = ("free", "occupied", "open", "unknown", "total")

SITE = SiteSection(
    service_types=(Lockers,),
    services=lambda site: [Lockers(site.devices)],
    figures=lambda part: {Lockers.name: dict.fromkeys(FIGURES, Figure())},
)
