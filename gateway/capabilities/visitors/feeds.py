"""The secret addresses at which other programs read the bookings of a room, in a file beside the
dashboard's access key. Only the dashboard writes it."""

from __future__ import annotations

import secrets
from enum import StrEnum
from pathlib import Path

import msgspec

from gateway.base.files import write_durably

TOKEN_BYTES = 24


class FeedKind(StrEnum):
    """What readers learn."""

    PUBLIC = "public"
    """When the room is booked, and nothing of what for or by whom."""
    STAFF = "staff"
    """Also the titles, and for whom."""


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """One address."""

    room: str
    kind: FeedKind
    token: str


class Feeds:
    """Those of all rooms. `access_key`: beside which they are stored."""

    def __init__(self, access_key: Path) -> None:
        self._file = access_key.with_name("calendar-feeds.json")

    def all(self) -> list[Feed]:
        """Raises `OSError`. A damaged file counts as none: addresses are given anew."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[Feed])
        except (FileNotFoundError, msgspec.DecodeError):
            return []

    def find(self, token: str) -> Feed | None:
        """The feed at an address. Raises `OSError`."""
        given = token.encode()
        return next(
            (each for each in self.all() if secrets.compare_digest(each.token.encode(), given)), None
        )

    def renew(self, room: str, kind: FeedKind) -> None:
        """Another address; the one of before is gone. Raises `OSError`."""
        feed = Feed(room=room, kind=kind, token=secrets.token_urlsafe(TOKEN_BYTES))
        self._save([*self._others(room, kind), feed])

    def remove(self, room: str, kind: FeedKind) -> None:
        """There is no address any more. Raises `OSError`."""
        self._save(self._others(room, kind))

    def _others(self, room: str, kind: FeedKind) -> list[Feed]:
        return [each for each in self.all() if (each.room, each.kind) != (room, kind)]

    def _save(self, feeds: list[Feed]) -> None:
        write_durably(self._file, msgspec.json.encode(feeds))
