"""`linli dashboard`: the pages, in a process of their own."""

from __future__ import annotations

import argparse
import asyncio

from gateway import dashboard
from gateway.base import log
from gateway.terminal.site import chosen_site, site_argument

add_arguments = site_argument


def run(options: argparse.Namespace) -> None:
    site = chosen_site(options)
    log.setup(site.centre.language)
    asyncio.run(dashboard.run(dashboard.settings_of(site, options.config)))
