"""Turning a view into HTML: the only file that knows Jinja2.

A page is a frame around regions; the live stream sends the regions that have changed. Rendering
depends on the view and the language alone, so that equal views make equal regions.
"""

from __future__ import annotations

import functools
from datetime import datetime
from importlib import import_module
from pathlib import Path
from zoneinfo import ZoneInfo

import jinja2
from markupsafe import Markup

from gateway.config.capability import PACKAGE, capabilities
from gateway.model import Hazard, Value
from gateway.words import LANGUAGES, error_summary, translate, words

from .settings import Settings, title
from .view import Condition, View

HOME, KIOSK, CAMERAS, NEEDS, VISITORS = "overview", "kiosk", "cameras", "needs", "visitors"
FRAME = ("status", "banners", "alarms")
"""What every page shows: nobody may miss an alarm because they are looking at something else."""
PAGES = {
    HOME: ("reminders", "tiles", "devices", "lockers"),
    "visits": ("places", "bookings", "doors"),
    "safety": ("out", "outputs", "drill", "duties", "patrols", "hazards"),
    "walk-test": ("walk",),
    "lines": ("lines",),
    VISITORS: (),
    NEEDS: (),
    CAMERAS: (CAMERAS,),
    KIOSK: ("tiles", "outputs", "phone"),
}
"""The regions of each page, after those of the frame."""
MENU = (HOME, "visits", VISITORS, NEEDS, "safety", "walk-test", "lines", CAMERAS)
SHOWN = 6
"""Values of one device that are listed; the rest are counted."""

FOLDERS = tuple(
    Path(path)
    for package in (
        "gateway.web",
        "gateway.dashboard",
        *(f"{PACKAGE}.{each.name}" for each in capabilities()),
    )
    for path in import_module(package).__path__
)
"""Where templates and static files are."""

AGO = ("now", "seconds", "minutes", "hours", "days")


class Pages:
    """The site's pages in every language."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._zone = ZoneInfo(settings.timezone)
        self._regions: dict[str, tuple[View, dict[str, str]]] = {}
        """By language, of the latest view, those that somebody looks at."""
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([folder / "templates" for folder in FOLDERS]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            "Condition": Condition,
            "SHOWN": SHOWN,
            "HOME": HOME,
            "HAZARDS": list(Hazard),
        }

    def regions(self, page: str, view: View, lang: str) -> dict[str, str]:
        """The HTML of each region of a page."""
        last = self._regions.get(lang)
        if last is None or last[0] is not view:
            self._regions[lang] = last = view, {}
        facts = self._facts(lang) | {"view": view, "when": functools.partial(self._when, view.day)}
        wanted = (*FRAME, *PAGES[page])
        for name in wanted:
            if name not in last[1]:
                last[1][name] = self._environment.get_template(f"{name}.html").render(facts)
        return {name: last[1][name] for name in wanted}

    def heading(self, view: View, lang: str) -> str:
        """The document's title: alarms first, for a tab in the background."""
        count = view.unacknowledged
        site = title(self._settings.site, lang, translate(lang, "dashboard.product"))
        if count:
            return f"{translate(lang, 'dashboard.alarms-title', count=count)} · {site}"
        return f"{translate(lang, 'dashboard.drill')} · {site}" if view.drills else site

    def page(
        self, name: str, view: View, lang: str, now: int, template: str = "page.html", **more: object
    ) -> str:
        """The whole page of that name. `now` is Unix time in milliseconds; `more` is what the template of a
        page that is not made of regions alone shows beside them."""
        html = self.regions(name, view, lang)
        return self._environment.get_template(template).render(
            self._facts(lang),
            when=functools.partial(self._when, view.day),
            page=name,
            menu=[each for each in MENU if each != CAMERAS or view.cameras],
            heading=self.heading(view, lang),
            regions={region: Markup(text) for region, text in html.items()},  # noqa: S704
            now=now,
            timezone=self._settings.timezone,
            ago={unit: translate(lang, f"dashboard.ago-{unit}", n="{n}") for unit in AGO},
            **more,
        )

    def plain(self, template: str, lang: str, **more: object) -> str:
        """A page of its own, for those who have no business with alarms."""
        facts = self._facts(lang)
        return self._environment.get_template(template).render(facts | {"heading": facts["site"]} | more)

    def login(self, lang: str, problem: str = "") -> str:
        """The form that asks for the key, with what was wrong."""
        return self.plain("login.html", lang, problem=problem)

    def _facts(self, lang: str) -> dict[str, object]:
        return {
            "lang": lang,
            "other": next(each for each in LANGUAGES if each != lang),
            "site": title(self._settings.site, lang, translate(lang, "dashboard.product")),
            "t": functools.partial(translate, lang),
            "named": lambda thing: title(
                thing.title, lang, label(lang, "kind", getattr(thing, "device", "") or thing.name)
            ),
            "word": functools.partial(label, lang),
            "said": functools.partial(_said, lang),
            "reason": functools.partial(error_summary, lang),
            "point": functools.partial(_point, lang),
            "value": functools.partial(_value, lang),
            "figures": lambda device: {line.point: line.value for line in device.values},
        }

    def _when(self, day: str, at: int | None, seconds: bool = False) -> str:
        """Local time, with the date when it is not the day that is shown."""
        if at is None:
            return ""
        local = datetime.fromtimestamp(at / 1000, self._zone)
        clock = f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"
        return clock if local.date().isoformat() == day else f"{local:%Y-%m-%d} {clock}"


def label(lang: str, table: str, key: str) -> str:
    """The word of a table; what has none there stands for itself."""
    return words(lang).get(f"{table}.{key}", key)


def _said(lang: str, texts: dict[str, str]) -> str:
    """What somebody wrote in both languages, or in one."""
    return title(texts, lang, "")


def _point(lang: str, point: str) -> str:
    """A point's name; `door.3` is a door and its number."""
    key, _, number = point.partition(".")
    return f"{label(lang, 'point', key)} {number}".rstrip()


def _value(lang: str, point: str, value: Value) -> str:
    if isinstance(value, bool):
        key = point.partition(".")[0]
        table = "on" if value else "off"
        return words(lang).get(f"{table}.{key}", words(lang)[f"{table}.other"])
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return words(lang).get(f"{point}.{value}", str(value))
