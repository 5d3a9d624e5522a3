"""What should be corrected in a site or a device model although the gateway would start with it.

The daemon does not ask for any of this: it must run, and raise alarms, with whatever it can use.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from gateway.model import (
    CONFIGURE,
    UPLINK_DEVICE,
    Checks,
    ConfigError,
    GatewayError,
    LinkDown,
    Point,
    Value,
)
from gateway.wire.broker import BrokerOptions, is_public
from gateway.wire.secret import read_secret
from gateway.wire.trust import trust_context
from gateway.words import words

from .capability import capabilities
from .dialect.rules import NATIVE
from .fields import Table, as_read, struct_from_table
from .options import BusSpec
from .profile import PROFILE_SCHEMA, Profile, load_profile, run_example
from .reading import Mistake, TomlReader, line_with
from .site import Site, files_of
from .site_file import SITE_SCHEMA, profile_folders

ANY_HOST = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
CREDENTIALS_FOLDER = Path("/run/credentials")
"""Of systemd; its files exist only while the service runs."""
CA_FILE_KEY = "ca_file"
"""The key of files that everybody may read."""
CERTIFICATE_KEYS = ("certificate_file", "private_key_file")
"""The keys of files that are checked as pairs."""


def inspect_site(
    file: Path, site: Site, errors: Iterable[tuple[tuple[str, ...], GatewayError]] = ()
) -> list[Mistake]:
    """Ports and files that are used twice, files of the site that are missing or open to others, what the
    capabilities find, and what `inspect_profile` finds in the site's own models that it uses. `errors` of
    the caller, each with its key, get their lines."""
    reader = TomlReader(file, site.sources[""])
    reader.parse_file(SITE_SCHEMA)
    ports = {
        ("metrics", "port"): f"{site.metrics.host}:{site.metrics.port}",
        ("dashboard", "port"): f"{site.dashboard.host}:{site.dashboard.port}",
        **{("bus", bus.name): port for bus in site.buses.values() if (port := _port_of(bus))},
    }
    for (first, first_port), (second, port) in itertools.combinations(ports.items(), 2):
        if _are_one_port(first_port, port):
            reader.add_mistake(second, "port-twice", port=port, other=".".join(first))
    _check_commands(site, reader)
    _check_encryption(site, reader)
    for capability in capabilities():
        capability.section.inspect(site, reader)
    for where, error in errors:
        reader.add_mistake(where, error.key, 0, **error.facts)
    files = dict.fromkeys(files_of(site))
    stores = [(key, path) for key, path, _ in files if not key.endswith("_file") and key != "model"]
    for key, path in stores:
        if os.path.isdir(path):
            reader.add_mistake((), "store-folder", line_with(reader.text, str(path)), key=key, file=path)
    read = [(key, path) for key, path, _ in files if key.endswith("_file")]
    for (first_key, first_path), (key, path) in (
        *itertools.combinations(stores, 2),
        *itertools.product(read, stores),
    ):
        if path.resolve() == first_path.resolve():
            line = line_with(reader.text, str(path), last=True)
            reader.add_mistake((), "file-twice", line, file=path, key=key, other=first_key)
    for key, path, least in files:
        if key.endswith("_file") and CREDENTIALS_FOLDER not in path.parents:
            try:
                _check_file(key, path, least)
            except LinkDown as error:
                reader.add_mistake((), error.key, line_with(reader.text, str(path)), **error.facts)
    _check_certificates(site, reader)
    own_folder, _ = profile_folders(file)
    models = [own_folder / f"{name}.toml" for name in site.sources if name]
    in_models = [
        mistake
        for model in models
        if model.is_file()
        for mistake in inspect_profile(model, load_profile(model))
    ]
    return reader.mistakes + in_models


def _check_commands(site: Site, reader: TomlReader) -> None:
    """Those that platforms may give and cannot."""
    for name, options in site.uplinks.items():
        file = site.dialects.get(options.dialect)
        for action in options.unsignable_commands(
            file.has_signatures if file else options.dialect == NATIVE
        ):
            table = ("uplink",) if name == UPLINK_DEVICE else ("uplink", name)
            key = "configure-unsigned" if action == CONFIGURE else "action-unsigned"
            reader.add_mistake((*table, "commands"), key, action=action)


def _check_encryption(site: Site, reader: TomlReader) -> None:
    """Brokers, platforms and devices to which a secret would go readable."""
    options: dict[tuple[str, ...], Any] = {("bus", bus.name): bus.options for bus in site.buses.values()}
    for name, uplink in site.uplinks.items():
        options[("uplink",) if name == UPLINK_DEVICE else ("uplink", name)] = uplink
    for table, each in options.items():
        if isinstance(each, BrokerOptions):
            urls = (each.url, *getattr(each, "fallback_urls", ()))
            found = [
                (at.exposure, at.host) for at in (msgspec.structs.replace(each, url=url) for url in urls)
            ]
        else:
            found = [_exposure_of_device(each)]
        for key, host in found:
            if key:
                reader.add_mistake((*table, "url"), key, host=host)


def _exposure_of_device(options: Any) -> tuple[str, str]:
    """As of a broker; few devices can be asked with TLS, so that only the internet is a mistake."""
    url = urlsplit(str(getattr(options, "url", "")))
    is_open = url.scheme in ("http", "rtsp") and getattr(options, "password_file", None) is not None
    host = url.hostname or ""
    return ("secret-public" if is_open and is_public(host) else "", host)


def _check_certificates(site: Site, reader: TomlReader) -> None:
    """Those by which the gateway logs in."""
    for options in (*site.uplinks.values(), *(bus.options for bus in site.buses.values())):
        if isinstance(options, BrokerOptions):
            try:
                trust_context(None, options.certificate_file, options.private_key_file)
            except LinkDown as error:
                line = line_with(reader.text, str(options.certificate_file))
                reader.add_mistake((), error.key, line, **error.facts)


def _port_of(bus: BusSpec) -> str | None:
    """What the bus needs for itself alone: the path of a port, a URL, or the address it listens on."""
    if bus.driver.occupies:
        return bus.driver.occupies(bus.options)
    scan = bus.driver.scan
    return scan.target_of(bus.options) if scan and not scan.shareable else None


def _are_one_port(first: str, second: str) -> bool:
    if first.startswith("/"):
        return second.startswith("/") and Path(first).resolve() == Path(second).resolve()
    (first_host, _, first_number), (host, _, number) = first.rpartition(":"), second.rpartition(":")
    hosts = {first_host.strip("[]"), host.strip("[]")}
    listens_everywhere = bool(hosts & {*ANY_HOST}) and not any("/" in host for host in hosts)
    return first_number == number and (first_host == host or listens_everywhere)


def _check_file(name: str, path: Path, least: int) -> None:
    if name == CA_FILE_KEY:
        trust_context(path)
    elif name not in CERTIFICATE_KEYS:
        read_secret(path, least)


class _ExampleKeys(msgspec.Struct, kw_only=True):
    """`[[examples]]` of a device model: the values of a raw reading (of several, the one with that number),
    and why others are left out."""

    raw: Any
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    reading: int = 1

    CHECKS: ClassVar[Checks] = {"reading": (lambda number: number > 0, "positive")}


def inspect_profile(file: Path, profile: Profile) -> list[Mistake]:
    """Examples that fail or say nothing, points that no example shows, and a file in the wrong folder."""
    reader = TomlReader(file, profile.text)
    reader.parse_file(PROFILE_SCHEMA)
    if file.parent.parent.name == "profiles" and file.parent.name != profile.kind:
        reader.add_mistake(("kind",), "profile-folder", kind=profile.kind, folder=file.parent.name)
    if not profile.examples:
        reader.add_mistake((), "examples-missing")
        return reader.mistakes
    shown: dict[str, set[Any]] = {}
    for number, example in enumerate(profile.examples, 1):
        _, mistakes = struct_from_table(_ExampleKeys, example)
        if mistakes:
            line, text = _example_lines(profile.text, number)
            for mistake in mistakes:
                at_line = line_with(text, mistake.path[0], line) if mistake.path else line
                reader.add_mistake(("examples", *mistake.path), mistake.key, at_line, **mistake.facts)
            continue
        _inspect_example(reader, profile, number, example)
        for point, value in example.get("values", {}).items():
            shown.setdefault(_stem(point), set()).add(value)
    for name, point in {_stem(name): point for name, point in profile.points.items()}.items():
        if name not in shown:
            reader.add_mistake(("points", name), "point-unshown", point=name)
        elif _is_switch(point) and not {True, False} <= shown[name]:
            reader.add_mistake(("points", name), "alarm-unshown", point=name)
    return reader.mistakes


def _inspect_example(reader: TomlReader, profile: Profile, number: int, example: Table) -> None:
    line, text = _example_lines(profile.text, number)
    named = {**example.get("values", {}), **example.get("bad", {})}
    if not example.get("values"):
        reader.add_mistake((), "example-empty", line, number=number)
    for point in named.keys() - profile.points.keys():
        known = ", ".join(profile.points)
        reader.add_mistake((), "point-unknown", line_with(text, point, line), point=point, known=known)
    try:
        expected, got = run_example(profile, example)
    except ConfigError as error:
        reader.add_mistake((), error.key, line, **error.facts)
        return
    for wanted, found in zip(expected, got, strict=True):
        for point in wanted.keys() & profile.points.keys():
            if found[point] != wanted[point]:
                key = "example-nothing" if found[point] is None else "example-differs"
                values = {"wanted": as_read(wanted[point])["read"], "got": as_read(found[point])["read"]}
                at_line = line_with(text, point, line)
                reader.add_mistake((), key, at_line, number=number, point=point, **values)


def untitled_points(profile: Profile) -> list[str]:
    """Points whose names the dashboard cannot translate: it shows them as they are."""
    stems = dict.fromkeys(_stem(name) for name in profile.points)
    return [name for name in stems if f"point.{name}" not in words("en")]


def _stem(point: str) -> str:
    """The name in the file, where `name.1`, `name.2` … are the copies of one point."""
    return point.partition(".")[0]


def _is_switch(point: Point) -> bool:
    return point.alarm is not None and point.alarm.above is None and point.alarm.below is None


def _example_lines(text: str, number: int) -> tuple[int, str]:
    """The line in which an example begins, and the text up to its end: empty above it, so that lines can be
    counted in it."""
    lines = text.split("\n")
    begins = [n for n, line in enumerate(lines) if re.match(r"\s*\[\[\s*examples\s*\]\]", line)]
    if number > len(begins):
        return 1, text
    begin, end = [*begins, len(lines)][number - 1 : number + 1]
    return begin + 1, "\n".join(["" for _ in lines[:begin]] + lines[begin:end])
