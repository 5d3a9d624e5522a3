"""The background job of needs: runs the registry that stores, shows and erases them."""

from __future__ import annotations

from typing import Any

from gateway.config import Site
from gateway.jobs import Host, Job

from .registry import NeedsRegistry
from .services import Needs
from .site import NeedsSite


class NeedsJob(Job):
    """Runs the registry, which reads the current configuration."""

    name = "needs"
    calls = ("need-register", "need-particulars", "need-update")

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
        # The registry reads categories when it needs them; a new path needs a restart.
        return None

    async def run(self) -> None:
        await self._registry.run()

    async def answer(self, call: str, request: dict[str, Any]) -> dict[str, Any]:
        return await self._registry.handlers()[call](request)


JOBS: tuple[type[Job], ...] = (NeedsJob,)
