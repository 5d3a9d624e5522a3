"""`[notice.…]`: short public notices, which the wall and the kiosk show for some days or hours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

import msgspec

from gateway.config.fields import Table
from gateway.config.reading import TomlReader, localized
from gateway.config.settable import Setting, SettingGroup, SettingSection, title_setting
from gateway.model import Checks

MAX_LENGTH = 120
"""Characters of a notice: what can be read in passing."""
MAX_SHOWN = 4
MAX_NOTICES = 50
FIRST_YEAR, LAST_YEAR = 2020, 2199
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?")
Text = str | dict[str, str]


class PublicNotice(msgspec.Struct, frozen=True):
    """A notice by language, from and until a local time; None: always."""

    text: dict[str, str]
    since: datetime | None = None
    until: datetime | None = None

    def is_shown(self, local: datetime) -> bool:
        """Whether it is shown at a local time, which has no time zone."""
        return (self.since is None or self.since <= local) and (self.until is None or local < self.until)


class _NoticeKeys(msgspec.Struct, frozen=True, kw_only=True, rename={"since": "from"}):
    text: Text
    since: str = ""
    until: str = ""

    CHECKS: ClassVar[Checks] = {
        "text": (lambda text: _is_short_text(localized(text).values()), "notice-text"),
        "from": (lambda text: not text or parse_moment(text) is not None, "notice-time"),
        "until": (lambda text: not text or parse_moment(text, is_end=True) is not None, "notice-time"),
    }


def _is_short_text(texts: Iterable[str]) -> bool:
    return any(texts) and all(
        bool(text.strip()) and len(text) <= MAX_LENGTH and text.isprintable() for text in texts
    )


def parse_moment(text: str, *, is_end: bool = False) -> datetime | None:
    """`2026-12-01` or `2026-12-01 18:30` in local time. A day as an end is included, so its end is midnight
    after it. None if it is neither."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
        found += timedelta(days=is_end and " " not in text)
    except (ValueError, OverflowError):
        return None
    return found if FIRST_YEAR <= found.year <= LAST_YEAR else None


def read_notices(reader: TomlReader, data: Table) -> dict[str, PublicNotice]:
    """The valid notices by name."""
    notices = {}
    tables = reader.named_tables(data, "notice")
    if len(tables) > MAX_NOTICES:
        reader.add_mistake(("notice",), "notice-many", most=MAX_NOTICES)
    for name, table in tables:
        keys = reader.build_struct(_NoticeKeys, table, ("notice", name))
        if keys is None:
            continue
        since, until = parse_moment(keys.since), parse_moment(keys.until, is_end=True)
        if since and until and until <= since:
            reader.add_mistake(("notice", name, "until"), "notice-order")
        notices[name] = PublicNotice(localized(keys.text), since, until)
    return notices


def shown_notices(
    notices: Mapping[str, PublicNotice], now_ms: int, timezone: str
) -> tuple[dict[str, str], ...]:
    """The texts that are shown now, by language; what ends first is first."""
    local = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(timezone)).replace(tzinfo=None)
    shown = [notice for notice in notices.values() if notice.is_shown(local)]
    shown.sort(key=lambda notice: notice.until.isoformat() if notice.until else "9999")
    return tuple(notice.text for notice in shown[:MAX_SHOWN])


def notice_settings(notices: Mapping[str, PublicNotice]) -> SettingSection:
    """The page on which a manager writes them."""
    settings = (
        title_setting("text", "notice-text"),
        Setting(key=("from",), label="notice-from"),
        Setting(key=("until",), label="notice-until"),
    )
    return SettingSection(
        name="notices",
        groups=tuple(
            SettingGroup(path=("notice", name), title=notice.text, settings=settings, removable=True)
            for name, notice in notices.items()
        ),
        new=SettingGroup(path=("notice",), settings=settings, removable=True),
    )
