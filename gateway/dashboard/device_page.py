"""The page of one device: what it is, what it says and has said lately, and its last message as it came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.base import control
from gateway.model import GatewayError, Role
from gateway.web.pages import point_label
from gateway.web.part import PartHandlers
from gateway.web.requests import request_language
from gateway.web.settings import DeviceInfo
from gateway.web.spreadsheet import BOM, as_csv
from gateway.words import error_summary, translate

from .corrections import corrections_of
from .device_history import ROW_LENGTHS, read_history, read_rows

PAGE = "device"
RANGES_HOURS = tuple(ROW_LENGTHS)
"""The first is the default."""
MAX_NAME_CHARACTERS = 100
READ_TIMEOUT_S = 10.0


class DeviceChoice(msgspec.Struct, frozen=True):
    """Which device the page shows, and how many hours of its history: of one `point`, or of all."""

    name: str = ""
    hours: int = RANGES_HOURS[0]
    point: str = ""

    @property
    def query(self) -> str:
        """The query of the address."""
        return self.link()

    def link(self, **other: object) -> str:
        """The query with some values replaced; only what differs from the default."""
        default = {"hours": RANGES_HOURS[0], "point": ""}
        chosen = {"hours": self.hours, "point": self.point, **other}
        shown = {key: value for key, value in chosen.items() if value != default.get(key)}
        return urlencode({"name": self.name, **shown})


def device_choice(query: Mapping[str, str]) -> DeviceChoice:
    """What the query of an address chooses."""
    hours = {str(each): each for each in RANGES_HOURS}.get(query.get("hours", ""), RANGES_HOURS[0])
    name, point = (query.get(key, "")[:MAX_NAME_CHARACTERS] for key in ("name", "point"))
    return DeviceChoice(name, hours, point)


class DeviceHandlers(PartHandlers):
    """`/device?name=…`; with `read` in the query it also asks the daemon for the last message."""

    def routes(self) -> list[Route]:
        return [Route(f"/{PAGE}", self._page), Route(f"/{PAGE}.csv", self._csv)]

    def _chosen(self, request: Request) -> tuple[DeviceChoice, DeviceInfo]:
        choice = device_choice(request.query_params)
        info = self._context.settings.device(choice.name)
        if info is None:
            raise HTTPException(404)
        return choice, info

    async def _csv(self, request: Request) -> Response:
        choice, info = self._chosen(request)
        name = quote(f"{choice.name}-{choice.hours}h.csv")
        return StreamingResponse(
            self._csv_pieces(choice, info, request_language(request)),
            media_type="text/csv",
            headers={"content-disposition": f"attachment; filename*=UTF-8''{name}"},
        )

    async def _csv_pieces(self, choice: DeviceChoice, info: DeviceInfo, lang: str) -> AsyncIterator[str]:
        settings = self._context.settings
        zone = ZoneInfo(settings.timezone)
        heads = ("point", "since", "until", "unit", "low", "mean", "high", "readings")
        yield "".join(as_csv([[translate(lang, f"dashboard.history-{head}") for head in heads]]))

        def local(at_ms: int) -> datetime:
            return datetime.fromtimestamp(at_ms // 1000, zone).replace(tzinfo=None)

        async for point, rows in read_rows(
            settings.journal, info, choice.hours, settings.timezone, self._context.clock, choice.point
        ):
            about = point_label(lang, point), info.units.get(point, "")
            cells = (
                (about[0], local(row.since), local(row.until), about[1], row.low, row.mean, row.high,
                 row.readings)
                for row in rows
            )  # fmt: skip
            for piece in as_csv(cells):
                yield piece.removeprefix(BOM)

    async def _page(self, request: Request) -> Response:
        choice, info = self._chosen(request)
        settings = self._context.settings
        may_read, message = request.state.role.includes(Role.INSTALLER), None
        if may_read and "read" in request.query_params:
            message = await self._message(request, choice.name)
        history = await read_history(
            settings.journal, info, choice.hours, settings.timezone, self._context.clock, choice.point
        )
        lang, role = request_language(request), request.state.role
        found = {
            part.name: await part.device_found(self._context, info, lang)
            for part in self._context.parts
            if part.device_found
        }
        row = next((row for row in self._context.view.devices if row.name == info.name), None)
        return self._context.page_response(
            request, PAGE, "core/device-page.html", info=info, choice=choice, ranges=RANGES_HOURS,
            history=history, may_read=may_read, message=message, found_by_part=found,
            corrections=corrections_of(info, row),
            may_calibrate=role.includes(info.calibration_role),
            may_replace=role.includes(Role.INSTALLER),
        )  # fmt: skip

    async def _message(self, request: Request, device: str) -> dict[str, Any]:
        """The last message of a device, read now if it is one that is asked; or `failure`, in words."""
        try:
            socket = self._context.settings.control
            return await control.call_daemon(socket, "read", READ_TIMEOUT_S, device=device)
        except GatewayError as error:
            return {"failure": error_summary(request_language(request), error.key, error.facts)}
