"""The texts of messages about alarms, in one language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from gateway.model import UNKNOWN_FIRE_POINT, Device, Point, Stamp
from gateway.words import LANGUAGES, translate

from .channel import AlarmMessage
from .places import place_text
from .services.alarms import UNUSABLE_POINT
from .services.escalation import Notice, delivery_id

_WORD_BY_GATEWAY_PART = {"escalation": "channel-of", "outputs": "output-of"}
"""The word keys for faults of the gateway's own parts, by the device they are recorded for."""


class MessageContext(msgspec.Struct, frozen=True):
    """What the sentences of a message need from the site."""

    language: str
    titles: Mapping[str, str]
    """The site's title, by language."""
    devices: Mapping[str, Device]
    rules: Mapping[str, Mapping[str, str]]
    """The titles of the site's own rules, by their names."""
    local_time: Callable[[Stamp], datetime | None]


def in_every_language(
    context: MessageContext, compose: Callable[[MessageTexts], AlarmMessage]
) -> AlarmMessage:
    """The message in the site's language, with its translations."""
    translations = {lang: compose(MessageTexts(context, lang)) for lang in LANGUAGES}
    return msgspec.structs.replace(translations[context.language], translations=translations)


class MessageTexts:
    """The messages in a language."""

    def __init__(self, context: MessageContext, language: str) -> None:
        self._context = context
        self._language = language
        self._title = context.titles[language]

    def test_message(self) -> AlarmMessage:
        """The message of a test."""
        headline = self._translate("trial", site=self._title)
        return AlarmMessage(headline=headline, paragraphs=(), omitted_sentence="")

    def alarm_message(self, notices: Sequence[tuple[str, Notice]], now: Stamp) -> AlarmMessage:
        """One message about these notices, most urgent first."""
        alarms = tuple(
            {
                "notice": delivery_id(key, notice.number),
                "alarm": notice.alarm.id,
                "news": notice.change,
                "by": notice.by,
                "device": notice.alarm.device,
                "point": notice.alarm.point,
                "hazard": notice.alarm.hazard,
                "value": notice.alarm.value,
                **(
                    {"place": notice.alarm.place, "where": notice.alarm.where} if notice.alarm.place else {}
                ),
                "raised": notice.alarm.raised,
                "drill": notice.alarm.drill,
            }
            for key, notice in notices
        )
        omitted_sentence = self._translate("more", count="{count}")
        if len(notices) == 1:
            notice = notices[0][1]
            return AlarmMessage(
                headline=self._headline(notice),
                paragraphs=("\n".join(self._details(notice, now)),),
                omitted_sentence=omitted_sentence,
                alarms=alarms,
            )
        drill = self._translate("drill") if all(notice.alarm.drill for _, notice in notices) else ""
        headline = drill + self._translate("many", count=len(notices), site=self._title)
        lines = tuple(f"{self._headline(notice)} {self._change_text(notice)}" for _, notice in notices)
        return AlarmMessage(
            headline=headline, paragraphs=lines, omitted_sentence=omitted_sentence, alarms=alarms
        )

    def _headline(self, notice: Notice) -> str:
        alarm = notice.alarm
        language = self._language
        return self._translate(
            "headline",
            drill=self._translate("drill") if alarm.drill else "",
            hazard=translate(language, f"hazard.{alarm.hazard}"),
            where=self._location(notice),
        )

    def _location(self, notice: Notice) -> str:
        alarm, language = notice.alarm, self._language
        if alarm.drill:
            return self._title
        if alarm.device in _WORD_BY_GATEWAY_PART:
            return self._translate(
                _WORD_BY_GATEWAY_PART[alarm.device], name=alarm.point.removesuffix(".failed")
            )
        device = self._context.devices.get(alarm.device)
        location = device.title.get(language, alarm.device) if device else alarm.device
        if alarm.id.startswith("rule/"):
            title = self._context.rules.get(alarm.point, {}).get(language, alarm.point)
            return f"{location} {title}" if device else title
        place = place_text(language, alarm.place, alarm.where)
        if alarm.point == UNKNOWN_FIRE_POINT:
            return f"{self._translate('unknown-sender')} {place}"
        return f"{location} {self._point(alarm.point)} {place}".rstrip()

    def _point(self, point: str) -> str:
        """The word for a point and its number; the point itself if there is none."""
        name, _, number = point.partition(".")
        word = translate(self._language, f"point.{name}")
        return point if word == f"point.{name}" else f"{word} {number}".rstrip()

    def _points(self, listed: str) -> str:
        """The words for the points that have no usable value."""
        return ", ".join(map(self._point, listed.split(", ")))

    def _change_text(self, notice: Notice) -> str:
        return self._translate(notice.change, by=notice.by or "–")

    def _details(self, notice: Notice, now: Stamp) -> list[str]:
        alarm = notice.alarm
        lines = [self._change_text(notice)]
        raised = self._context.local_time(msgspec.structs.replace(now, wall_ms=alarm.raised))
        if raised is not None:
            minutes = max(0, now.wall_ms - alarm.raised) // 60_000
            lines.append(self._translate("since", time=f"{raised:%m-%d %H:%M:%S}", minutes=minutes))
        if not isinstance(alarm.value, bool) and alarm.value != "":
            device = self._context.devices.get(alarm.device)
            point = device.points.get(alarm.point, Point()) if device else Point()
            is_unusable = alarm.point == UNUSABLE_POINT and not alarm.id.startswith("rule/")
            value = self._points(str(alarm.value)) if is_unusable else alarm.value
            lines.append(self._translate("value", value=value, unit=point.unit).rstrip())
        if notice.change == "raised":
            language = self._language
            lines.append(
                self._translate("drill-do")
                if alarm.drill
                else translate(language, f"advice.{alarm.hazard}")
            )
        lines.append(self._title)
        return lines

    def _translate(self, key: str, **facts: object) -> str:
        return translate(self._language, f"notice.{key}", **facts)
