"""Statistics of needs, and their list without personal data. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from statistics import fmean, median
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.needs.services import OPEN_STATES, Need, NeedState, Reception
from gateway.words import translate

DAY_S = 86_400.0
COLUMNS = (
    "number", "category", "channel", "state", "owner", "referral", "created", "due", "ended", "days",
    "overdue", "outcome", "satisfaction",
)  # fmt: skip


class NeedsFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics of some needs."""

    registered: int
    open: int
    overdue: int
    """Open needs that are overdue."""
    late: int
    """Needs that ended after they were due."""
    referred: int
    days: float | None
    """Median days from registered to done or closed."""
    satisfaction: float | None
    """Mean of the ratings from 1 to 5."""

    @property
    def referred_share(self) -> float | None:
        """Share of needs that were ever referred, in percent."""
        return 100 * self.referred / self.registered if self.registered else None


def needs_figures(needs: Iterable[Need]) -> NeedsFigures:
    """The statistics of all these needs."""
    needs = list(needs)
    owed = [need for need in needs if need.state in OPEN_STATES]
    durations_days = [days for need in needs if (days := days_to_end(need)) is not None]
    rated = [need.satisfaction for need in needs if need.satisfaction]
    return NeedsFigures(
        registered=len(needs),
        open=len(owed),
        overdue=sum(need.overdue for need in owed),
        late=sum(need.overdue for need in needs if need.state not in OPEN_STATES),
        referred=sum(need.referred for need in needs),
        days=median(durations_days) if durations_days else None,
        satisfaction=fmean(rated) if rated else None,
    )


def figures_by_group(needs: Iterable[Need], group_of: Callable[[Need], str]) -> dict[str, NeedsFigures]:
    """The statistics of each group, sorted by the group's name."""
    groups: dict[str, list[Need]] = {}
    for need in needs:
        groups.setdefault(group_of(need), []).append(need)
    return {name: needs_figures(groups[name]) for name in sorted(groups)}


def days_to_end(need: Need) -> float | None:
    """Days from registered to done or closed; None if still open or withdrawn."""
    if need.ended is None or need.state is NeedState.WITHDRAWN:
        return None
    seconds = need.ended.seconds_since(need.created)
    return None if seconds is None else seconds / DAY_S


def month_registered(need: Need, zone: ZoneInfo) -> str:
    """The local month of registration, `2026-11`."""
    return f"{datetime.fromtimestamp(need.created.wall_ms / 1000, zone):%Y-%m}"


def newest_first(rows: Mapping[str, Need]) -> list[tuple[str, Need]]:
    """Needs with their numbers, newest first."""
    return sorted(rows.items(), key=lambda item: item[1].created.wall_ms, reverse=True)


def needs_table(
    needs: Iterable[tuple[str, Need]], reception: Reception | None, lang: str, zone: ZoneInfo
) -> list[list[str]]:
    """A header row, then one row per need."""
    return [
        [translate(lang, f"need.{column}") for column in COLUMNS],
        *(_table_row(number, need, reception, lang, zone) for number, need in needs),
    ]


def localized_title(titles: Mapping[str, Mapping[str, str]], name: str, lang: str) -> str:
    """The title in a language; the name itself if the site no longer has it."""
    return titles.get(name, {}).get(lang, name)


def category_title(reception: Reception | None, name: str, lang: str) -> str:
    """The title of a category; its name if the site no longer has it."""
    category = reception.categories.get(name) if reception else None
    return category.title.get(lang, name) if category else name


def _table_row(
    number: str, need: Need, reception: Reception | None, lang: str, zone: ZoneInfo
) -> list[str]:
    def local(wall: int, form: str = "%Y-%m-%d %H:%M") -> str:
        return datetime.fromtimestamp(wall / 1000, zone).strftime(form)

    days = days_to_end(need)
    return [
        number,
        category_title(reception, need.category, lang),
        translate(lang, f"need-channel.{need.channel}"),
        translate(lang, f"need-state.{need.state}"),
        localized_title(reception.owners, need.owner, lang) if reception else need.owner,
        localized_title(reception.referrals, need.referral, lang) if reception else need.referral,
        local(need.created.wall_ms),
        local(need.due, "%Y-%m-%d"),
        local(need.ended.wall_ms) if need.ended else "",
        "" if days is None else f"{days:.1f}",
        translate(lang, "need.yes") if need.overdue else "",
        translate(lang, f"need-outcome.{need.outcome}") if need.outcome else "",
        str(need.satisfaction or ""),
    ]
