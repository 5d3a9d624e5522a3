"""The dashboard process: it reads the journal, calls the daemon, and writes nothing."""

from __future__ import annotations

import asyncio
import datetime
import functools
import logging
import socket
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from gateway.base.clock import SystemClock
from gateway.base.connections import ACCEPT_BACKLOG, log_shortage
from gateway.base.log import log_event, report_held_back
from gateway.config import Site
from gateway.model import LinkDown
from gateway.web.access import Access, read_key
from gateway.web.certificates import serving_findings
from gateway.web.settings import Settings
from gateway.words import preferred_language, translate

from . import settings as _settings
from .app import Dashboard
from .follower import Follower
from .gallery import serve_gallery
from .http_protocol import LimitedHttpProtocol, tls_protocol
from .parts import page_parts
from .tls import ServerTls

__all__ = ["Settings", "application", "run", "serve_gallery", "settings_of"]

SHUTDOWN_TIMEOUT_S = 2
"""Time for connections to end; event streams have ended before that."""
TICKS_PER_CERTIFICATE_CHECK = 600
"""A minute: uvicorn ticks ten times a second."""


def settings_of(site: Site, file: Path | None = None) -> Settings:
    """The dashboard's settings of a site."""
    return _settings.settings_of(site, page_parts(), file)


def application(settings: Settings) -> Starlette:
    """The ASGI application. Raises `ConfigError` if there is no access key and none can be created."""
    return _dashboard(settings).application()


def _dashboard(settings: Settings) -> Dashboard:
    clock = SystemClock()
    access = Access(read_key(settings.access), settings.access)
    return Dashboard(settings, page_parts(), access, clock)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; exit with 1 if the follower has ended. Raises `ConfigError`, or
    `LinkDown` if the port cannot be opened."""
    dashboard = _dashboard(settings)
    tls = ServerTls(settings) if settings.certificate_file or settings.local_ca else None
    for key, facts in serving_findings(settings, datetime.datetime.now(datetime.UTC)):
        finding = translate(preferred_language(), f"doctor.{key}", **facts)
        log_event(logging.WARNING, "dashboard-finding", finding=finding)
    http: Any = functools.partial(tls_protocol, tls.context) if tls else LimitedHttpProtocol
    config = uvicorn.Config(
        dashboard.application(),
        host=settings.host,
        port=settings.port,
        # The access log would contain the key of a login by URL.
        access_log=False,
        log_config=None,
        log_level="error",
        # There are no web sockets; a request for one is answered like any other.
        ws="none",
        server_header=False,
        http=http,
        backlog=ACCEPT_BACKLOG,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    server = _Server(config, dashboard.follower, tls)
    await server.serve()
    if not server.should_exit:
        raise SystemExit(1)


class _Server(uvicorn.Server):
    """Ends the event streams first: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, follower: Follower, tls: ServerTls | None) -> None:
        super().__init__(config)
        self._follower = follower
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(log_shortage)
        await self._check_port()
        await super().startup(sockets)
        for server in self.servers:
            for each in server.sockets:
                host, port = each.getsockname()[:2]
                host = f"[{host}]" if ":" in host else host
                scheme = "https" if self._tls else "http"
                log_event(logging.INFO, "dashboard-up", url=f"{scheme}://{host}:{port}/")

    async def _check_port(self) -> None:
        """uvicorn would end the process with the words of the operating system."""
        host, port = self.config.host, self.config.port
        try:
            server = await asyncio.get_running_loop().create_server(
                asyncio.Protocol, host, port, start_serving=False
            )
        except OSError as error:
            raise LinkDown("http-port", listen=f"{host}:{port}", reason=error) from error
        server.close()

    async def on_tick(self, counter: int) -> bool:
        """Also exit when the follower has ended, so that systemd restarts the process."""
        report_held_back()
        if self._tls and counter % TICKS_PER_CERTIFICATE_CHECK == 0:
            await self._tls.follow()
        return await super().on_tick(counter) or self._follower.closed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._follower.close()
        await super().shutdown(sockets)
