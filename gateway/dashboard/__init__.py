"""The page of the people who run the centre: reads the journal, asks the daemon, writes nothing."""

from __future__ import annotations

import logging
import socket

import uvicorn
from starlette.applications import Starlette

from gateway.base.clock import SystemClock
from gateway.base.log import log_event
from gateway.web.access import Access, read_key

from .app import Dashboard
from .settings import DeviceCard, Settings, settings_of
from .watch import Watch

__all__ = ["DeviceCard", "Settings", "application", "run", "settings_of"]

GRACE = 2
"""Seconds that connections have to end; event streams end by themselves before."""
CONNECTIONS = 256


def application(settings: Settings) -> Starlette:
    """The ASGI application. Raises `ConfigError` when there is no access key and none can be made."""
    return _dashboard(settings).application()


def _dashboard(settings: Settings) -> Dashboard:
    clock = SystemClock()
    return Dashboard(settings, Access(read_key(settings.access), clock.mono), clock)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; exits 1 when it can see nothing any more. Raises `ConfigError`."""
    dashboard = _dashboard(settings)
    config = uvicorn.Config(
        dashboard.application(),
        host=settings.host,
        port=settings.port,
        # The access log would keep the key of the first visit.
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=CONNECTIONS,
    )
    server = _Server(config, dashboard.watch)
    await server.serve()
    if not server.should_exit:
        raise SystemExit(1)


class _Server(uvicorn.Server):
    """Ends the event streams first: a server that waits for them waits for ever."""

    def __init__(self, config: uvicorn.Config, watch: Watch) -> None:
        super().__init__(config)
        self._watch = watch

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for each in server.sockets:
                host, port = each.getsockname()[:2]
                host = f"[{host}]" if ":" in host else host
                log_event(logging.INFO, "dashboard-up", url=f"http://{host}:{port}/")

    async def on_tick(self, counter: int) -> bool:
        """A dashboard that sees nothing any more ends, so that it is started again."""
        return await super().on_tick(counter) or self._watch.closed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._watch.close()
        await super().shutdown(sockets)
