"""Figures of needs, and their list without personal data. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from statistics import fmean, median
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.needs.services import OPEN, Need, Reception, State
from gateway.words import translate

DAY = 86_400.0
COLUMNS = (
    "number", "category", "channel", "state", "owner", "referral", "created", "due", "ended", "days",
    "overdue", "outcome", "satisfaction",
)  # fmt: skip


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of some needs."""

    registered: int
    open: int
    overdue: int
    """Those among the open that are."""
    late: int
    """Those that ended when they already were."""
    referred: int
    days: float | None
    """Median from registered to done or closed."""
    satisfaction: float | None
    """Mean of 1 to 5, of those who said."""

    @property
    def referred_share(self) -> float | None:
        """Of all, in percent."""
        return 100 * self.referred / self.registered if self.registered else None


def figures(needs: Iterable[Need]) -> Figures:
    """The figures of these needs together."""
    needs = list(needs)
    owed = [need for need in needs if need.state in OPEN]
    lasted = [days for need in needs if (days := days_of(need)) is not None]
    rated = [need.satisfaction for need in needs if need.satisfaction]
    return Figures(
        registered=len(needs),
        open=len(owed),
        overdue=sum(need.overdue for need in owed),
        late=sum(need.overdue for need in needs if need.state not in OPEN),
        referred=sum(need.referred for need in needs),
        days=median(lasted) if lasted else None,
        satisfaction=fmean(rated) if rated else None,
    )


def grouped(needs: Iterable[Need], of: Callable[[Need], str]) -> dict[str, Figures]:
    """The figures of each group, in the order of its name."""
    groups: dict[str, list[Need]] = {}
    for need in needs:
        groups.setdefault(of(need), []).append(need)
    return {name: figures(groups[name]) for name in sorted(groups)}


def days_of(need: Need) -> float | None:
    """Days from registered to done or closed; None while it lasts, and for what was withdrawn."""
    if need.ended is None or need.state is State.WITHDRAWN:
        return None
    seconds = need.ended.seconds_since(need.created)
    return None if seconds is None else seconds / DAY


def month_of(need: Need, zone: ZoneInfo) -> str:
    """The local month it was registered in, `2026-11`."""
    return f"{datetime.fromtimestamp(need.created.wall / 1000, zone):%Y-%m}"


def newest_first(rows: Mapping[str, Need]) -> list[tuple[str, Need]]:
    """Needs with their numbers."""
    return sorted(rows.items(), key=lambda item: item[1].created.wall, reverse=True)


def table(
    needs: Iterable[tuple[str, Need]], reception: Reception | None, lang: str, zone: ZoneInfo
) -> list[list[str]]:
    """A line for each need, below one of heads."""
    return [
        [translate(lang, f"need.{column}") for column in COLUMNS],
        *(_line(number, need, reception, lang, zone) for number, need in needs),
    ]


def title_of(titles: Mapping[str, Mapping[str, str]], name: str, lang: str) -> str:
    """What people call it; a name that the site no longer has stands for itself."""
    return titles.get(name, {}).get(lang, name)


def category_of(reception: Reception | None, name: str, lang: str) -> str:
    """What people call a category."""
    category = reception.categories.get(name) if reception else None
    return category.title.get(lang, name) if category else name


def _line(number: str, need: Need, reception: Reception | None, lang: str, zone: ZoneInfo) -> list[str]:
    def local(wall: int, form: str = "%Y-%m-%d %H:%M") -> str:
        return datetime.fromtimestamp(wall / 1000, zone).strftime(form)

    days = days_of(need)
    return [
        number,
        category_of(reception, need.category, lang),
        translate(lang, f"need-channel.{need.channel}"),
        translate(lang, f"need-state.{need.state}"),
        title_of(reception.owners, need.owner, lang) if reception else need.owner,
        title_of(reception.referrals, need.referral, lang) if reception else need.referral,
        local(need.created.wall),
        local(need.due, "%Y-%m-%d"),
        local(need.ended.wall) if need.ended else "",
        "" if days is None else f"{days:.1f}",
        translate(lang, "need.yes") if need.overdue else "",
        translate(lang, f"need-outcome.{need.outcome}") if need.outcome else "",
        str(need.satisfaction or ""),
    ]
