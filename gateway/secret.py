"""Passwords and tokens, each in a file that only its owner may read."""

from __future__ import annotations

from pathlib import Path

from .model import LinkDown

OTHERS = 0o077


def read_secret(file: Path) -> str:
    """The file's one line. Read at each connection, so that a new one needs no restart.

    Raises `LinkDown`: unreadable, empty, or readable by others than its owner.
    """
    try:
        with file.open(encoding="utf-8") as opened:
            if file.stat().st_mode & OTHERS:
                raise LinkDown("secret-open", file=file)
            secret = opened.read(1024).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LinkDown("secret-unreadable", file=file, reason=error) from error
    if not secret:
        raise LinkDown("secret-empty", file=file)
    return secret
