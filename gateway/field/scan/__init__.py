"""`linli scan`: the devices on a serial line, a network, a broker or the radio, as tables to copy into the
site's file.

Progress goes to standard error; what was found goes to standard output, at the end or when the scan is
interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from gateway.base.clock import SystemClock
from gateway.config import ControlOptions, Site, load_profiles, load_site
from gateway.model import Driver, GatewayError
from gateway.words import preferred_language, translate

from .scanner import Scanner, ScanOptions, ScanReport
from .tables import FoundDevice, describe, site_tables

__all__ = ["add_arguments", "run"]

MAX_NUMBER, MAX_SECONDS = 255, 3600
BROKER_URL_PREFIXES = ("mqtt://", "mqtts://")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of a scan."""

    def word(key: str) -> str:
        return translate(preferred_language(), f"scan.help-{key}")

    parser.add_argument("what", choices=("serial", "tcp", "ble", "mqtt"), help=word("what"))
    parser.add_argument("target", nargs="*", help=word("target"))
    parser.add_argument("--units", type=_parse_numbers, metavar="1-32", help=word("units"))
    parser.add_argument("--baud", type=int, help=word("baud"))
    parser.add_argument("--parity", choices=("N", "E", "O"), help=word("baud"))
    parser.add_argument("--seconds", type=_parse_seconds, help=word("seconds"))
    parser.add_argument("--timeout", type=_parse_seconds, help=word("timeout"))
    parser.add_argument("--username", help=word("username"))
    parser.add_argument("--password-file", type=Path, help=word("username"))
    parser.add_argument("--json", action="store_true", help=word("json"))


def run(arguments: argparse.Namespace, drivers: Mapping[str, Driver]) -> int:
    """Scan, and print what was found, even when that is interrupted. Returns the exit code: 1 if a target
    could not be opened. Raises `GatewayError`."""
    targets = _check_targets(arguments.what, arguments.target)
    site = load_site(arguments.config) if arguments.config.exists() else None
    keys = {"baud", "parity", "username", "password_file"}
    options = ScanOptions(
        numbers=arguments.units,
        bus_keys={key: value for key in sorted(keys) if (value := getattr(arguments, key)) is not None},
        listen_s=arguments.seconds,
        timeout_s=arguments.timeout,
    )
    report = ScanPrinter(preferred_language(), bar=sys.stderr.isatty())
    scanner = Scanner(
        site=site,
        models=load_profiles(arguments.config),
        drivers=drivers,
        report=report,
        clock=SystemClock(),
        options=options,
        control_socket=(site.control if site else ControlOptions()).socket,
    )
    try:
        asyncio.run(_run_scan(scanner, arguments.what, targets))
    finally:
        report.end_line()
        print(report.as_json(site) if arguments.json else report.as_tables(site))
    return 1 if scanner.skipped else 0


async def _run_scan(scanner: Scanner, medium: str, targets: list[str]) -> None:
    if medium == "serial":
        await scanner.scan_ports(targets)
    elif medium == "tcp":
        await scanner.scan_hosts(targets)
    else:
        for target in targets:
            await scanner.scan_by_listening(target)


def _check_targets(medium: str, targets: list[str]) -> list[str]:
    """Raises `GatewayError` where a target is missing, or none of its kind."""
    if medium == "ble":
        return [f"ble:{adapter.removeprefix('ble:')}" for adapter in targets or [""]]
    wrong = [
        target for target in targets if medium == "mqtt" and not target.startswith(BROKER_URL_PREFIXES)
    ]
    if medium == "serial":
        targets = [str(Path(target).absolute()) if Path(target).exists() else target for target in targets]
        wrong += [target for target in targets if not target.startswith("/")]
    if wrong or (not targets and medium != "serial"):
        raise GatewayError(f"scan-target-{medium}", target=", ".join(wrong) or "–")
    return targets


class ScanPrinter(ScanReport):
    """Says on standard error how it goes, and remembers who was device."""

    def __init__(self, language: str, *, bar: bool) -> None:
        self._language = language
        self._bar = bar
        self._bar_shown = False
        self.found: list[FoundDevice] = []

    def announce(self, key: str, /, **facts: object) -> None:
        self.end_line()
        print(translate(self._language, key, **facts), file=sys.stderr, flush=True)

    def progress(self, place: str, done: int, total: int) -> None:
        if self._bar:
            print(f"\r{place}: {done}/{total} ", end="", file=sys.stderr, flush=True)
            self._bar_shown = True

    def add_device(self, device: FoundDevice) -> None:
        self.found.append(device)
        self.end_line()
        print(f"+ {describe(device, self._language)}", file=sys.stderr, flush=True)

    def end_line(self) -> None:
        """End the line of the progress bar, if there is one."""
        if self._bar_shown:
            print(file=sys.stderr)
            self._bar_shown = False

    def as_tables(self, site: Site | None) -> str:
        return site_tables(self.found, _configured_names(site), self._language)

    def as_json(self, site: Site | None) -> str:
        found = [
            {
                "driver": device.driver,
                "place": device.target,
                "line": device.bus_table,
                "bus": device.bus,
                "address": device.address,
                "says": device.identity,
                "needs": device.keys_to_fill_in,
                "configured": device.configured_as,
                "fits": [{"profile": match.profile, "values": match.values} for match in device.matches],
                "heard": device.received,
            }
            for device in self.found
        ]
        whole = {"found": found, "config": self.as_tables(site)}
        return json.dumps(whole, indent=2, ensure_ascii=False, default=str)


def _configured_names(site: Site | None) -> set[str]:
    return {*site.buses, *site.devices} if site else set()


def _parse_numbers(text: str) -> frozenset[int]:
    """`1-16,32`: numbers and ranges."""
    found: set[int] = set()
    for part in text.split(","):
        numbers = re.fullmatch(r"\s*([0-9]{1,3})(?:\s*-\s*([0-9]{1,3}))?\s*", part)
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (1, 0)
        if not first <= last <= MAX_NUMBER:
            raise argparse.ArgumentTypeError(translate(preferred_language(), "scan.units-form", read=text))
        found.update(range(first, last + 1))
    return frozenset(found)


def _parse_seconds(text: str) -> float:
    seconds = float(text) if re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", text) else 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(translate(preferred_language(), "scan.seconds-form", read=text))
    return seconds
