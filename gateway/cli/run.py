"""`linli run`: runs the gateway until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio

from gateway.base import log
from gateway.base.event_loop import TimedEventLoop
from gateway.base.files import close_to_others
from gateway.config.adoption import choose_configuration
from gateway.daemon import main
from gateway.terminal.site import add_site_argument

add_arguments = add_site_argument


def run(options: argparse.Namespace) -> None:
    close_to_others()
    choice = choose_configuration(options.config)
    log.setup_logging(choice.site.centre.language)
    loop = TimedEventLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main.run(options.config, choice, lambda: loop.idle_s))
