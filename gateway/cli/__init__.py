"""The program `linli`: one file for each command, imported only when that command is called."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from gateway import __version__
from gateway.config.capability import CORE_OWNER, capabilities, check_unique, load_declared
from gateway.model import ConfigError, GatewayError, cause_of
from gateway.terminal.parser import COMMANDS, Parser
from gateway.terminal.printing import cli_text, error_sentence
from gateway.words import LANGUAGES, preferred_language, translate

EX_CONFIG = 78
"""sysexits.h: a configuration file is wrong; the systemd units do not restart on it."""
CORE_COMMANDS = (
    "run", "check", "reload", "config", "dashboard", "read", "do", "doctor", "journal", "ledger",
    "asyncapi", "dialect", "receive", "scan", "simulate",
)  # fmt: skip


def commands() -> dict[str, str]:
    """Each command and its module, which has `add_arguments(parser)` and `run(options)`; the latter may
    return an exit code."""
    own = [(each.name, name, module) for each in capabilities() for name, module in each.commands.items()]
    check_unique(
        "Capability.commands",
        (*((CORE_OWNER, name) for name in CORE_COMMANDS), *((owner, name) for owner, name, _ in own)),
    )
    return {name: f"{__package__}.{name}" for name in CORE_COMMANDS} | {name: path for _, name, path in own}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _check_language()
        options = _parser(next((each for each in arguments if not each.startswith("-")), "")).parse_args(
            arguments
        )
        code = int(options.run(options) or 0)
        if sys.stdout is not None:  # The parent process may have closed it.
            sys.stdout.flush()
        return code
    except ConfigError as error:
        for mistake in getattr(error, "mistakes", ()):
            print(mistake.text(preferred_language()), file=sys.stderr)
        print(error_sentence(error), file=sys.stderr)
        return EX_CONFIG
    except GatewayError as error:
        print(error_sentence(error), file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (`| head`) has ended. Redirect stdout, so that Python's flush at exit does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(translate(preferred_language(), "error.system", reason=cause_of(error)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _check_language() -> None:
    """A language that does not exist is told, not ignored."""
    wanted = os.environ.get("LINLI_LANG", "")
    if wanted and not wanted.startswith(LANGUAGES):
        print(error_sentence(GatewayError("language-env", wanted=wanted)), file=sys.stderr)


def _parser(chosen: str) -> argparse.ArgumentParser:
    """A parser with the names of all commands, and the options of the chosen one."""
    parser = Parser("linli", description=cli_text("about"))
    parser.add_argument(
        "--version", action="version", version=f"linli {__version__}", help=cli_text("version-help")
    )
    subparsers = parser.add_subparsers(required=True, metavar=COMMANDS)
    for name, path in commands().items():
        command = subparsers.add_parser(name, help=cli_text(name), description=cli_text(name))
        if name == chosen:
            add_arguments, run = load_command(name, path)
            add_arguments(command)
            command.set_defaults(run=run)
    return parser


def load_command(name: str, module: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`add_arguments` and `run` of a command. Raises `ConfigError` if its capability is wrong."""
    owner = next((each.name for each in capabilities() if name in each.commands), CORE_OWNER)
    add_arguments: Any = load_declared(owner, module, "add_arguments", Callable)  # type: ignore[arg-type]
    run: Any = load_declared(owner, module, "run", Callable)  # type: ignore[arg-type]
    return add_arguments, run
