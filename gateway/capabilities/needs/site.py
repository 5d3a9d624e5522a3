"""`[needs]`: the categories of needs, who handles them, and where particulars are stored; and notices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from gateway.config.capability import Figure, SiteDraft, SiteSection
from gateway.config.fields import Table
from gateway.config.reading import TomlReader, localized
from gateway.config.settable import Setting, SettingGroup, SettingKind, SettingSection, number_setting
from gateway.config.site import Site
from gateway.model import Checks
from gateway.words import LANGUAGES, translate

from .notices import PublicNotice, notice_settings, read_notices
from .services import Category, Needs, Reception

DAYS_PER_YEAR = 366.0
DEFAULT_OWNER = "desk"
DEFAULT_CATEGORIES: Mapping[str, tuple[float, str]] = {
    "advice": (1, ""),
    "repair": (3, "property"),
    "elderly-care": (7, ""),
    "childcare": (7, ""),
    "health": (3, "clinic"),
    "mediation": (7, "mediators"),
    "sanitation": (3, "property"),
    "parking": (3, "property"),
    "paperwork": (5, "street-office"),
    "complaint": (5, "street-office"),
    "other": (7, ""),
}
"""Days and referral of each category, if the site names none."""
DEFAULT_REFERRALS = ("property", "clinic", "mediators", "street-office")
Text = str | dict[str, str]


def _is_days(value: float) -> bool:
    return 0 < value <= 10 * DAYS_PER_YEAR


def _is_web_address(text: str) -> bool:
    parts = urlsplit(text)
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    return not text or (parts.scheme in ("http", "https") and bool(parts.hostname) and plain)


class NeedsOptions(msgspec.Struct, frozen=True):
    """The files with the particulars, and with the master key."""

    path: Path
    key: Path


class NeedsSite(msgspec.Struct, frozen=True, kw_only=True):
    """How residents' needs are received and stored; None if the site does not register any."""

    options: NeedsOptions | None = None
    reception: Reception | None = None
    notices: Mapping[str, PublicNotice] = {}


