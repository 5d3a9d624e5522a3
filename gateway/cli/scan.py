"""`linli scan`: finds devices, with every driver that can scan."""

from __future__ import annotations

import argparse

from drivers import driver_names, load_driver
from gateway.field import scan
from gateway.terminal.site import add_site_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    scan.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    return scan.run(options, {name: load_driver(name) for name in driver_names()})
