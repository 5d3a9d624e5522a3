"""The jobs of safety in the daemon: control of the outputs, and notifications."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from gateway.base.clock import local_time
from gateway.config import Site, localized
from gateway.jobs import Host, Job

from .message_texts import MessageContext
from .notifications import ConfiguredChannel, Notifier
from .outputs import OutputController
from .services.alarms import OUTPUTS_DEVICE, Safety
from .services.escalation import Escalation
from .site import SafetySite


class OutputsJob(Job):
    """Controls the outputs. A reload that does not change them does not switch them again, as one may have
    been switched by hand."""

    name = "outputs"
    reports_as = OUTPUTS_DEVICE

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._outputs = OutputController(
            host.site.part(SafetySite).outputs,
            lambda: host.rows(Safety.name).values(),
            host.execute,
            host.publish_sample,
            host.record_fact,
            host.clock,
        )

    @staticmethod
    def built_from(site: Site) -> object:
        return site.part(SafetySite).outputs

    async def run(self) -> None:
        await self._outputs.run()

    def alarm_changed(self) -> None:
        self._outputs.check_now()


class NotificationsJob(Job):
    """Delivers the notices of the escalation service."""

    name = "notifications"
    calls = ("notify-test", "phone-test")

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        site, part = host.site, host.site.part(SafetySite)
        self._notifier = Notifier(
            {
                name: ConfiguredChannel(
                    each.channel, each.channel.opened(each.options, site.dashboard.access)
                )
                for name, each in part.notification.channels.items()
            },
            part.notification.contacts,
            MessageContext(
                site.centre.language,
                localized(site.centre.title),
                site.devices,
                {name: rule.title for name, rule in part.rules.items()},
                local_time(site.centre.timezone),
            ),
            lambda: host.rows(Escalation.name),
            lambda outcomes: host.report_outcomes(Escalation.name, outcomes),
            host.clock,
        )

    @staticmethod
    def built_from(site: Site) -> object:
        return site.digest

    async def run(self) -> None:
        await self._notifier.run()

    def alarm_changed(self) -> None:
        self._notifier.check_now()

    async def answer(self, call: str, request: dict[str, Any]) -> dict[str, Any]:
        if call == "phone-test":
            await self._notifier.send_test_to_phone(str(request.get("person")), str(request.get("phone")))
            return {}
        return {"channels": await self._notifier.send_test(str(request.get("contact")))}


class AlarmsJob(Job):
    """Tells which alarms stand, for `linli alarms`."""

    name = "alarms"
    calls = ("alarms",)

    @staticmethod
    def built_from(site: Site) -> object:
        return None

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def answer(self, call: str, request: dict[str, Any]) -> dict[str, Any]:
        rows = self._host.rows(Safety.name).values()
        return {"alarms": [msgspec.to_builtins(alarm) for alarm in rows]}


JOBS: tuple[type[Job], ...] = (OutputsJob, NotificationsJob, AlarmsJob)
