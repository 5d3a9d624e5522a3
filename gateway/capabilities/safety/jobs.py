"""What safety runs in the daemon: sirens and valves follow the alarms, and people are told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.base.clock import local_time
from gateway.base.control import Handler
from gateway.config import Site, localized
from gateway.jobs import Host, Job

from .notifications import Notices, Spoken
from .outputs import Outputs
from .services.alarms import OUTPUTS, Safety
from .services.escalation import Escalation
from .site import SafetySite


class OutputsJob(Job):
    """Keeps the outputs as the alarms want them. What no reload changes is not switched again: somebody
    may have switched it by hand."""

    name = "outputs"
    reports_as = OUTPUTS

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._outputs = Outputs(
            host.site.part(SafetySite).outputs,
            lambda: host.rows(Safety.name).values(),
            host.execute,
            host.sample,
            host.record,
            host.clock,
        )

    @staticmethod
    def built_from(site: Site) -> object:
        return site.part(SafetySite).outputs

    async def run(self) -> None:
        await self._outputs.run()

    def alarm_changed(self) -> None:
        self._outputs.wake()


class NotificationsJob(Job):
    """Delivers what the escalation asks for."""

    name = "notifications"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        site, part = host.site, host.site.part(SafetySite)
        self._notices = Notices(
            part.telling.ways,
            part.telling.people,
            Spoken(
                site.centre.language,
                localized(site.centre.title)[site.centre.language],
                site.devices,
                {name: rule.title for name, rule in part.rules.items()},
                local_time(site.centre.timezone),
            ),
            lambda: host.rows(Escalation.name),
            lambda outcomes: host.conclude(Escalation.name, outcomes),
            host.clock,
        )

    @staticmethod
    def built_from(site: Site) -> object:
        return site.digest

    async def run(self) -> None:
        await self._notices.run()

    def alarm_changed(self) -> None:
        self._notices.wake()

    def handlers(self) -> Mapping[str, Handler]:
        return {"notify-test": self._answer_test}

    async def _answer_test(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"channels": await self._notices.trial(str(request.get("contact")))}


JOBS: tuple[type[Job], ...] = (OutputsJob, NotificationsJob)
