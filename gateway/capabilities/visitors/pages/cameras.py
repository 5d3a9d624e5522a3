"""The cameras of a site as the pages know them: only their lines and zones."""

from __future__ import annotations

import msgspec

from gateway.config import Site

PicturePoint = tuple[float, float]
"""x and y, in 0–1 of the picture's width and height, y down."""


class CountingDevice(msgspec.Struct, frozen=True):
    """A device of a camera: it counts at a line, or in a zone."""

    name: str
    title: dict[str, str]
    profile: str
    line: tuple[float, float, float, float] | None
    zone: tuple[PicturePoint, ...] | None
    person: PicturePoint | None
    every: float
    """Seconds between readings; named as in the site file."""


class CameraInfo(msgspec.Struct, frozen=True):
    """One camera."""

    name: str
    view: str
    stills: bool
    """Whether its picture may be shown, for setting it up."""
    devices: tuple[CountingDevice, ...]


def cameras_of(site: Site) -> tuple[CameraInfo, ...]:
    """The cameras of a site."""
    return tuple(
        CameraInfo(
            name=bus.name,
            view=bus.options.view,
            stills=bus.stills,
            devices=tuple(
                CountingDevice(
                    name=device.name,
                    title=device.title,
                    profile=device.profile,
                    line=device.address.line,
                    zone=device.address.zone,
                    person=device.address.person,
                    every=device.every,
                )
                for device in site.devices.values()
                if device.bus == bus.name
            ),
        )
        for bus in site.buses.values()
        if bus.driver.allows_stills
    )
