"""`linli check`: checks site files, device models and dialects with their examples, and documents of
capabilities."""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import asdict

from gateway.config import (
    Mistakes,
    Site,
    inspect_profile,
    load_profile,
    load_site,
    untitled_points,
)
from gateway.config.capability import capabilities
from gateway.config.dialect.file import load_dialect
from gateway.config.site_file import search_folders
from gateway.config.toml_text import TomlError, read_text
from gateway.daemon.calls import check_jobs
from gateway.daemon.site_check import site_mistakes
from gateway.dashboard.parts import page_parts
from gateway.terminal.printing import cli_text
from gateway.terminal.site import DEFAULT_SITE
from gateway.web.certificates import serving_findings
from gateway.words import preferred_language, translate

from . import EX_CONFIG, commands, load_command
from .dialect import print_checked

STABLE_NAME_FOLDERS = (Path("/dev/serial/by-id"), Path("/dev/v4l/by-id"), Path("/dev/linli"))
"""Folders with stable names of serial ports and cameras, by device or by USB socket."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("files", nargs="*", type=Path, default=[DEFAULT_SITE])


def run(options: argparse.Namespace) -> int:
    worst = 0
    _check_capabilities()
    documents = {name: check for each in capabilities() for name, check in each.section.documents.items()}
    for file in options.files:
        try:
            schema = _schema_of(file)
            if schema == "profile":
                _check_profile(file)
            elif schema == "dialect":
                print_checked(load_dialect(file, search_folders(file.parent, "dialects")))
            elif schema in documents:
                print(documents[schema](file))
            else:
                _check_site(file)
        except Mistakes as wrong:
            for mistake in wrong.mistakes:
                print(mistake.text(preferred_language()), file=sys.stderr)
            worst = EX_CONFIG
    return worst


def _check_profile(file: Path) -> None:
    profile = load_profile(file)
    if mistakes := inspect_profile(file, profile):
        raise Mistakes(mistakes)
    if untitled := untitled_points(profile):
        print(cli_text("point-untitled", file=file, points=", ".join(untitled)), file=sys.stderr)
    counts = {"points": len(profile.points), "examples": len(profile.examples)}
    print(cli_text("well-profile", file=file, **counts))


def _check_site(file: Path) -> None:
    site = load_site(file)
    if mistakes := site_mistakes(file, site):
        raise Mistakes(mistakes)
    print(cli_text("well", file=file, buses=len(site.buses), devices=len(site.devices)))
    for bus, port, names in _ports_with_passing_names(site):
        facts = {"file": file, "bus": bus, "port": port, "names": ", ".join(names)}
        print(cli_text("port-passing", **facts), file=sys.stderr)
    for key, facts in serving_findings(site.dashboard, datetime.datetime.now(datetime.UTC)):
        print(translate(preferred_language(), f"doctor.{key}", **facts), file=sys.stderr)


def _check_capabilities() -> None:
    """What only the daemon, the dashboard or a command would find out. Raises `ConfigError`."""
    for name, module in commands().items():
        load_command(name, module)
    check_jobs()
    page_parts()


def _ports_with_passing_names(site: Site) -> Iterator[tuple[str, str, list[str]]]:
    """Buses whose port has a number that can change: bus, port, and the stable names of that port."""
    names: dict[str, list[str]] = {}
    for link in (link for folder in STABLE_NAME_FOLDERS for link in sorted(folder.glob("*"))):
        names.setdefault(str(link.resolve()), []).append(str(link))
    for bus in site.buses.values():
        scan = bus.driver.scan
        targets = [
            *map(str, asdict(bus.options).values()),
            *([scan.target_of(bus.options)] if scan else []),
        ]
        for port in dict.fromkeys(targets):
            if port in names:
                yield bus.name, port, names[port]


def _schema_of(file: Path) -> str:
    """The schema that the file names, and which is wrong if it has the tables of another: `site`,
    `profile`, `dialect`, or that of a document; "" if none."""
    try:
        text = read_text(file)
    except TomlError:
        return ""
    for schema, table in (("site", "site"), ("profile", "points")):
        if re.search(rf"^\s*\[{table}[].]", text, re.MULTILINE):
            return schema
    found = re.search(r"^\s*schema\s*=\s*[\"']linli/(\w+)/", text, re.MULTILINE)
    return found[1] if found else ""
