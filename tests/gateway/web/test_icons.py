"""Every icon that a page asks for is there, drawn as lines only."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from gateway.dashboard.parts import template_folders
from gateway.model import Hazard
from gateway.web.icons import icon_symbols
from gateway.web.templating import KIT_FOLDER
from gateway.web.view import DeviceCondition

SYMBOLS = {
    str(each.get("id")).removeprefix("i-"): each
    for symbols in (icon_symbols(), icon_symbols(for_residents=True))
    for each in ElementTree.fromstring(symbols)
}


def test_what_pages_ask_for_is_there() -> None:
    named = {*map(str, Hazard), *map(str, DeviceCondition), "free", "occupied", "open", "shut", "unknown"}
    for folder in (KIT_FOLDER, *template_folders().values()):
        for file in folder.glob("templates/*.html"):
            named.update(re.findall(r'icon\("([a-z-]+)"', file.read_text("utf-8")))
    assert named <= SYMBOLS.keys()


def test_each_is_drawn_by_paths() -> None:
    for name, symbol in SYMBOLS.items():
        assert len(symbol), name
        assert {each.tag for each in symbol} == {"path"}, name
