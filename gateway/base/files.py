"""Files that survive a power cut: either the old or the new content is there, never a part."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.base.failpoint import failpoint


def close_to_others() -> None:
    """From now on, no file that this process creates can be read or written by others than its owner."""
    os.umask(0o077)


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file's content at once. Only one process may write a path. Raises `OSError`."""
    draft = path.with_name(path.name + ".new")
    write_synced(draft, data, mode)
    failpoint("file-drafted")
    draft.replace(path)
    sync_folder(path.parent)


def rewrite(path: Path, text: str) -> None:
    """Replace the content of a file that belongs to somebody: it keeps its owner, group and mode. A new
    one is created, with its folder. Raises `OSError`."""
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_durably(path, text.encode())
        return
    before = path.stat()
    draft = path.with_name(path.name + ".new")
    try:
        write_synced(draft, text.encode())
        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(draft, before.st_uid, before.st_gid)
        draft.chmod(before.st_mode & 0o777)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def create_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Create the file and its folder; an existing file stays as it is. Of several processes that create the
    same path at once, the first wins. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    write_synced(draft, data, mode)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a new file, in place of an old one, and wait until its content is on the disk. A power cut
    meanwhile may leave a part of it. Raises `OSError`."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk: a new or renamed file needs this to be found
    again. Raises `OSError`."""
    sync_file(folder)


def sync_file(file: Path) -> None:
    """Wait until a file that somebody else wrote is on the disk. Raises `OSError`."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Add to the end of the file, which is created if there is none; several processes may do so at the
    same time. A power cut meanwhile may leave a part of it. Raises `OSError`."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode), "ab", 0) as file:
        file.write(data)
        os.fsync(file.fileno())


def give_to_owner_of_folder(file: Path) -> None:
    """What root has written in a service's folder belongs to the service's user. Raises `OSError`."""
    if os.geteuid() == 0:
        owner = file.parent.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def file_state(file: Path) -> tuple[int, ...]:
    """What changes with the content or the permissions of the file; empty without one."""
    try:
        state = file.stat()
    except OSError:
        return ()
    return state.st_ino, state.st_mtime_ns, state.st_size, state.st_mode, state.st_uid
