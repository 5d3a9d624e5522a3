"""`linli scan`: who is on a line, with every protocol there is."""

from __future__ import annotations

import argparse

from drivers import driver_names, load_driver
from gateway.field import scan
from gateway.terminal.site import add_site_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    scan.add_arguments(parser)


def run(options: argparse.Namespace) -> None:
    scan.run(options, {name: load_driver(name) for name in driver_names()})
