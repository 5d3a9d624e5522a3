"""The job of needs in the daemon: the registry that registers, shows and erases them."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.base.control import Handler
from gateway.config import Site
from gateway.jobs import Host, Job

from .registry import NeedsRegistry
from .services import Needs
from .site import NeedsSite


class NeedsJob(Job):
    """Registers, shows and erases needs, as the site asks now."""

    name = "needs"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._registry = NeedsRegistry(
            lambda: host.site.part(NeedsSite).reception,
            lambda: host.site.part(NeedsSite).options,
            lambda: host.rows(Needs.name),
            host.submit_command,
            host.clock,
        )

    @staticmethod
    def built_from(site: Site) -> object:
        # Categories may change under it; where the particulars lie cannot.
        return None

    async def run(self) -> None:
        await self._registry.run()

    def handlers(self) -> Mapping[str, Handler]:
        return self._registry.handlers()


JOBS: tuple[type[Job], ...] = (NeedsJob,)
