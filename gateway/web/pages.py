"""Renders a view as HTML.

A page is a frame around regions; the live stream sends the regions that have changed. Rendering
depends on the view and the language only, so equal views give equal regions.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import east_asian_width
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from gateway.model import Role, Value
from gateway.words import LANGUAGES, error_summary, translate, words

from .icons import icon_symbols
from .part import HOME, KIOSK, Page, PagePart, Selection
from .settings import Settings, title_in
from .templating import Markup, environment, fingerprint
from .view import DeviceCondition, DeviceRow, View

MAX_QUERY_FIELDS = 32
MAX_VALUES = 6
"""Values of one device that are listed; the rest are counted."""
MAX_KEPT_ROWS = 8
"""Rows that are kept for each device: two languages, two places, and as many of devices that are gone."""
ROWS_PER_STEP = 20
"""Rows of devices that are rendered before everything else has its turn."""
DEVICE_ROW_FILE = "core/device-row.html"
MAX_ATTENTION = 20
"""Devices that need attention which the overview lists; the rest are counted."""

SHORT_NAME = re.compile(r"[A-Za-z]{0,2}-?\d+")

BAR_PAGES = 4
"""Pages in the bar at the bottom of a phone; the rest are in its menu."""

AGE_UNITS = ("now", "seconds", "minutes", "hours", "days")


class _TemplateSlot(NamedTuple):
    """A template, and the part whose view it shows."""

    part: str
    template: str


class Pages:
    """The site's pages in every language."""

    def __init__(
        self, settings: Settings, parts: Sequence[PagePart[Any, Any]], folders: Mapping[str, Path]
    ) -> None:
        """`folders`: where the templates of each part are, by its name."""
        self._settings = settings
        self._zone = ZoneInfo(settings.timezone)
        self._parts = parts
        self._pages: dict[str, tuple[str, Page]] = {
            page.name: (part.name, page) for part in parts for page in part.pages
        }
        self._requests = [request for part in parts for request in part.requests]
        self._frame = [(part.name, region) for part in parts for region in part.frame_regions]
        self._regions = {
            name: [*(self._frame if name != KIOSK else ()), *self._own_regions(name)]
            for name in self._pages
        }
        self._rendered: dict[str, tuple[View, dict[str, str]]] = {}
        """By language: the regions of the latest view that were rendered so far."""
        self._device_rows: dict[tuple[str, str, bool], tuple[tuple[str, DeviceRow], Markup]] = {}
        """By language, device and place: the row, and what it was rendered of."""
        tiles = sorted(
            ((tile, part.name) for part in parts for tile in part.tiles), key=lambda each: each[0].order
        )
        self.version = fingerprint(folders.values())
        """A screen that shows another version loads its page again."""
        self._environment = environment(folders)
        self._environment.globals |= {
            "Condition": DeviceCondition,
            "MAX_VALUES": MAX_VALUES,
            "MAX_ATTENTION": MAX_ATTENTION,
            "HOME": HOME,
            "BAR_PAGES": BAR_PAGES,
            "version": self.version,
            "icon_symbols": icon_symbols(),
            "static": lambda name: f"/static/{name}?v={self.version}",
            "scripts": [script for part in parts for script in part.scripts],
            "styles": [style for part in parts for style in part.styles],
            "personal_pages": [page for part in parts for page in part.pages if page.is_personal],
            "frame": [region for _, region in self._frame],
            "tiles": [
                _TemplateSlot(name, _template_file(name, tile.template))
                for tile, name in tiles
                if tile.on_home
            ],
            "wall_tiles": [
                _TemplateSlot(name, _template_file(name, tile.template))
                for tile, name in tiles
                if tile.on_wall
            ],
            "statuses": self._template_slots("status"),
            "device_states": self._template_slots("device_state"),
            "device_actions": self._template_slots("device_actions"),
            "device_pages": self._template_slots("device_page"),
        }

    def __contains__(self, name: object) -> bool:
        """Whether there is a page of that name."""
        return name in self._pages

    def role_of(self, name: str) -> Role:
        """The least role that sees a page."""
        return self._pages[name][1].role

    def _own_regions(self, page: str) -> list[tuple[str, str]]:
        """The regions of a page after the frame, each with its part."""
        owner, declared = self._pages[page]
        added = {HOME: "home_regions", KIOSK: "kiosk_regions"}.get(page)
        return [
            *((owner, region) for region in declared.regions),
            *((part.name, region) for part in self._parts if added for region in getattr(part, added)),
        ]

    def _template_slots(self, field: str) -> list[_TemplateSlot]:
        templates = ((part.name, getattr(part, field)) for part in self._parts)
        return [
            _TemplateSlot(name, _template_file(name, template)) for name, template in templates if template
        ]

    def selection(self, page: str, query: str) -> Selection | None:
        """What the query of an address chooses on a page; None if there is nothing to choose."""
        choose = self._pages[page][1].selection
        if choose is None:
            return None
        try:
            return choose(dict(parse_qsl(query, max_num_fields=MAX_QUERY_FIELDS)))
        except ValueError:
            return choose({})

    async def prepare(self, page: str, view: View, lang: str, selection: Selection | None = None) -> None:
        """Do what is slow the first time in small steps, between which everything else has its turn: load
        the templates of a page, and render the rows that it lists. `render_regions` then only puts them
        together."""
        list_rows = self._pages[page][1].rows
        files = [_template_file(part, region) for part, region in self._regions[page]]
        if list_rows:
            slots = (*self._template_slots("device_state"), *self._template_slots("device_actions"))
            files += [DEVICE_ROW_FILE, *(slot.template for slot in slots)]
        for file in files:
            self._environment.get_template(file)
            await asyncio.sleep(0)
        rows = list(list_rows(view, selection, lang)) if list_rows else []
        for number, row in enumerate(rows):
            if number % ROWS_PER_STEP == 0:
                await asyncio.sleep(0)
            self._device_row(lang, view.day, row)
        await asyncio.sleep(0)

    def render_regions(
        self, page: str, view: View, lang: str, selection: Selection | None = None
    ) -> dict[str, str]:
        """The HTML of each region of a page."""
        last = self._rendered.get(lang)
        if last is None or last[0] is not view:
            self._rendered[lang] = last = view, {}
        facts = self._template_facts(lang, view.title) | {
            "view": view,
            "when": functools.partial(self._format_time, view.day),
            "device_row": functools.partial(self._device_row, lang, view.day),
        }
        rendered = {}
        for part, region in self._regions[page]:
            is_chosen = selection is not None and region in self._pages[page][1].regions
            if is_chosen or region not in last[1]:
                template = self._environment.get_template(_template_file(part, region))
                text = template.render(facts, part=view.parts.get(part), selection=selection)
                if not is_chosen:
                    last[1][region] = text
            rendered[region] = text if is_chosen else last[1][region]
        if len(self._device_rows) > MAX_KEPT_ROWS * (len(view.devices) + 1):
            self._device_rows.clear()  # Most are of devices that are gone.
        return rendered

    def _device_row(self, lang: str, day: str, device: DeviceRow, *, is_listed: bool = True) -> Markup:
        """The row of a device in a list, rendered again only when it has changed: of a thousand devices
        most have not. `is_listed`: with all that can be done."""
        key, source = (lang, device.name, is_listed), (day, device)
        kept = self._device_rows.get(key)
        if kept is None or kept[0] != source:
            text = self._environment.get_template(DEVICE_ROW_FILE).render(
                self._template_facts(lang, {}),
                when=functools.partial(self._format_time, day),
                device=device,
                page_of_devices=is_listed,
            )
            self._device_rows[key] = kept = source, Markup(text)
        return kept[1]

    def site_title(self, title: Mapping[str, str], lang: str) -> str:
        """The title of the site, as all pages show it."""
        return title_in(title, lang, translate(lang, "dashboard.product"))

    def document_title(self, view: View, lang: str) -> str:
        """The document's title; urgent news comes first, as a background tab shows only its start."""
        site = self.site_title(view.title, lang)
        urgent = (part.heading(view.parts.get(part.name), lang) for part in self._parts)
        return " · ".join((*list(filter(None, urgent))[:1], site))

    def render_page(
        self,
        name: str,
        view: View,
        lang: str,
        now: int,
        role: Role,
        person: str = "",
        template: str = "",
        selection: Selection | None = None,
        *,
        acting_role: Role | None = None,
        is_screen: bool = False,
        **facts: object,
    ) -> str:
        """The whole page of that name, for a role. `acting_role`: that of whoever may sign what is done on
        it, if it is another; `now` is Unix time in milliseconds; `facts` are further variables for a
        template of its own."""
        owner, _ = self._pages[name]
        query = selection.query if selection else ""
        return self._environment.get_template(
            template or ("wall.html" if name == KIOSK else "page.html")
        ).render(
            self._template_facts(lang, view.title) | ({"query": query} if selection else {}),
            stream_view=f"{name}{'?' if query else ''}{query}.{lang}",
            when=functools.partial(self._format_time, view.day),
            view=view,
            part=view.parts.get(owner),
            page=name,
            person=person,
            is_screen=is_screen,
            menu=self._menu(view, role),
            permitted=[
                str(request.__struct_config__.tag)
                for request in self._requests
                if (acting_role or role).includes(request.role)
            ],
            roles=[each for each in Role if (acting_role or role).includes(each)],
            heading=self.document_title(view, lang),
            regions={
                region: Markup(text)
                for region, text in self.render_regions(name, view, lang, selection).items()
            },
            now=now,
            timezone=self._settings.timezone,
            ago={unit: translate(lang, f"dashboard.ago-{unit}", n="{n}") for unit in AGE_UNITS},
            **facts,
        )

    def _menu(self, view: View, role: Role) -> list[Page]:
        listed = [
            (page.menu_order, page)
            for part, page in self._pages.values()
            if page.menu_order is not None
            and role.includes(page.role)
            and page.in_menu(view.parts.get(part))
        ]
        return [page for _, page in sorted(listed, key=lambda each: each[0])]

    def render_plain(self, template: str, lang: str, title: Mapping[str, str], **facts: object) -> str:
        """A page without frame, menu and alarms, for the public. `title`: the site's."""
        known = self._template_facts(lang, title)
        return self._environment.get_template(template).render(known | {"heading": known["site"]} | facts)

    def _template_facts(self, lang: str, title: Mapping[str, str]) -> dict[str, object]:
        """The variables that every template has. `title`: the site's."""
        return {
            "lang": lang,
            "other": next(each for each in LANGUAGES if each != lang),
            "site": self.site_title(title, lang),
            "t": functools.partial(translate, lang),
            "named": lambda thing: title_in(
                thing.title, lang, label(lang, "kind", getattr(thing, "device", "") or thing.name)
            ),
            "word": functools.partial(label, lang),
            "localized": functools.partial(_localized, lang),
            "reason": functools.partial(error_summary, lang),
            "point": functools.partial(point_label, lang),
            "value": functools.partial(_value_text, lang),
            "short": short_name,
            "first_columns": first_columns,
            "figures": lambda device: {row.point: row.value for row in device.values},
        }

    def _format_time(self, day: str, at: int | None, seconds: bool = False) -> str:
        """Local time, with the date if it is not the current day."""
        if at is None:
            return ""
        local = datetime.fromtimestamp(at / 1000, self._zone)
        clock = f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"
        return clock if local.date().isoformat() == day else f"{local:%Y-%m-%d} {clock}"


