"""The open sessions, for those who look at them and end them.

A session is known by a digest of its cookie, which alone is stored: whoever reads the files cannot enter.
The dashboard writes the list; a session is ended by a line in another file, which it and `linli dashboard
sessions` append to.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from gateway.base.files import append_durably, file_state, give_to_owner_of_folder, write_durably
from gateway.base.log import log_event
from gateway.model import Role

MAX_SESSIONS, MAX_SESSIONS_PER_PERSON = 200, 20
"""Open at the same time; another one ends that which has not been used for longest."""
MAX_UNUSED_MS = 30 * 86_400_000
"""A session that has not been used for so long has ended."""
MAX_ENDED_SESSIONS = 10_000
"""Remembered; the oldest is forgotten first."""
MAX_ENDED_BYTES = 1_000_000
"""The file of a length from which the forgotten ones are removed."""
MAX_AGENT_CHARACTERS = 300
SAVE_INTERVAL_S = 600.0
"""In which it is saved when the sessions were last used, to spare the memory card."""


class OpenSession(msgspec.Struct, frozen=True, kw_only=True):
    """One session. Times are Unix milliseconds."""

    id: str
    person: str
    """Or the name of a screen."""
    role: Role
    proof: str
    """What tells the password with which it began; empty if that was the access key, or it is a screen."""
    is_screen: bool
    began_ms: int
    used_ms: int = 0
    address: str = ""
    agent: str = ""
    """The browser's `User-Agent`."""


def session_id(cookie: str) -> str:
    """What a session is known by: not the cookie itself, which is as good as a password."""
    return hashlib.sha256(cookie.encode()).hexdigest()[:32]


def sessions_file(access_key: Path) -> Path:
    """Beside the access key."""
    return access_key.with_name(f"{access_key.name}.sessions")


def ended_file(access_key: Path) -> Path:
    """Beside the access key."""
    return access_key.with_name(f"{access_key.name}.ended")


def read_sessions(access_key: Path) -> list[OpenSession]:
    """Those that the dashboard saved last. Without a file, or with a damaged one: none, and each is listed
    again when it is used."""
    try:
        return msgspec.json.decode(sessions_file(access_key).read_bytes(), type=list[OpenSession])
    except (OSError, msgspec.DecodeError):
        return []


def append_ended(access_key: Path, ids: Iterable[str]) -> None:
    """End these sessions. Raises `OSError`."""
    file = ended_file(access_key)
    # A power cut may have left a part of a line.
    append_durably(file, "\n".join(["", *ids, ""]).encode())
    if file.stat().st_size > MAX_ENDED_BYTES:
        write_durably(file, "\n".join(_read_ended(file)).encode())
    give_to_owner_of_folder(file)


def _read_ended(file: Path) -> dict[str, None]:
    try:
        return dict.fromkeys(file.read_text("utf-8").split()[-MAX_ENDED_SESSIONS:])
    except (OSError, UnicodeDecodeError):
        return {}


class Sessions:
    """Those of this process. `access_key`: beside which they are stored, if anywhere."""

    def __init__(
        self,
        access_key: Path | None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access_key = access_key
        self._now_ms = now_ms
        self._mono = mono
        saved = read_sessions(access_key) if access_key else []
        self._open = OrderedDict((each.id, each) for each in sorted(saved, key=lambda each: each.used_ms))
        """The one used last comes last."""
        self._ended: dict[str, None] = {}
        self._ended_state: tuple[int, ...] | None = None
        self._acted: OrderedDict[str, float] = OrderedDict()
        """When somebody last did something in a session."""
        self._is_changed = False
        self._saved_s = mono()
        self._saving = asyncio.Lock()

    def is_ended(self, session: str) -> bool:
        """Whether it was ended, here or at the command line, or has not been used for too long."""
        self._follow_ended()
        known = self._open.get(session)
        return session in self._ended or (
            known is not None and self._now_ms() - known.used_ms > MAX_UNUSED_MS
        )

    def _follow_ended(self) -> None:
        if self._access_key and (state := file_state(ended_file(self._access_key))) != self._ended_state:
            self._ended_state = state
            self._ended |= _read_ended(ended_file(self._access_key))
            for session in self._ended.keys() & self._open.keys():
                del self._open[session]

    def use(self, session: OpenSession) -> list[str]:
        """It is used now. Returns the sessions that are too many by it, which the caller ends."""
        known = self._open.get(session.id)
        began = known.began_ms if known else session.began_ms
        agent = session.agent[:MAX_AGENT_CHARACTERS]
        self._open[session.id] = msgspec.structs.replace(
            session, began_ms=began, used_ms=self._now_ms(), agent=agent
        )
        self._open.move_to_end(session.id)
        if known is not None:
            return []
        self._is_changed = True
        own = [each.id for each in self._open.values() if each.person == session.person]
        return own[:-MAX_SESSIONS_PER_PERSON] or list(self._open)[:-MAX_SESSIONS]

    def forget(self) -> None:
        """All have ended, as there is another access key."""
        self._open.clear()
        self._is_changed = True

    def touch(self, session: str) -> None:
        """A page of it is open."""
        if known := self._open.get(session):
            self._open[session] = msgspec.structs.replace(known, used_ms=self._now_ms())
            self._open.move_to_end(session)

    def open(self) -> list[OpenSession]:
        """Those of everybody; the one used last first."""
        self._follow_ended()
        found = [each for each in self._open.values() if not self.is_ended(each.id)]
        return sorted(found, key=lambda each: -each.used_ms)

    async def end(self, ids: Iterable[str]) -> None:
        """End these sessions, at once and for ever, wherever their cookies may be."""
        ids = list(ids)
        for session in ids:
            self._ended[session] = None
            self._open.pop(session, None)
            self._acted.pop(session, None)
        while len(self._ended) > MAX_ENDED_SESSIONS:
            del self._ended[next(iter(self._ended))]
        self._is_changed = True
        if self._access_key and ids:
            try:
                await asyncio.to_thread(append_ended, self._access_key, ids)
            except OSError as error:
                log_event(
                    logging.ERROR, "sessions-unsaved", file=ended_file(self._access_key), reason=error
                )

    async def save(self, *, at_once: bool = False) -> None:
        """Save the list if one began or ended, and now and then when they were used."""
        is_due = self._is_changed or at_once or self._mono() - self._saved_s >= SAVE_INTERVAL_S
        if not self._access_key or not is_due or self._saving.locked():
            return
        async with self._saving:
            self._is_changed, self._saved_s = False, self._mono()
            data = msgspec.json.encode(list(self._open.values()))
            try:
                await asyncio.to_thread(write_durably, sessions_file(self._access_key), data)
            except OSError as error:
                file = sessions_file(self._access_key)
                log_event(logging.WARNING, "sessions-unlisted", file=file, reason=error)

    def act(self, session: str) -> None:
        """Somebody has shown the password in that session, or done something."""
        self._acted[session] = self._mono()
        self._acted.move_to_end(session)
        while len(self._acted) > MAX_SESSIONS:
            self._acted.popitem(last=False)

    def idle_s(self, session: str) -> float:
        """Seconds since that; infinite if never since this process started."""
        return self._mono() - self._acted.get(session, float("-inf"))
