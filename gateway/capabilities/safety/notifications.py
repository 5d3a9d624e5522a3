"""Notifies people: delivers the notices of the escalation service, with one task per channel.

A channel that hangs delays no other. Notices that arrive faster than a channel may send are combined into
one message.
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
from gateway.model import (
    UNKNOWN_FIRE_POINT,
    Clock,
    Device,
    GatewayError,
    Outcome,
    Point,
    Rows,
    Stamp,
)
from gateway.words import translate

from .channels import AlarmMessage, Channel, Contact, DeliveryFailed
from .places import place_text
from .services.escalation import TEST_ALARM_ID, Notice, delivery_id, due_notices, notice_key

_WORD_BY_GATEWAY_PART = {"escalation": "channel-of", "outputs": "output-of"}
"""The word keys for faults of the gateway's own parts, by the device they are recorded for."""
CHECK_INTERVAL_S = 1.0
"""How often a channel checks for due notices when nothing wakes it."""


class MessageContext(msgspec.Struct, frozen=True):
    """What the sentences of a message need from the site."""

    language: str
    title: str
    devices: Mapping[str, Device]
    rules: Mapping[str, Mapping[str, str]]
    """The titles of the site's own rules, by their names."""
    local_time: Callable[[Stamp], datetime | None]


class ConfiguredChannel(msgspec.Struct, frozen=True):
    """A channel with its options: `[channel.…]`."""

    channel: Channel
    options: Any


class Notifier:
    """Delivers the due notices, and reports the outcome of each delivery.

    `rows` returns those of the escalation service. `report_outcomes` returns when the outcomes are stored.
    """

    def __init__(
        self,
        channels: Mapping[str, ConfiguredChannel],
        contacts: Mapping[str, Contact],
        context: MessageContext,
        rows: Callable[[], Rows],
        report_outcomes: Callable[[Sequence[Outcome]], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._channels = channels
        self._contacts = contacts
        self._context = context
        self._rows = rows
        self._report_outcomes = report_outcomes
        self._clock = clock
        self._wake_events = {name: asyncio.Event() for name in channels}
        self._failed_channels: set[str] = set()
        self._send_locks = {name: asyncio.Lock() for name in channels}
        """One delivery at a time on each channel: a modem has one port."""

    def check_now(self) -> None:
        """Check for due notices at once."""
        for event in self._wake_events.values():
            event.set()

    async def run(self) -> None:
        """Deliver notices until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name in self._channels:
                tasks.create_task(self._run_channel(name), name=f"channel-{name}")

    async def send_test(self, contact_name: str) -> dict[str, str]:
        """Send a test message to a contact by every channel that has an address for them.

        Returns an error sentence for each channel, empty where the message was accepted. Raises
        `GatewayError` for an unknown contact.
        """
        contact = self._contacts.get(contact_name)
        if contact is None:
            raise GatewayError("contact-unknown", contact=contact_name, known=", ".join(self._contacts))
        message = AlarmMessage(
            headline=self._translate("trial", site=self._context.title), paragraphs=(), omitted_sentence=""
        )
        errors: dict[str, str] = {}
        for name, configured in self._channels.items():
            address = configured.channel.address_field
            if not address or getattr(contact, address):
                error = await self._send(name, message, (contact,))
                await self._report_delivery(
                    name, {notice_key(TEST_ALARM_ID, name, contact_name if address else ""): 0}, error
                )
                errors[name] = error_text(error.key, **error.facts) if error else ""
        return errors

    async def _run_channel(self, name: str) -> None:
        channel = self._channels[name].channel
        next_send_s = float("-inf")
        while True:
            self._wake_events[name].clear()
            wait_s = next_send_s - self._clock.mono()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            due = due_notices(self._rows(), name, self._clock.now())
            if due:
                contact = next(iter(due.values())).contact
                same_contact = [(key, notice) for key, notice in due.items() if notice.contact == contact]
                await self._deliver(name, dict(same_contact[: channel.max_alarms]))
                next_send_s = self._clock.mono() + channel.min_interval_s
            else:
                await self._clock.wait(self._wake_events[name], CHECK_INTERVAL_S)

    async def _deliver(self, name: str, notices: Mapping[str, Notice]) -> None:
        """Send the notices to one contact or group in one message."""
        first = next(iter(notices.values()))
        named = (first.contact,) if first.contact else ()
        mentioned = dict.fromkeys((*named, *(who for each in notices.values() for who in each.mention)))
        contacts = [self._contacts[who] for who in mentioned if who in self._contacts]
        message = self.compose_message(list(notices.items()), self._clock.now())
        error = await self._send(name, message, contacts)
        await self._report_delivery(name, {key: notice.number for key, notice in notices.items()}, error)

    async def _send(
        self, name: str, message: AlarmMessage, contacts: Sequence[Contact]
    ) -> GatewayError | None:
        configured = self._channels[name]
        timeout_s = configured.channel.timeout_s

        async def send() -> None:
            async with self._send_locks[name], asyncio.timeout(timeout_s):
                await configured.channel.send(configured.options, message, contacts, self._clock.now())

        error = await exception_of(send())
        if isinstance(error, TimeoutError):
            return DeliveryFailed("channel-slow", seconds=round(timeout_s))
        if error is None or isinstance(error, GatewayError):
            return error
        # The text of a library's error may contain a secret.
        return DeliveryFailed("internal", reason=type(error).__name__)

    async def _report_delivery(
        self, name: str, numbers: Mapping[str, int], error: GatewayError | None
    ) -> None:
        if error and name not in self._failed_channels:
            self._failed_channels.add(name)
            log_event(
                logging.ERROR, "channel-down", channel=name, reason=error_text(error.key, **error.facts)
            )
        elif not error and name in self._failed_channels:
            self._failed_channels.discard(name)
            log_event(logging.INFO, "channel-up", channel=name)
        now = self._clock.now()
        status, detail = ("failed", error.key) if error else ("done", "")
        await self._report_outcomes(
            [Outcome(delivery_id(key, number), status, now, detail) for key, number in numbers.items()]
        )

    def compose_message(self, notices: Sequence[tuple[str, Notice]], now: Stamp) -> AlarmMessage:
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
        headline = drill + self._translate("many", count=len(notices), site=self._context.title)
        lines = tuple(f"{self._headline(notice)} {self._change_text(notice)}" for _, notice in notices)
        return AlarmMessage(
            headline=headline, paragraphs=lines, omitted_sentence=omitted_sentence, alarms=alarms
        )

    def _headline(self, notice: Notice) -> str:
        alarm = notice.alarm
        language = self._context.language
        return self._translate(
            "headline",
            drill=self._translate("drill") if alarm.drill else "",
            hazard=translate(language, f"hazard.{alarm.hazard}"),
            where=self._location(notice),
        )

    def _location(self, notice: Notice) -> str:
        alarm, language = notice.alarm, self._context.language
        if alarm.drill:
            return self._context.title
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
        name, _, number = alarm.point.partition(".")
        word = translate(language, f"point.{name}")
        known = alarm.point if word == f"point.{name}" else f"{word} {number}".rstrip()
        return f"{location} {known} {place}".rstrip()

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
            lines.append(self._translate("value", value=alarm.value, unit=point.unit).rstrip())
        if notice.change == "raised":
            language = self._context.language
            lines.append(
                self._translate("drill-do")
                if alarm.drill
                else translate(language, f"advice.{alarm.hazard}")
            )
        lines.append(self._context.title)
        return lines

    def _translate(self, key: str, **facts: object) -> str:
        return translate(self._context.language, f"notice.{key}", **facts)
