"""Which parts the pages are made of."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway.capabilities
from gateway.config.capability import capabilities
from gateway.dashboard.parts import page_parts, static_folders, template_folders
from gateway.model import ConfigError, Role
from gateway.web.pages import Pages
from gateway.web.part import KIOSK
from gateway.web.settings import Settings
from tests.gateway.views import sample, view

CAPABILITY = """
from gateway.config.capability import Capability
CAPABILITY = Capability(name="rooms", {fields})
"""
WITH_PAGES = 'pages="gateway.capabilities.rooms.pages"'
PAGES = """
from gateway.web.part import Page, PagePart, Tile
PAGES = PagePart(
    name="rooms",
    view=lambda settings, given: given.snapshot.samples["rooms"].body["values"]["free"],
    pages=(Page(name="{page}", title="Meeting rooms", regions=("rooms-list",), menu_order=15),),
    tiles=(Tile("rooms-tile"),),
)
"""
SITE = """
from gateway.config.capability import SiteSection
from gateway.model import Service
class Rooms(Service):
    name = "rooms"
    def summary(self, rows):
        return {"free": 3}
SITE = SiteSection(service_types=(Rooms,))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of one capability more, in a place of its own."""
    path = [*gateway.capabilities.__path__, str(tmp_path)]
    monkeypatch.setattr(gateway.capabilities, "__path__", path)
    folder = tmp_path / "rooms"
    folder.mkdir()
    for cached in (capabilities, page_parts):
        cached.cache_clear()
    yield folder
    monkeypatch.undo()
    for cached in (capabilities, page_parts):
        cached.cache_clear()
    for name in [name for name in sys.modules if name.startswith("gateway.capabilities.rooms")]:
        del sys.modules[name]


def shown(page: str) -> str:
    settings = Settings(
        journal=Path(), control=Path(), access=Path(), title={"en": "Here"}, timezone="Asia/Shanghai"
    )
    pages = Pages(settings, page_parts(), template_folders())
    seen = view(samples=(sample("rooms", free=3),))
    return pages.render_page(page, seen, "en", 0, Role.DUTY, has_passkey=False)


def test_a_capability_in_its_own_folder_brings_a_page_and_a_tile(folder: Path) -> None:
    (folder / "__init__.py").write_text(CAPABILITY.format(fields=WITH_PAGES))
    (folder / "pages.py").write_text(PAGES.format(page="rooms"))
    (folder / "templates").mkdir()
    (folder / "templates" / "rooms-list.html").write_text("<p>{{ part }} rooms are free</p>")
    (folder / "templates" / "rooms-tile.html").write_text('<div class="tile">{{ part }} free</div>')
    assert "3 rooms are free" in shown("rooms")
    assert '<a href="/rooms">Meeting rooms</a>' in shown("overview")
    assert '<div class="tile">3 free</div>' in shown("overview")


def test_a_capability_without_pages_has_its_summary_on_a_tile(folder: Path) -> None:
    (folder / "__init__.py").write_text(CAPABILITY.format(fields='site="gateway.capabilities.rooms.site"'))
    (folder / "site.py").write_text(SITE)
    text = shown("overview").partition('<div class="tile rooms">')[2]
    assert "<h2>rooms</h2>" in text
    assert '<dd class="number">3</dd>' in text


def test_two_parts_cannot_have_a_page_of_one_name(folder: Path) -> None:
    (folder / "__init__.py").write_text(CAPABILITY.format(fields=WITH_PAGES))
    (folder / "pages.py").write_text(PAGES.format(page="visits"))
    with pytest.raises(ConfigError, match="capability-twice") as refused:
        page_parts()
    assert refused.value.facts["name"] == "visits"
    assert {refused.value.facts["capability"], refused.value.facts["other"]} == {"rooms", "visitors"}


def test_no_style_of_a_part_is_taken_for_a_whole_page() -> None:
    """The body has the name of its page as its class: what has the same class looks like it, and it like
    that."""
    pages = (page.name for part in page_parts() for page in part.pages if page.name != KIOSK)
    bare = re.compile(rf"^\s*(\.(?:{'|'.join(pages)}))\s*[,{{]", re.MULTILINE)
    sheets = [file for folder in static_folders() for file in sorted(folder.glob("*.css"))]
    assert len(sheets) > 3
    assert [(file.name, found) for file in sheets for found in bare.findall(file.read_text("utf-8"))] == []
