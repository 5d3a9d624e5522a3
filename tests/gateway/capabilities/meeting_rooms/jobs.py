"""Answers what is asked of meeting rooms on the control socket."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.config import Site
from gateway.jobs import Job

from .services import MeetingRooms


class MeetingRoomsJob(Job):
    """The rooms as they are now."""

    name = "meeting-rooms"
    calls = ("meeting-rooms",)

    @staticmethod
    def built_from(site: Site) -> object:
        return None

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def answer(self, call: str, request: dict[str, Any]) -> dict[str, Any]:
        rows = self._host.rows(MeetingRooms.name)
        return {"rooms": {room: row.in_use for room, row in rows.items()}}


JOBS: tuple[type[Job], ...] = (MeetingRoomsJob,)