def _template_file(part: str, template: str) -> str:
    """The file of a template; `part/template` is one of another part."""
    return f"{template if '/' in template else f'{part}/{template}'}.html"


def label(lang: str, table: str, key: str) -> str:
    """The word for a key in a table of words; the key itself if there is none."""
    return words(lang).get(f"{table}.{key}", key)


def _localized(lang: str, texts: dict[str, str]) -> str:
    """The text in a language; in the other one if that is missing."""
    return title_in(texts, lang, "")


def short_name(title: str) -> str:
    """What of a title fits into a square of a board: its number, with the letters before it (`A-12 号车位`:
    A-12); else the whole."""
    found = SHORT_NAME.search(title)
    return found[0] if found else title


def first_columns(text: str, columns: int) -> str:
    """The beginning of a text, if it is longer than so many columns; a Chinese character takes two."""
    used = 0
    for at, letter in enumerate(text):
        used += 2 if east_asian_width(letter) in "WF" else 1
        if used > columns:
            return f"{text[:at]}…"
    return text


def point_label(lang: str, point: str) -> str:
    """A point's name; `door.3` is a door and its number."""
    key, _, number = point.partition(".")
    return f"{label(lang, 'point', key)} {number}".rstrip()


def _value_text(lang: str, point: str, value: Value) -> str:
    if isinstance(value, bool):
        key = point.partition(".")[0]
        table = "on" if value else "off"
        return words(lang).get(f"{table}.{key}", words(lang)[f"{table}.other"])
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return words(lang).get(f"{point}.{value}", str(value))
