"""`linli do`: sends a command to the running gateway, once, and prints the outcome."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import sys
import time
import uuid
from typing import Any

from gateway.base import control
from gateway.config import Site, available_actions, load_site, service_actions
from gateway.model import GATEWAY_DEVICE, GatewayError
from gateway.terminal.printing import cli_text
from gateway.terminal.site import add_site_argument
from gateway.words import error_summary, preferred_language, words

EXPIRES_AFTER_MS = 15_000
"""A command that has not started within this time expires."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("device")
    parser.add_argument("action")
    parser.add_argument("args", nargs="*", metavar=cli_text("do-args"))
    parser.add_argument("--yes", action="store_true", help=cli_text("do-yes"))


def run(options: argparse.Namespace) -> int:
    site = load_site(options.config)
    device = site.devices.get(options.device)
    if device is None and options.device != GATEWAY_DEVICE:
        known = ", ".join((*site.devices, GATEWAY_DEVICE))
        raise GatewayError("device-unknown", device=options.device, known=known)
    # Commands about the centre as a whole, such as a drill, go to the device `gateway`.
    able = (
        available_actions({device.bus: site.buses[device.bus]}, {device.name: device})
        if device
        else service_actions()
    )
    if options.action not in able:
        raise GatewayError("action-nobody", action=options.action, known=", ".join(sorted(able)))
    action = words(preferred_language()).get(f"action.{options.action}", options.action)
    name = f"{device.title[preferred_language()]} ({device.name})" if device else cli_text("gateway")
    facts = {"device": name, "action": action}
    args = dict(_parse_argument(text) for text in options.args)
    if not options.yes:
        if not sys.stdin.isatty():
            raise GatewayError("do-unasked")
        if input(cli_text("do-confirm", **facts)).strip().lower() not in ("y", "yes", "是"):
            print(cli_text("do-left"))
            return 1
    status, why = asyncio.run(_run_command(site, options.device, options.action, args, facts))
    print(cli_text(f"do-{status}", reason=why, **facts))
    return 0 if status == "done" else 1


def _parse_argument(text: str) -> tuple[str, Any]:
    """Parse `name=value`: JSON values such as `lock=3` and `all=true`, anything else is text. Raises
    `GatewayError`."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise GatewayError("do-argument", argument=text)
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


async def _run_command(
    site: Site, device: str, action: str, args: dict[str, Any], facts: dict[str, str]
) -> tuple[str, str]:
    """Its status and the reason. A slow command is queried by its id until it has ended."""
    request = {
        "id": uuid.uuid4().hex,
        "device": device,
        "action": action,
        "args": args,
        "by": getpass.getuser(),
        "origin": "console",
        "expires": round(time.time() * 1000) + EXPIRES_AFTER_MS,
    }
    waiting = False
    while True:
        answer = await control.call_daemon(site.control.socket, "command", **request)
        if answer["status"] != "accepted":
            return answer["status"], error_summary(preferred_language(), answer["detail"])
        if not waiting:
            waiting = True
            print(cli_text("do-accepted", **facts), flush=True)
        await asyncio.sleep(2)
