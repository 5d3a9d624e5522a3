"""`linli do`: sends a command to the running gateway, once, and prints the outcome."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import math
import re
import sys
from collections.abc import Iterable
from typing import Any

from gateway.config import available_actions, load_site, service_actions
from gateway.model import GATEWAY_DEVICE, GatewayError
from gateway.terminal.names import unknown_name
from gateway.terminal.order import run_order
from gateway.terminal.printing import cli_text, print_table
from gateway.terminal.site import add_site_argument
from gateway.words import preferred_language, words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("device")
    parser.add_argument("action", nargs="?")
    parser.add_argument("args", nargs="*", default=[], metavar=cli_text("do-args"))
    parser.add_argument("--yes", action="store_true", help=cli_text("do-yes"))


def run(options: argparse.Namespace) -> int:
    site = load_site(options.config)
    device = site.devices.get(options.device)
    if device is None and options.device != GATEWAY_DEVICE:
        raise unknown_name("device", options.device, (*site.devices, GATEWAY_DEVICE))
    # Commands about the centre as a whole, such as a drill, go to the device `gateway`.
    able = (
        available_actions({device.bus: site.buses[device.bus]}, {device.name: device})
        if device
        else service_actions()
    )
    if options.action is None:
        own = able - service_actions() if device else able
        if device and not own:
            print(cli_text("do-own-none", device=device.name))
        _print_actions(own, able)
        return 0
    if options.action not in able:
        raise unknown_name("action", options.action, sorted(able))
    action = words(preferred_language()).get(f"action.{options.action}", options.action)
    name = f"{device.title[preferred_language()]} ({device.name})" if device else cli_text("gateway")
    facts = {"device": name, "action": action}
    args = dict(_parse_argument(text) for text in options.args)
    _check_arguments(options.action, args)
    if not options.yes:
        if not sys.stdin.isatty():
            raise GatewayError("do-unasked")
        if input(cli_text("do-confirm", **facts)).strip().lower() not in ("y", "yes", "是"):
            print(cli_text("do-left"))
            return 1
    return asyncio.run(
        run_order(
            site.control.socket, options.device, options.action, args, facts=facts, by=getpass.getuser()
        )
    )


def _print_actions(own: Iterable[str], able: Iterable[str]) -> None:
    """The actions, those of the device itself first, with their arguments."""
    known = words(preferred_language())
    first = set(own)
    rows = [
        (action, known.get(f"action.{action}", action), known.get(f"argument.{action}", ""))
        for action in sorted(able, key=lambda action: (action not in first, action))
    ]
    print_table([cli_text(head) for head in ("do-action", "do-meaning", "do-args")], rows)


def _check_arguments(action: str, args: Iterable[str]) -> None:
    """Raises `GatewayError` for an argument that the action does not have, or needs and was not given."""
    form = words(preferred_language()).get(f"argument.{action}", "")
    optional = {name: bool(bracket) for bracket, name in re.findall(r"(\[?)(\w+)=", form)}
    if not optional:
        return
    for name in args:
        if name not in optional:
            raise unknown_name("argument", name, optional)
    missing = [name for name, may_lack in optional.items() if not may_lack and name not in args]
    if missing:
        raise GatewayError("argument-missing", names=", ".join(missing), form=form)


def _parse_argument(text: str) -> tuple[str, Any]:
    """Parse `name=value`: JSON values such as `lock=3` and `all=true`, anything else is text. Raises
    `GatewayError`."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise GatewayError("do-argument", argument=text)
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return name, value
    finite = not isinstance(parsed, float) or math.isfinite(parsed)
    return name, parsed if finite else value
