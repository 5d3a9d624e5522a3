"""Parking has no table of its own: the service follows from the devices."""

from __future__ import annotations

from gateway.config.capability import Figure, SiteSection

from .services import Parking

FIGURES = ("free", "occupied", "unknown", "total")

SITE = SiteSection(
    service_types=(Parking,),
    services=lambda site: [Parking(site.devices)],
    figures=lambda part: {Parking.name: dict.fromkeys(FIGURES, Figure())},
)
