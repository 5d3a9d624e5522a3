"""`linli dashboard`: serves the dashboard, or changes who may log in to it."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from pathlib import Path

import msgspec

from gateway import dashboard
from gateway.base import log
from gateway.base.files import close_to_others
from gateway.config import load_site
from gateway.model import GatewayError
from gateway.terminal.printing import cli_text, print_table
from gateway.terminal.site import add_site_argument, load_running_site
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
from gateway.web.roles import Role
from gateway.words import preferred_language

LIST, ADD, PASSWORD, ROLE, REMOVE = ACTS = ("people", "add", "password", "role", "remove")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("act", nargs="?", choices=ACTS, help=cli_text("people-act"))
    parser.add_argument("name", nargs="?", help=cli_text("people-name"))
    parser.add_argument("--role", choices=[str(role) for role in Role], help=cli_text("people-role"))


def run(options: argparse.Namespace) -> None:
    close_to_others()
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
    if options.name is None:
        raise GatewayError("person-missing", act=options.act)
    name = normalized_name(options.name)
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
        assert role or options.act == PASSWORD
        new = {"role": role} if options.act == ROLE else {"password": hash_password(_ask_for_password())}
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
    return Person(role, hash_password(_ask_for_password()))


def _ask_for_password() -> str:
    """From the terminal, twice and without echo; else the first line of the input. Raises `ConfigError` and
    `GatewayError`."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        check_new_password(password)
        return password
    password = getpass.getpass(cli_text("people-password"))
    check_new_password(password)
    if getpass.getpass(cli_text("people-again")) != password:
        raise GatewayError("password-differs")
    return password


def _print_people(people: People) -> None:
    if not people:
        print(cli_text("people-none"))
        return
    lang = preferred_language()
    rows = [(name, label(lang, "role", person.role)) for name, person in people.items()]
    print_table([cli_text("people-name"), cli_text("people-role-head")], rows)
