"""`linli scan`: who is on a line, a network, a broker or the air, as tables to paste into the site's file.

How it goes is told on standard error as it goes; what was found, at the end or when it is interrupted, on
standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from gateway.base.clock import SystemClock
from gateway.config import ControlOptions, Site, load_profiles, load_site
from gateway.model import Driver, GatewayError
from gateway.words import preferred, translate

from .paste import Met, describe, paste
from .scanner import Report, Scanner, Wishes

__all__ = ["add_arguments", "run"]

BROKERS = ("mqtt://", "mqtts://")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of a scan."""

    def word(key: str) -> str:
        return translate(preferred(), f"scan.help-{key}")

    parser.add_argument("what", choices=("serial", "tcp", "ble", "mqtt"), help=word("what"))
    parser.add_argument("target", nargs="*", help=word("target"))
    parser.add_argument("--units", type=_numbers, metavar="1-32", help=word("units"))
    parser.add_argument("--baud", type=int, help=word("baud"))
    parser.add_argument("--parity", choices=("N", "E", "O"), help=word("baud"))
    parser.add_argument("--seconds", type=_seconds, help=word("seconds"))
    parser.add_argument("--timeout", type=_seconds, help=word("timeout"))
    parser.add_argument("--username", help=word("username"))
    parser.add_argument("--password-file", type=Path, help=word("username"))
    parser.add_argument("--json", action="store_true", help=word("json"))


def run(options: argparse.Namespace, drivers: Mapping[str, Driver]) -> None:
    """Scan, and print what was found, even when that is interrupted. Raises `GatewayError`."""
    targets = _targets(options.what, options.target)
    site = load_site(options.config) if options.config.exists() else None
    keys = {"baud", "parity", "username", "password_file"}
    wishes = Wishes(
        numbers=options.units,
        line={key: value for key in sorted(keys) if (value := getattr(options, key)) is not None},
        seconds=options.seconds,
        timeout=options.timeout,
    )
    report = Printer(preferred(), bar=sys.stderr.isatty())
    scanner = Scanner(
        site=site,
        models=load_profiles(options.config),
        drivers=drivers,
        report=report,
        clock=SystemClock(),
        wishes=wishes,
        control_socket=(site.control if site else ControlOptions()).socket,
    )
    try:
        asyncio.run(_scan(scanner, options.what, targets))
    finally:
        report.end()
        print(report.as_json(site) if options.json else report.as_tables(site))


async def _scan(scanner: Scanner, what: str, targets: list[str]) -> None:
    if what == "serial":
        await scanner.serial(targets)
    elif what == "tcp":
        await scanner.tcp(targets)
    else:
        for target in targets:
            await scanner.listen(target)


def _targets(what: str, given: list[str]) -> list[str]:
    """Raises `GatewayError` where a target is missing, or none of its kind."""
    if what == "ble":
        return [f"ble:{adapter.removeprefix('ble:')}" for adapter in given or [""]]
    wrong = [target for target in given if what == "mqtt" and not target.startswith(BROKERS)]
    if what == "serial":
        given = [str(Path(target).absolute()) if Path(target).exists() else target for target in given]
        wrong += [target for target in given if not target.startswith("/")]
    if wrong or (not given and what != "serial"):
        raise GatewayError(f"scan-target-{what}", target=", ".join(wrong) or "–")
    return given


class Printer(Report):
    """Says on standard error how it goes, and remembers who was met."""

    def __init__(self, language: str, *, bar: bool) -> None:
        self._language = language
        self._bar = bar
        self._open = False
        self.met: list[Met] = []

    def tell(self, key: str, /, **facts: object) -> None:
        self.end()
        print(translate(self._language, key, **facts), file=sys.stderr, flush=True)

    def progress(self, place: str, done: int, total: int) -> None:
        if self._bar:
            print(f"\r{place}: {done}/{total} ", end="", file=sys.stderr, flush=True)
            self._open = True

    def meet(self, met: Met) -> None:
        self.met.append(met)
        self.end()
        print(f"+ {describe(met, self._language)}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Begin a new line if one is open."""
        if self._open:
            print(file=sys.stderr)
            self._open = False

    def as_tables(self, site: Site | None) -> str:
        return paste(self.met, _taken(site), self._language)

    def as_json(self, site: Site | None) -> str:
        found = [
            {
                "driver": met.driver,
                "place": met.place,
                "line": met.line,
                "bus": met.bus,
                "address": met.address,
                "says": met.says,
                "needs": met.needs,
                "configured": met.device,
                "fits": [{"profile": fit.profile, "values": fit.values} for fit in met.fits],
                "heard": met.heard,
            }
            for met in self.met
        ]
        whole = {"found": found, "config": self.as_tables(site)}
        return json.dumps(whole, indent=2, ensure_ascii=False, default=str)


def _taken(site: Site | None) -> set[str]:
    return {*site.buses, *site.devices} if site else set()


def _numbers(text: str) -> frozenset[int]:
    """`1-16,32`: numbers and ranges."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), min(int(last or first), 255) + 1))
    return frozenset(found)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise ValueError(text)
    return seconds
