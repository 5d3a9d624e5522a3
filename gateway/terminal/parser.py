"""The command line in the user's language: `argparse` speaks English alone."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from gateway.model import GatewayError

from .names import nearest_name, unknown_name
from .printing import cli_text, error_sentence

COMMANDS = "…"
"""What stands for the commands in the help of `linli`."""
_ERRORS: tuple[tuple[str, str], ...] = (
    (r"the following arguments are required: (?P<names>.+)", "usage-missing"),
    (r"argument (?P<names>.+?): expected (one|at least one) argument", "usage-value-missing"),
    (r"argument (?P<names>.+?): invalid int value: (?P<value>.+)", "usage-integer"),
    (r"argument (?P<names>.+?): invalid float value: (?P<value>.+)", "usage-number"),
    (r"argument (?P<names>.+?): invalid \w+ value: (?P<value>.+)", "usage-value"),
    (r"argument (?P<names>.+?): invalid choice: '(?P<value>.*?)' \(choose from (?P<known>.+)\)", "choice"),
    (r"ambiguous option: (?P<value>\S+) could match (?P<known>.+)", "usage-ambiguous"),
    (r"argument (?P<names>.+?): ignored explicit argument (?P<value>.+)", "usage-no-value"),
)
"""What `argparse` says, and the key of our sentence, `error.{key}`."""


class Parser(argparse.ArgumentParser):
    """A parser whose help and errors are in the user's language, and whose options may stand anywhere."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{**more, "add_help": False, "formatter_class": _HelpFormatter})
        self._positionals.title = cli_text("usage-arguments")
        self._optionals.title = cli_text("usage-options")
        self.add_argument("-h", "--help", action="help", help=cli_text("usage-help"))

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        arguments = sys.argv[1:] if args is None else list(args)
        if self._subparsers is None:
            arguments = self._options_first(arguments)
        parsed, unknown = super().parse_known_args(arguments, namespace)
        if unknown:
            self._reject(unknown[0])
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        for pattern, key in _ERRORS:
            if found := re.fullmatch(pattern, message):
                self._fail(_usage_error(key, found.groupdict()))
        # What a command has found itself is in our words already.
        self._fail(GatewayError("usage", reason=message.removeprefix("argument ")))

    def _options_first(self, arguments: Iterable[str]) -> list[str]:
        """Options before names: `argparse` gives up on names that follow an option."""
        options: list[str] = []
        names: list[str] = []
        following = iter(arguments)
        for each in following:
            if each == "--":
                names += [each, *following]
            elif not each.startswith("-") or len(each) == 1 or re.fullmatch(r"-[\d.]+", each):
                names.append(each)
            else:
                options.append(each)
                known = self._option_string_actions.get(each)
                if known is not None and known.nargs is None and known.option_strings:
                    options += [value for value in (next(following, None),) if value is not None]
        return [*options, *names]

    def _reject(self, typed: str) -> NoReturn:
        near = nearest_name(typed, self._option_string_actions) if typed.startswith("-") else ""
        key = "usage-option-misspelt" if near else "usage-unknown"
        self._fail(GatewayError(key, value=typed, **({"near": near} if near else {})))

    def _fail(self, error: GatewayError) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{error_sentence(error)}\n")


def _usage_error(key: str, facts: dict[str, str]) -> GatewayError:
    if key == "choice":
        kind = "command" if facts["names"] == COMMANDS else key
        return unknown_name(kind, facts["value"], facts["known"].replace("'", "").split(", "))
    is_command = key == "usage-missing" and facts["names"] == COMMANDS
    return GatewayError("usage-command") if is_command else GatewayError(key, **facts)


class _HelpFormatter(argparse.HelpFormatter):
    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, cli_text("usage") if prefix is None else prefix)
