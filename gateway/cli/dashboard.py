"""`linli dashboard`: serves the dashboard, changes who may log in to it, or ends sessions."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from gateway import dashboard
from gateway.base import log
from gateway.base.files import close_to_others
from gateway.config import Site, load_site
from gateway.model import GatewayError, Role
from gateway.terminal.printing import cli_text, print_table
from gateway.terminal.site import add_site_argument, load_running_site
from gateway.web.access import Access, read_key
from gateway.web.browsers import browser_in_words
from gateway.web.certificates import LocalAuthority
from gateway.web.pages import label
from gateway.web.passwords import hash_password
from gateway.web.people import (
    MAX_NAME_CHARACTERS,
    MAX_PEOPLE,
    People,
    Person,
    check_new_password,
    is_valid_name,
    normalized_name,
    people_file,
    read_people,
    write_people,
)
from gateway.web.pins import check_new_pin
from gateway.web.sessions import OpenSession, append_ended, ended_file
from gateway.words import preferred_language

LIST, ADD, PASSWORD, PIN, ROLE, REMOVE, SESSIONS, CERTIFICATE = ACTS = (
    "people",
    "add",
    "password",
    "pin",
    "role",
    "remove",
    "sessions",
    "certificate",
)
REVOKE = "revoke"
SHOWN_ID_CHARACTERS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("act", nargs="?", choices=ACTS, help=cli_text("people-act"))
    parser.add_argument("name", nargs="*", help=cli_text("people-name"))
    parser.add_argument("--gallery", action="store_true", help=cli_text("gallery-option"))
    parser.add_argument("--role", choices=[str(role) for role in Role], help=cli_text("people-role"))


def run(options: argparse.Namespace) -> None:
    if options.gallery:
        dashboard.serve_gallery()
        return
    close_to_others()
    if options.act == SESSIONS:
        _show_or_end_sessions(load_site(options.config), options.name)
        return
    if options.act == CERTIFICATE:
        authority = LocalAuthority(load_site(options.config).dashboard.access)
        print(cli_text("certificate-fingerprint", fingerprint=authority.fingerprint()))
        return
    if options.act:
        _change_people(people_file(load_site(options.config).dashboard.access), options)
        return
    site = load_running_site(options)
    log.setup_logging(site.centre.language)
    asyncio.run(dashboard.run(dashboard.settings_of(site, options.config)))


def _change_people(file: Path, options: argparse.Namespace) -> None:
    """Raises `ConfigError`, and `GatewayError` if nothing was changed."""
    people = read_people(file)
    if options.act == LIST:
        _print_people(people)
        return
    if not options.name:
        raise GatewayError("person-missing", act=options.act)
    name = normalized_name(" ".join(options.name))
    if options.act != ADD and name not in people:
        raise GatewayError("person-unknown", name=name, known=", ".join(people) or "—")
    role = Role(options.role) if options.role else None
    if options.act in (ADD, ROLE) and role is None:
        raise GatewayError("role-missing", known=", ".join(Role))
    if options.act == ADD:
        assert role
        changed = {**people, name: _new_person(people, name, role)}
        outcome = "people-added"
    elif options.act == REMOVE:
        changed = {each: person for each, person in people.items() if each != name}
        outcome = "people-removed"
    else:
        new = (
            {"role": role}
            if options.act == ROLE
            else {"password": hash_password(_ask_for_secret("people-password", check_new_password))}
            if options.act == PASSWORD
            else {"pin": hash_password(_ask_for_secret("people-pin", check_new_pin))}
        )
        changed = {**people, name: msgspec.structs.replace(people[name], **new)}
        outcome = f"people-{options.act}-set"
    try:
        write_people(file, changed)
    except OSError as error:
        raise GatewayError("people-unsaved", file=file, reason=error) from error
    shown = label(preferred_language(), "role", (changed.get(name) or people[name]).role)
    print(cli_text(outcome, name=name, role=shown))


def _new_person(people: People, name: str, role: Role) -> Person:
    if name in people:
        raise GatewayError("person-known", name=name)
    if not is_valid_name(name):
        raise GatewayError("person-name", most=MAX_NAME_CHARACTERS)
    if len(people) >= MAX_PEOPLE:
        raise GatewayError("people-many", most=MAX_PEOPLE)
    return Person(role, hash_password(_ask_for_secret("people-password", check_new_password)))


def _ask_for_secret(prompt: str, check: Callable[[str], None]) -> str:
    """From the terminal, twice and without echo; else the first line of the input. Raises `ConfigError` and
    `GatewayError`."""
    if not sys.stdin.isatty():
        secret = sys.stdin.readline().rstrip("\r\n")
        check(secret)
        return secret
    secret = getpass.getpass(cli_text(prompt))
    check(secret)
    if getpass.getpass(cli_text("people-again")) != secret:
        raise GatewayError("password-differs")
    return secret


def _print_people(people: People) -> None:
    if not people:
        print(cli_text("people-none"))
        return
    lang = preferred_language()
    rows = [(name, label(lang, "role", person.role)) for name, person in people.items()]
    print_table([cli_text("people-name"), cli_text("people-role-head")], rows)


def _show_or_end_sessions(site: Site, words: Sequence[str]) -> None:
    """`sessions`, or `sessions revoke` with the start of an id, or with a name. Raises `ConfigError` and
    `GatewayError`."""
    key_file = site.dashboard.access
    sessions = Access(read_key(key_file), key_file).open_sessions() if key_file.exists() else []
    if not words:
        _print_sessions(site, sessions)
        return
    act, name = words[0], normalized_name(" ".join(words[1:]))
    ids = [each.id for each in sessions if each.person == name or (name and each.id.startswith(name))]
    if act != REVOKE or not ids:
        raise GatewayError("session-unknown", name=name or act)
    try:
        append_ended(key_file, ids)
    except OSError as error:
        raise GatewayError("sessions-unended", file=ended_file(key_file), reason=error) from error
    print(cli_text("sessions-ended", count=len(ids)))


def _print_sessions(site: Site, sessions: Sequence[OpenSession]) -> None:
    if not sessions:
        print(cli_text("sessions-none"))
        return
    lang, zone = preferred_language(), ZoneInfo(site.centre.timezone)

    def time(at_ms: int) -> str:
        return f"{datetime.fromtimestamp(at_ms / 1000, zone):%Y-%m-%d %H:%M}"

    heads = ("session-id", "people-name", "people-role-head", "session-began", "session-used",
             "session-address", "session-browser")  # fmt: skip
    rows = [
        (
            each.id[:SHOWN_ID_CHARACTERS],
            each.person,
            label(lang, "role", each.role),
            time(each.began_ms),
            time(each.used_ms),
            each.address,
            browser_in_words(lang, each.agent),
        )
        for each in sessions
    ]
    print_table([cli_text(head) for head in heads], rows)
