"""Passwords and tokens, each read from a file that only its owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.model import LinkDown

GROUP_AND_OTHERS_MODE = 0o077
MAX_SECRET_CHARACTERS = 4096
"""A signed token has a thousand or two."""


def read_secret(file: Path, least: int = 0) -> str:
    """The file's one line. Call this for each connection, so that a new secret needs no restart.

    Raises `LinkDown`: missing, unreadable, empty, not text, several lines, shorter than `least` characters,
    or readable by others than its owner.
    """
    try:
        # Windows editors put a byte order mark before the text.
        with file.open(encoding="utf-8-sig") as opened:
            if is_open_to_others(file):
                raise LinkDown("secret-open", file=file)
            secret = opened.read(MAX_SECRET_CHARACTERS + 1).strip()
    except FileNotFoundError as error:
        raise LinkDown("secret-missing", file=file) from error
    except UnicodeDecodeError as error:
        raise LinkDown("secret-not-text", file=file) from error
    except OSError as error:
        raise LinkDown("secret-unreadable", file=file, reason=error) from error
    if not secret:
        raise LinkDown("secret-empty", file=file)
    if len(secret) > MAX_SECRET_CHARACTERS or len(secret.splitlines()) > 1:
        raise LinkDown("secret-lines", file=file, most=MAX_SECRET_CHARACTERS)
    if "\0" in secret:  # UTF-16 without a byte order mark.
        raise LinkDown("secret-not-text", file=file)
    if len(secret) < least:
        raise LinkDown("secret-short", file=file, least=least)
    return secret


def is_open_to_others(file: Path) -> bool:
    """Whether others than the owner may read the file. Raises `OSError`."""
    return bool(file.stat().st_mode & GROUP_AND_OTHERS_MODE) and not _is_systemd_credential(file)


def _is_systemd_credential(file: Path) -> bool:
    """Whether systemd passed the file to this service alone; its ACL then shows as group permissions
    (systemd.exec(5), LoadCredential=)."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and file.parent == Path(str(folder)) and not file.stat().st_mode & 0o007
