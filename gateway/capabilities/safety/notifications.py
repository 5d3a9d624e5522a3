"""Telling people: delivers the notices of the escalation, each channel by a task of its own.

A channel that hangs delays no other. What comes faster than a channel may speak is told in one message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from gateway.base.log import error_text, log_event
from gateway.base.tasks import exception_of
from gateway.model import Clock, Device, GatewayError, Outcome, Point, Rows, Stamp
from gateway.words import translate

from .channels import AlarmMessage, Channel, Contact, DeliveryFailed
from .services.escalation import TEST_ALARM_ID, Notice, delivery_id, due_notices, notice_key

_WORDS_OF_OWN_PARTS = {"escalation": "channel-of", "outputs": "output-of"}
"""What the faults of the gateway's own parts are called."""
CHECK_INTERVAL_S = 1.0
"""Seconds after which it is looked again whether something is due."""


class MessageContext(msgspec.Struct, frozen=True):
    """What the sentences need to know of a site."""

    language: str
    title: str
    devices: Mapping[str, Device]
    rules: Mapping[str, Mapping[str, str]]
    """The titles of the site's own rules."""
    local: Callable[[Stamp], datetime | None]


class ConfiguredChannel(msgspec.Struct, frozen=True):
    """A configured channel: `[channel.…]`."""

    channel: Channel
    options: Any


