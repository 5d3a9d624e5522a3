"""The background job of visitors: keeps the statistics up to date with the journal."""

from __future__ import annotations

from gateway.config import Site
from gateway.jobs import Host, Job

from . import statistics
from .site import statistics_file


class StatisticsJob(Job):
    """Maintains the statistics file."""

    name = "statistics"

    @staticmethod
    def built_from(site: Site) -> object:
        return statistics_file(site)

    @classmethod
    async def prepare(cls, host: Host) -> None:
        if downtime := await statistics.detect_downtime(host.journal.reader, host.clock.now()):
            host.record_fact(downtime)

    async def run(self) -> None:
        file = statistics_file(self._host.site)
        await statistics.maintain_statistics(file, self._host.journal.reader, self._host.clock)


JOBS: tuple[type[Job], ...] = (StatisticsJob,)
