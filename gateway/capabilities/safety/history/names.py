"""What people call the things of the history, in one language."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.model import GATEWAY_DEVICE, Stamp, duration
from gateway.web.pages import label
from gateway.web.settings import Settings, title_in
from gateway.words import translate

from ..places import place_text
from ..services.alarms import OUTPUTS_DEVICE, AlarmMode
from ..services.escalation import Escalation
from ..testlog import LogNames

FAILED_SUFFIX = ".failed"
UNNAMED = ("console", "dashboard", "upstream")
"""What is recorded instead of a person's name."""
BY_ITSELF = ("signal", "start", "rollback")
"""Why the gateway has adopted a configuration by itself."""


class HistoryNames:
    """Titles of devices and alarms, times and durations."""

    def __init__(self, settings: Settings, lang: str) -> None:
        self.lang = lang
        self.zone = ZoneInfo(settings.timezone)
        self._settings = settings
        self._log: LogNames = settings.parts["safety"].log
        self._infos = {info.name: info for info in settings.devices}

    def text(self, key: str, /, **facts: object) -> str:
        return translate(self.lang, f"history.{key}", **facts)

    def text_of(self, table: str, key: str, /, **facts: object) -> str:
        return translate(self.lang, f"{table}.{key}", **facts)

    def word(self, table: str, key: str) -> str:
        """The word for a key of a table; the key itself if there is none."""
        return label(self.lang, table, key)

    def devices(self) -> dict[str, str]:
        """The titles of all that has a history, by name."""
        own = (GATEWAY_DEVICE, OUTPUTS_DEVICE, Escalation.name)
        return {name: self.device(name) for name in (*self._infos, *own)}

    def device(self, name: str) -> str:
        """The title of a device, or of what reports like one."""
        info = self._infos.get(name)
        if info:
            return title_in(info.title, self.lang, name)
        return self.word("history-device", name)

    def place(self, device: str, point: str, place: str = "", where: str = "") -> str:
        """Where an alarm is: the rule or the device that raised it, and the place behind that."""
        name = point.removesuffix(FAILED_SUFFIX)
        if device == OUTPUTS_DEVICE and name in self._log.outputs:
            return self.title(self._log.outputs[name], name)
        if device == Escalation.name:
            return translate(self.lang, "notice.channel-of", name=name)
        if rule := self._log.rules.get(point):
            return self.title(rule, point)
        if point == "drill":
            return self.word("mode", AlarmMode.DRILL)
        is_plain = device in self._infos and "." not in point
        shown = "" if is_plain else self.point(point)
        return " ".join(filter(None, (self.device(device), shown, place_text(self.lang, place, where))))

    def title(self, titles: Mapping[str, str], default: str) -> str:
        """A title in this language, else in another, else `default`."""
        return title_in(titles, self.lang, default)

    def point(self, point: str) -> str:
        """The word for a point and its number."""
        name, _, number = point.partition(".")
        return f"{self.word('point', name)} {number}".rstrip()

    def person(self, name: str) -> str:
        """A person; the place from where it was done, if nobody gave a name."""
        if name in BY_ITSELF:
            return self.device(GATEWAY_DEVICE)
        return self.word("origin", name) if name in UNNAMED else name

    def local(self, at: Stamp) -> datetime | None:
        """Local time without its zone; None if it is not known."""
        if not at.is_set:
            return None
        return datetime.fromtimestamp(at.wall_ms // 1000, self.zone).replace(tzinfo=None)

    def time(self, at: Stamp) -> str:
        """Local time to the second."""
        local = self.local(at)
        return f"{local:%Y-%m-%d %H:%M:%S}" if local else self.text("time-unknown")

    def time_of(self, wall_ms: int) -> str:
        """Local time to the minute."""
        return f"{datetime.fromtimestamp(wall_ms / 1000, self.zone):%Y-%m-%d %H:%M}"

    def duration(self, seconds: float | None) -> str:
        """How long something took."""
        if seconds is None:
            return self.text("time-unknown")
        found = duration(max(0.0, seconds))
        return translate(self.lang, found["sentence"], **found["facts"])
