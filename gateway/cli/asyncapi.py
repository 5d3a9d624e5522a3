"""`linli asyncapi`: the messages of the uplink, as an AsyncAPI document."""

from __future__ import annotations

import argparse
import json

from gateway.uplink.native import asyncapi


def add_arguments(_: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(_: argparse.Namespace) -> None:
    print(json.dumps(asyncapi(), indent=2, ensure_ascii=False))
