"""Passwords and tokens, each in a file that only its owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.model import LinkDown

OTHERS = 0o077


def read_secret(file: Path) -> str:
    """The file's one line. Read at each connection, so that a new one needs no restart.

    Raises `LinkDown`: unreadable, empty, or readable by others than its owner.
    """
    try:
        with file.open(encoding="utf-8") as opened:
            if file.stat().st_mode & OTHERS and not _credential(file):
                raise LinkDown("secret-open", file=file)
            secret = opened.read(1024).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LinkDown("secret-unreadable", file=file, reason=error) from error
    if not secret:
        raise LinkDown("secret-empty", file=file)
    return secret


def create_secret(file: Path, secret: str) -> None:
    """All at once and for the owner's eyes only; whoever was faster wins. Raises `OSError`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(secret + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    try:
        file.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _credential(file: Path) -> bool:
    """Whether systemd hands it to this service alone: its ACL then shows as bits of the group
    (systemd.exec(5), LoadCredential=)."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and file.parent == Path(str(folder)) and not file.stat().st_mode & 0o007
