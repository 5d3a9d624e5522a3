"""`linli asyncapi`: what travels to the platform, as an AsyncAPI document."""

from __future__ import annotations

import argparse
import json

from gateway.uplink.native import asyncapi


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It has none."""


def run(_: argparse.Namespace) -> None:
    print(json.dumps(asyncapi(), indent=2, ensure_ascii=False))
