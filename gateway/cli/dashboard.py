"""`linli dashboard`: serves the dashboard."""

from __future__ import annotations

import argparse
import asyncio

from gateway import dashboard
from gateway.base import log
from gateway.base.files import close_to_others
from gateway.terminal.site import add_site_argument, load_running_site

add_arguments = add_site_argument


def run(options: argparse.Namespace) -> None:
    close_to_others()
    site = load_running_site(options)
    log.setup_logging(site.centre.language)
    asyncio.run(dashboard.run(dashboard.settings_of(site, options.config)))
