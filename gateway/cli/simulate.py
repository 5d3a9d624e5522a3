"""`linli simulate`: runs a simulated centre until it is interrupted."""

from __future__ import annotations

import argparse
import asyncio

from gateway import simulate
from gateway.simulate import add_arguments

__all__ = ["add_arguments", "run"]


def run(options: argparse.Namespace) -> None:
    asyncio.run(simulate.run(options))