class _NeedsKeys(msgspec.Struct, frozen=True, kw_only=True):
    path: Path = Path("/var/lib/linli/needs.db")
    key: Path = Path("/var/lib/linli/needs.key")
    keep_days: float = Reception(categories={}).keep_days
    reopen_days: float = Reception(categories={}).reopen_days
    most_open: int = Reception(categories={}).most_open
    phone_per_hour: int = Reception(categories={}).phone_per_hour
    address: str = ""
    owners: dict[str, Text] = {}
    referrals: dict[str, Text] = {}
    category: dict[str, Any] = {}

    CHECKS: ClassVar[Checks] = {
        "keep_days": (_is_days, "needs-days"),
        "reopen_days": (lambda days: 0 <= days <= DAYS_PER_YEAR, "needs-days"),
        "most_open": (lambda count: 0 < count <= 5000, "needs-most"),
        "phone_per_hour": (lambda count: 0 <= count <= 1000, "needs-most"),
        "address": (_is_web_address, "needs-address"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "key": (lambda keys: keys.key != keys.path, "needs-key-path"),
        # The particulars of a need that is reopened later would have been erased.
        "reopen_days": (lambda keys: keys.reopen_days <= keys.keep_days, "needs-reopen"),
    }


class _CategoryKeys(msgspec.Struct, frozen=True, kw_only=True):
    title: Text
    days: float
    owner: str = ""
    referral: str = ""

    CHECKS: ClassVar[Checks] = {
        "title": (lambda text: bool(text) and all(each.strip() for each in localized(text).values()),
                  "title-empty"),
        "days": (_is_days, "needs-days"),
    }  # fmt: skip


def read(draft: SiteDraft) -> NeedsSite:
    """Read `[needs]` and the notices."""
    reader = draft.reader
    notices = read_notices(reader, draft.data)
    keys = reader.read_section(_NeedsKeys, draft.data, "needs") if "needs" in draft.data else None
    if keys is None:
        return NeedsSite(notices=notices)
    owners = _read_titles(reader, "owners", keys.owners) or _default_titles("need-owner", [DEFAULT_OWNER])
    referrals = _read_titles(reader, "referrals", keys.referrals)
    if not keys.referrals and not keys.category:
        referrals = _default_titles("need-referral", DEFAULT_REFERRALS)
    categories = _read_categories(reader, keys.category, owners, referrals)
    if not keys.category:
        first = next(iter(owners))
        categories = {
            name: Category(title=title, days=days, owner=first, referral=to if to in referrals else "")
            for (name, (days, to)), title in zip(
                DEFAULT_CATEGORIES.items(),
                _default_titles("need-category", DEFAULT_CATEGORIES).values(),
                strict=True,
            )
        }
    reception = Reception(
        categories=categories,
        owners=owners,
        referrals=referrals,
        keep_days=keys.keep_days,
        reopen_days=keys.reopen_days,
        most_open=keys.most_open,
        phone_per_hour=keys.phone_per_hour,
        address=keys.address.rstrip("/"),
    )
    options = NeedsOptions(keys.path, keys.key)
    return NeedsSite(options=options, reception=reception, notices=notices)


def _read_categories(
    reader: TomlReader, tables: Table, owners: Mapping[str, Any], referrals: Mapping[str, Any]
) -> dict[str, Category]:
    found: dict[str, Category] = {}
    for name, table in tables.items():
        path = ("needs", "category", name)
        reader.check_name(name, path)
        keys = reader.build_struct(_CategoryKeys, table, path)
        if keys is None:
            continue
        for key, given, known in (("owner", keys.owner, owners), ("referral", keys.referral, referrals)):
            if given and given not in known:
                reader.add_mistake((*path, key), "needs-name", name=given, known=", ".join(known) or "–")
        found[name] = Category(
            title=localized(keys.title), days=keys.days, owner=keys.owner, referral=keys.referral
        )
    return found


def _read_titles(reader: TomlReader, key: str, titles: Mapping[str, Text]) -> dict[str, dict[str, str]]:
    for name, title in titles.items():
        path = ("needs", key, name)
        reader.check_name(name, path)
        if not title or not all(each.strip() for each in localized(title).values()):
            reader.add_mistake(path, "title-empty")
            return {}
    return {name: localized(title) for name, title in titles.items()}


def _default_titles(table: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Titles from the language files, by name."""
    return {name: {lang: translate(lang, f"{table}.{name}") for lang in LANGUAGES} for name in names}


def settings(site: Site) -> list[SettingSection]:
    """Notices, how long needs are kept, how many there may be, and the names of those who handle them."""
    notices = notice_settings(site.part(NeedsSite).notices)
    reception = site.part(NeedsSite).reception
    if reception is None:
        return [notices]
    usual = Reception(categories={})
    numbers = (
        number_setting("keep_days", "needs-keep", 1, 3650, unit="days", default=f"{usual.keep_days:g}"),
        number_setting(
            "reopen_days", "needs-reopen", 0, 366, unit="days", default=f"{usual.reopen_days:g}"
        ),
        number_setting("most_open", "needs-most", 1, 5000, default=str(usual.most_open)),
        number_setting("phone_per_hour", "needs-phone", 0, 1000, default=str(usual.phone_per_hour)),
    )
    titles = tuple(
        Setting(key=(table, name), label=label, kind=SettingKind.TITLE)
        for table, label, named in (
            ("owners", "needs-owner", reception.owners),
            ("referrals", "needs-referral", reception.referrals),
        )
        for name in named
    )
    return [
        notices,
        SettingSection(name="needs", groups=(SettingGroup(path=("needs",), settings=(*numbers, *titles)),)),
    ]


SITE = SiteSection(
    tables=("needs", "notice"),
    read=read,
    figures=lambda part: {Needs.name: {name: Figure() for name in ("open", "new", "overdue")}},
    fixed=lambda part: {"needs": part.options},
    service_types=(Needs,),
    services=lambda site: [Needs(site.part(NeedsSite).reception)],
    settings=settings,
)