class Notifier:
    """Delivers what is due, and reports how each delivery ended.

    `rows` are the escalation's; `conclude` takes the outcomes, and returns when they are written down.
    """

    def __init__(
        self,
        ways: Mapping[str, ConfiguredChannel],
        people: Mapping[str, Contact],
        spoken: MessageContext,
        rows: Callable[[], Rows],
        conclude: Callable[[Sequence[Outcome]], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._ways = ways
        self._people = people
        self._spoken = spoken
        self._rows = rows
        self._conclude = conclude
        self._clock = clock
        self._changed = {name: asyncio.Event() for name in ways}
        self._down: set[str] = set()
        self._taken = {name: asyncio.Lock() for name in ways}
        """A modem has one port."""

    def wake(self) -> None:
        """Something may be due: look at once."""
        for event in self._changed.values():
            event.set()

    async def run(self) -> None:
        """Deliver, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for name in self._ways:
                tasks.create_task(self._serve(name), name=f"channel-{name}")

    async def trial(self, contact: str) -> dict[str, str]:
        """A trial message to somebody by every channel that reaches them: what went wrong with each, in
        words; nothing where it arrived. Raises `GatewayError`: nobody of that name."""
        person = self._people.get(contact)
        if person is None:
            raise GatewayError("contact-unknown", contact=contact, known=", ".join(self._people))
        text = AlarmMessage(head=self._say("trial", site=self._spoken.title), items=(), more="")
        found: dict[str, str] = {}
        for name, way in self._ways.items():
            needs = way.channel.needs
            if not needs or getattr(person, needs):
                error = await self._send(name, text, (person,))
                await self._report(
                    name, {notice_key(TEST_ALARM_ID, name, contact if needs else ""): 0}, error
                )
                found[name] = error_text(error.key, **error.facts) if error else ""
        return found

    async def _serve(self, name: str) -> None:
        channel = self._ways[name].channel
        free = float("-inf")
        while True:
            self._changed[name].clear()
            wait = free - self._clock.mono()
            if wait > 0:
                await self._clock.sleep(wait)
            mine = due_notices(self._rows(), name, self._clock.now())
            if mine:
                contact = next(iter(mine.values())).contact
                theirs = [(key, notice) for key, notice in mine.items() if notice.contact == contact]
                await self._deliver(name, dict(theirs[: channel.most]))
                free = self._clock.mono() + channel.every
            else:
                await self._clock.wait(self._changed[name], CHECK_INTERVAL_S)

    async def _deliver(self, name: str, notices: Mapping[str, Notice]) -> None:
        """All that one addressee is to be told, in one message."""
        first = next(iter(notices.values()))
        named = (first.contact,) if first.contact else ()
        mentioned = dict.fromkeys((*named, *(who for each in notices.values() for who in each.mention)))
        people = [self._people[who] for who in mentioned if who in self._people]
        text = self.compose(list(notices.items()), self._clock.now())
        error = await self._send(name, text, people)
        await self._report(name, {key: notice.number for key, notice in notices.items()}, error)

    async def _send(self, name: str, text: AlarmMessage, people: Sequence[Contact]) -> GatewayError | None:
        way = self._ways[name]
        limit = way.channel.limit

        async def send() -> None:
            async with self._taken[name], asyncio.timeout(limit):
                await way.channel.send(way.options, text, people, self._clock.now())

        error = await exception_of(send())
        if isinstance(error, TimeoutError):
            return DeliveryFailed("channel-slow", seconds=round(limit))
        if error is None or isinstance(error, GatewayError):
            return error
        # What a library says may hold a secret.
        return DeliveryFailed("internal", reason=type(error).__name__)

    async def _report(self, name: str, numbers: Mapping[str, int], error: GatewayError | None) -> None:
        if error and name not in self._down:
            self._down.add(name)
            log_event(
                logging.ERROR, "channel-down", channel=name, reason=error_text(error.key, **error.facts)
            )
        elif not error and name in self._down:
            self._down.discard(name)
            log_event(logging.INFO, "channel-up", channel=name)
        now = self._clock.now()
        status, detail = ("failed", error.key) if error else ("done", "")
        await self._conclude(
            [Outcome(delivery_id(key, number), status, now, detail) for key, number in numbers.items()]
        )

    def compose(self, notices: Sequence[tuple[str, Notice]], now: Stamp) -> AlarmMessage:
        """What is said of these alarms, most urgent first."""
        data = tuple(
            {
                "notice": delivery_id(key, notice.number),
                "alarm": notice.about.id,
                "news": notice.news,
                "by": notice.by,
                "device": notice.about.device,
                "point": notice.about.point,
                "hazard": notice.about.hazard,
                "value": notice.about.value,
                "raised": notice.about.raised,
                "drill": notice.about.drill,
            }
            for key, notice in notices
        )
        more = self._say("more", count="{count}")
        if len(notices) == 1:
            notice = notices[0][1]
            return AlarmMessage(
                head=self._headline(notice),
                items=("\n".join(self._details(notice, now)),),
                more=more,
                data=data,
            )
        drill = self._say("drill") if all(notice.about.drill for _, notice in notices) else ""
        head = drill + self._say("many", count=len(notices), site=self._spoken.title)
        lines = tuple(f"{self._headline(notice)} {self._news(notice)}" for _, notice in notices)
        return AlarmMessage(head=head, items=lines, more=more, data=data)

    def _headline(self, notice: Notice) -> str:
        about = notice.about
        language = self._spoken.language
        return self._say(
            "headline",
            drill=self._say("drill") if about.drill else "",
            hazard=translate(language, f"hazard.{about.hazard}"),
            where=self._where(notice),
        )

    def _where(self, notice: Notice) -> str:
        about, language = notice.about, self._spoken.language
        if about.drill:
            return self._spoken.title
        if about.device in _WORDS_OF_OWN_PARTS:
            return self._say(_WORDS_OF_OWN_PARTS[about.device], name=about.point.removesuffix(".failed"))
        device = self._spoken.devices.get(about.device)
        where = device.title.get(language, about.device) if device else about.device
        if about.id.startswith("rule/"):
            title = self._spoken.rules.get(about.point, {}).get(language, about.point)
            return f"{where} {title}" if device else title
        key = f"point.{about.point.partition('.')[0]}"
        named = translate(language, key)
        return f"{where} {about.point if named == key else named}"

    def _news(self, notice: Notice) -> str:
        return self._say(notice.news, by=notice.by or "–")

    def _details(self, notice: Notice, now: Stamp) -> list[str]:
        about = notice.about
        lines = [self._news(notice)]
        raised = self._spoken.local(msgspec.structs.replace(now, wall=about.raised))
        if raised is not None:
            minutes = max(0, now.wall - about.raised) // 60_000
            lines.append(self._say("since", time=f"{raised:%m-%d %H:%M:%S}", minutes=minutes))
        if not isinstance(about.value, bool) and about.value != "":
            device = self._spoken.devices.get(about.device)
            point = device.points.get(about.point, Point()) if device else Point()
            lines.append(self._say("value", value=about.value, unit=point.unit).rstrip())
        if notice.news == "raised":
            language = self._spoken.language
            lines.append(
                self._say("drill-do") if about.drill else translate(language, f"advice.{about.hazard}")
            )
        lines.append(self._spoken.title)
        return lines

    def _say(self, key: str, **facts: object) -> str:
        return translate(self._spoken.language, f"notice.{key}", **facts)
