"""`linli reload`: makes the running gateway adopt its site file, and waits for the end of the trial."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from gateway.base import control
from gateway.config import Mistake, Mistakes, load_site
from gateway.config.adoption import load_adopted, load_sources
from gateway.model import GatewayError
from gateway.terminal.printing import cli_text
from gateway.terminal.site import add_site_argument
from gateway.words import preferred_language, translate

from . import EX_CONFIG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("--no-wait", action="store_true", help=cli_text("no-wait"))
    parser.add_argument("--no-return", action="store_true", help=cli_text("no-return"))


def run(options: argparse.Namespace) -> int:
    """Calls the socket of the running configuration, even if the new file names another one."""
    try:
        site = load_site(options.config)
        kept = load_adopted(options.config, site.journal.path)
        running = (kept and load_sources(options.config, kept.sources)) or site
        asyncio.run(_ask_to_reload(running.control.socket, options))
    except Mistakes as wrong:
        for mistake in wrong.mistakes:
            print(mistake.text(preferred_language()), file=sys.stderr)
        print(translate(preferred_language(), "error.reload-refused", **wrong.facts), file=sys.stderr)
        return EX_CONFIG
    return 0


async def _ask_to_reload(socket: Path, options: argparse.Namespace) -> None:
    answer = await control.call_daemon(socket, "reload", returning=not options.no_return)
    if "mistakes" in answer:
        raise Mistakes([Mistake(**{**each, "file": Path(each["file"])}) for each in answer["mistakes"]])
    number = answer["revision"]
    print(cli_text("reloaded" if answer["adopted"] else "unchanged", revision=number))
    for line in changes_of(answer["changes"]):
        print(f"  {line}")
    if not answer["trial"]:
        return
    print(cli_text("on-trial", seconds=answer["trial"]), flush=True)
    if options.no_wait:
        return
    while (verdict := await control.call_daemon(socket, "verdict"))["pending"]:
        pass
    if verdict["revision"] != number:
        silent = ", ".join(verdict["silent"])
        raise GatewayError("reload-returned", revision=verdict["revision"], silent=silent)
    if verdict["unproved"]:
        print(cli_text("unproved", revision=number, names=", ".join(verdict["unproved"])))
    else:
        print(cli_text("proved", revision=number))


def changes_of(changes: dict[str, dict[str, list[str]]]) -> list[str]:
    """What a revision changed, one sentence each."""
    return [
        cli_text(f"{kind}-{how}", names=", ".join(names))
        for kind, found in changes.items()
        for how, names in found.items()
    ]
