"""What a person asks of the history, checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import date, datetime, time, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import Sentence, sentence

from ..services.alarms.episodes import Position

DEFAULT_DAYS = 30
MAX_TEXT_CHARACTERS = 40
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2199, 12, 31)
_POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,9})", re.ASCII)


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filters; an empty one admits everything. `problems` are sentences about what was wrong with them."""

    since: date
    until: date
    """The last day."""
    what: str = ""
    device: str = ""
    who: str = ""
    """Part of a name, in any case."""
    before: Position | None = None
    """Only what is older than that: the next page."""
    problems: tuple[Sentence, ...] = ()

    def bounds_ms(self, zone: ZoneInfo) -> tuple[int, int]:
        """The Unix milliseconds in which the first day begins and the last one ends."""
        days = (self.since, self.until + timedelta(days=1))
        since, until = (round(datetime.combine(day, time(), zone).timestamp() * 1000) for day in days)
        return since, until

    def link(self, **other: str) -> str:
        """The query string of these filters with some values replaced."""
        fields = {
            "since": str(self.since),
            "until": str(self.until),
            "what": self.what,
            "device": self.device,
            "who": self.who,
            **other,
        }
        return urlencode({name: value for name, value in fields.items() if value})

    def admits_person(self, *names: str) -> bool:
        """Whether one of the names is asked for."""
        return not self.who or any(self.who.casefold() in name.casefold() for name in names)


def position_text(pos: Position) -> str:
    """A position as it stands in an address."""
    return f"{pos[0]}-{pos[1]}"


def parse_query(
    fields: Mapping[str, str], today: date, kinds: Collection[str], devices: Collection[str]
) -> HistoryQuery:
    """The query of a form; `kinds` and `devices` are those to choose from."""
    problems: list[Sentence] = []

    def day(name: str, default: date) -> date:
        text = fields.get(name, "").strip()
        try:
            parsed = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
        except ValueError:
            parsed = None
        if parsed is not None and FIRST_DAY <= parsed <= LAST_DAY:
            return parsed
        if text:
            problems.append(sentence("history.wrong-day", text=shortened(text)))
        return default

    def choice(name: str, values: Collection[str]) -> str:
        text = fields.get(name, "")
        if text and text not in values:
            problems.append(sentence(f"history.wrong-{name}", text=shortened(text)))
            return ""
        return text

    until = day("until", today)
    since = day("since", min(until, today) - timedelta(days=DEFAULT_DAYS - 1))
    if since > until:
        problems.append(sentence("history.wrong-order", since=since, until=until))
    who = " ".join(fields.get("who", "").split())
    if len(who) > MAX_TEXT_CHARACTERS:
        problems.append(sentence("history.wrong-who", most=MAX_TEXT_CHARACTERS))
        who = ""
    before = fields.get("before", "")
    found = _POSITION.fullmatch(before)
    if before and not found:
        problems.append(sentence("history.wrong-before"))
    return HistoryQuery(
        since=since,
        until=until,
        what=choice("what", kinds),
        device=choice("device", devices),
        who=who,
        before=(int(found[1]), int(found[2])) if found else None,
        problems=tuple(problems),
    )


def shortened(text: str) -> str:
    """What a person typed, as far as a sentence can repeat it."""
    return text if len(text) <= MAX_TEXT_CHARACTERS else f"{text[:MAX_TEXT_CHARACTERS]}…"
