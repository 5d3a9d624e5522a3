"""Notifies people: delivers the notices of the escalation service, with one task per channel.

A channel that hangs delays no other. Notices that arrive faster than a channel may send are combined into
one message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.base.log import error_text, log_event
from gateway.base.tasks import exception_of
from gateway.model import Clock, GatewayError, Outcome, Rows

from .channels import AlarmMessage, Channel, Contact, DeliveryFailed
from .channels.push import PhoneService
from .message_texts import MessageContext, MessageTexts, in_every_language
from .services.escalation import TEST_ALARM_ID, Notice, delivery_id, due_notices, notice_key

CHECK_INTERVAL_S = 1.0
"""How often a channel checks for due notices when nothing wakes it."""


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
        self._wake_events: list[asyncio.Event] = []
        self._failed_channels: set[str] = set()
        self._send_locks = {
            name: asyncio.Lock() for name, each in channels.items() if not each.channel.is_parallel
        }
        """One delivery at a time: a modem has one port."""

    def check_now(self) -> None:
        """Check for due notices at once."""
        for event in self._wake_events:
            event.set()

    async def run(self) -> None:
        """Deliver notices until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, each in self._channels.items():
                for contact in self._contacts if each.channel.is_parallel else (None,):
                    tasks.create_task(self._run_channel(name, contact), name=f"channel-{name}")

    async def send_test(self, contact_name: str) -> dict[str, str]:
        """Send a test message to a contact by every channel that has an address for them.

        Returns an error sentence for each channel, empty where the message was accepted. Raises
        `GatewayError` for an unknown contact.
        """
        contact = self._contacts.get(contact_name)
        if contact is None:
            raise GatewayError("contact-unknown", contact=contact_name, known=", ".join(self._contacts))
        message = in_every_language(self._context, MessageTexts.test_message)
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

    async def send_test_to_phone(self, person: str, phone: str) -> None:
        """Send a test message to one phone of a person of the dashboard. Raises `GatewayError`."""
        for configured in self._channels.values():
            if isinstance(configured.options, PhoneService):
                message = in_every_language(self._context, MessageTexts.test_message)
                await configured.options.send_to(person, phone, message, self._clock.now())
                return
        raise GatewayError("push-off")

    async def _run_channel(self, name: str, contact: str | None) -> None:
        """Deliver the notices of a channel, to one contact alone or to all of them."""
        channel = self._channels[name].channel
        next_send_s = float("-inf")
        self._wake_events.append(wake := asyncio.Event())
        while True:
            wake.clear()
            wait_s = next_send_s - self._clock.mono()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            due = due_notices(self._rows(), name, self._clock.now(), contact)
            if due:
                first = next(iter(due.values())).contact
                same_contact = [(key, notice) for key, notice in due.items() if notice.contact == first]
                await self._deliver(name, dict(same_contact[: channel.max_alarms]))
                next_send_s = self._clock.mono() + channel.min_interval_s
            else:
                await self._clock.wait(wake, CHECK_INTERVAL_S)

    async def _deliver(self, name: str, notices: Mapping[str, Notice]) -> None:
        """Send the notices to one contact or group in one message."""
        first = next(iter(notices.values()))
        named = (first.contact,) if first.contact else ()
        mentioned = dict.fromkeys((*named, *(who for each in notices.values() for who in each.mention)))
        contacts = [self._contacts[who] for who in mentioned if who in self._contacts]
        listed, now = list(notices.items()), self._clock.now()
        message = in_every_language(self._context, lambda texts: texts.alarm_message(listed, now))
        error = await self._send(name, message, contacts)
        await self._report_delivery(name, {key: notice.number for key, notice in notices.items()}, error)

    async def _send(
        self, name: str, message: AlarmMessage, contacts: Sequence[Contact]
    ) -> GatewayError | None:
        configured = self._channels[name]
        timeout_s = configured.channel.timeout_s

        async def send() -> None:
            lock = self._send_locks.get(name, contextlib.nullcontext())
            async with lock, asyncio.timeout(timeout_s):
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
