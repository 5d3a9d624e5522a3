"""Which configuration runs: the site file or, if that is wrong, the one that was adopted last.

The adopted configuration is stored in one file beside the journal, with the device models it uses, so that
neither a power cut in the middle of an edit nor a lost file leaves a centre without alarms.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.base.files import write_durably
from gateway.model import Device, Revision
from gateway.services.configuration import MAX_REVISIONS

from .options import JournalOptions
from .reading import Mistake, Mistakes
from .site import Site, configuration_digest
from .site_file import load_site

_JOURNAL_PATH_PATTERN = re.compile(
    r"^\s*\[journal\][^\n]*\n(?:(?!\s*\[)[^\n]*\n)*?\s*(path\s*=[^\n]*)", re.M
)

ConfigurationChanges = dict[str, dict[str, list[str]]]
"""See `Revision.changes`."""


class Trial(msgspec.Struct, frozen=True):
    """The trial of a configuration: the devices to watch, and what to roll back to."""

    sources: dict[str, str]
    """The `Site.sources` to return to."""
    watched: list[str]
    silent: list[str]
    """Those of them that were silent before the trial."""
    rewritten: str | None = None
    """The source that the gateway has rewritten for it: that, too, returns. None: people edited a file."""


class AdoptedConfiguration(msgspec.Struct, frozen=True):
    """The adopted configuration as it is stored on the disk."""

    file: str
    """The site file it came from; a start with another site file ignores it."""
    revision: Revision
    sources: dict[str, str]
    trial: Trial | None = None
    rejected: str = ""
    """The digest of the configuration that was rolled back: a restart does not adopt it either."""


class StartConfiguration(msgspec.Struct, frozen=True):
    """The configuration to start with. `refused`: why it is not the site file."""

    site: Site
    adopted: AdoptedConfiguration | None
    refused: tuple[Mistake, ...] = ()


def choose_configuration(file: Path) -> StartConfiguration:
    """The site file if it is valid, else what was adopted last. Raises `Mistakes` if there is neither."""
    try:
        site = load_site(file)
    except Mistakes as wrong:
        adopted = load_adopted(file, _journal_path_in(file))
        if not (adopted and (last := load_sources(file, adopted.sources))):
            raise
        return StartConfiguration(last, adopted, tuple(wrong.mistakes))
    # A truncated file may lack the path of the journal.
    adopted = load_adopted(file, site.journal.path) or load_adopted(file, _default_journal())
    doubt = adopted and _reason_against_start(file, site, adopted)
    if adopted and doubt and (last := load_sources(file, adopted.sources)):
        return StartConfiguration(last, adopted, (doubt,))
    return StartConfiguration(site, adopted)


def _reason_against_start(file: Path, site: Site, adopted: AdoptedConfiguration) -> Mistake | None:
    """Why a start should not use a valid file; None: it should. A reload uses it all the same."""
    if adopted.rejected == site.digest:
        return rollback_mistake(file, adopted.revision)
    text, last = site.sources[""].rstrip(), adopted.sources[""].rstrip()
    if text != last and (last.startswith(text) or (not site.devices and "[device." in last)):
        # TOML that is cut off between two tables is still valid: it only lacks devices.
        return Mistake(file, text.count("\n") + 1, "", "config-cut", {})
    return None


def rollback_mistake(file: Path, revision: Revision) -> Mistake:
    """The file is valid, but its configuration was rolled back."""
    return Mistake(file, 1, "", "config-returned", {"silent": ", ".join(revision.silent)})


def load_sources(file: Path, sources: Mapping[str, str]) -> Site | None:
    """A site from its stored sources; None if this version no longer accepts them."""
    try:
        return load_site(file, saved_sources=sources)
    except Mistakes:
        return None


def save_adopted(journal: Path, adopted: AdoptedConfiguration) -> None:
    """Replace the stored configuration; a power cut leaves the old or the new one. Raises `OSError`."""
    write_durably(_adopted_file(journal), msgspec.json.encode(adopted))
    if load_revision_text(journal, adopted.revision.number) != adopted.sources[""]:
        _save_revision_text(journal, adopted.revision.number, adopted.sources[""])


def _save_revision_text(journal: Path, number: int, text: str) -> None:
    """Store the site file of a revision, and remove those that are too old."""
    folder = _revisions_folder(journal)
    folder.mkdir(mode=0o700, exist_ok=True)
    write_durably(folder / f"{number}.toml", text.encode())
    for file in folder.glob("*.toml"):
        if file.stem.isdecimal() and int(file.stem) <= number - MAX_REVISIONS:
            file.unlink(missing_ok=True)


def load_revision_text(journal: Path, number: int) -> str | None:
    """The site file of a revision; None if it is not stored."""
    try:
        return (_revisions_folder(journal) / f"{number}.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def load_adopted(file: Path, journal: Path) -> AdoptedConfiguration | None:
    """What was adopted last from that site file; None if there is nothing valid."""
    try:
        adopted = msgspec.json.decode(_adopted_file(journal).read_bytes(), type=AdoptedConfiguration)
    except (OSError, ValueError):
        return None
    sound = configuration_digest(adopted.sources) == adopted.revision.digest and "" in adopted.sources
    return adopted if sound and adopted.file == str(file.resolve()) else None


def changes_between(old: Site, new: Site) -> ConfigurationChanges:
    """What differs. A bus that is added, removed or changed must be opened, closed or restarted."""
    before, after = _comparable_parts(old), _comparable_parts(new)
    return {kind: found for kind in before if (found := _compare_tables(before[kind], after[kind]))}


def _comparable_parts(site: Site) -> dict[str, Mapping[str, Any]]:
    return {
        "bus": {name: (spec, devices_on(site, name)) for name, spec in site.buses.items()},
        "device": site.devices,
        "uplink": site.uplinks,
    }


def _compare_tables(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    found = {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and new[name] != old[name]],
    }
    return {how: names for how, names in found.items() if names}


def devices_on(site: Site, bus: str) -> dict[str, Device]:
    """The devices of a bus, without their titles and rooms: a new one does not restart a line."""
    return {
        device.name: msgspec.structs.replace(device, title={}, room={})
        for device in site.devices.values()
        if device.bus == bus
    }


def _revisions_folder(journal: Path) -> Path:
    return journal.with_suffix(".revisions")


def _adopted_file(journal: Path) -> Path:
    return journal.with_suffix(".adopted")


def _journal_path_in(file: Path) -> Path:
    """The path of the journal that an invalid or truncated file names."""
    try:
        written = _JOURNAL_PATH_PATTERN.search(file.read_text("utf-8", "replace"))
        return Path(tomllib.loads(written[1])["path"]) if written else _default_journal()
    except (OSError, TypeError, ValueError):
        return _default_journal()


def _default_journal() -> Path:
    usual = JournalOptions().path
    return Path(os.environ.get("STATE_DIRECTORY", usual.parent)) / usual.name
