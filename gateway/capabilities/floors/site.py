"""`[floor.…]`: a picture of each floor, and where the devices are on it."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from gateway.config.capability import SiteDraft, SiteSection
from gateway.config.reading import localized
from gateway.config.settable import SettingGroup, SettingSection, title_setting
from gateway.config.site import Site
from gateway.model import Checks

from .pictures import FILE_PATTERN, MAX_SIDE

Place = tuple[float, float]
"""From the left and from the top, as fractions of the picture's width and height."""


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """A floor; `picture` is empty until one is uploaded."""

    name: str
    title: dict[str, str]
    picture: str = ""
    """The name of its file."""
    width: int = 1
    height: int = 1
    places: dict[str, Place] = {}
    """By device. One that no longer exists is not shown, and keeps its place."""


class FloorsSite(msgspec.Struct, frozen=True, kw_only=True):
    """The floors, in the order of the file."""

    floors: tuple[Floor, ...] = ()


class _FloorKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`size`: width and height of the picture."""

    title: str | dict[str, str] = ""
    picture: str = ""
    size: tuple[int, int] = (1, 1)
    places: dict[str, Place] = {}

    CHECKS: ClassVar[Checks] = {
        "title": (lambda text: text != {}, "title-empty"),
        "picture": (lambda name: not name or bool(FILE_PATTERN.fullmatch(name)), "floor-picture"),
        "size": (lambda size: all(0 < side <= MAX_SIDE for side in size), "floor-size"),
        "places": (
            lambda places: all(0 <= part <= 1 for place in places.values() for part in place),
            "floor-places",
        ),
    }


def read(draft: SiteDraft) -> FloorsSite:
    """Read every floor."""
    floors = []
    for name, table in draft.reader.named_tables(draft.data, "floor"):
        keys = draft.reader.build_struct(_FloorKeys, table, ("floor", name))
        if keys is not None:
            width, height = keys.size
            floors.append(
                Floor(
                    name=name, title=localized(keys.title or name), picture=keys.picture,
                    width=width, height=height, places=keys.places,
                )
            )  # fmt: skip
    return FloorsSite(floors=tuple(floors))


def settings(site: Site) -> list[SettingSection]:
    """The floors' names; pictures and places are changed on the plan itself."""
    own: dict[str, Any] = {"settings": (title_setting(),), "removable": True}
    return [
        SettingSection(
            name="floors",
            groups=tuple(
                SettingGroup(path=("floor", floor.name), title=floor.title, **own)
                for floor in site.part(FloorsSite).floors
            ),
            new=SettingGroup(path=("floor",), **own),
        )
    ]


SITE = SiteSection(tables=("floor",), read=read, settings=settings)
