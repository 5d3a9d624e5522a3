"""The page of one device: what it is, what it says and has said lately, and its last message as it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.base import control
from gateway.model import Calibration, GatewayError, Role
from gateway.trends import number_of
from gateway.web.part import PartHandlers
from gateway.web.requests import request_language
from gateway.web.settings import DeviceInfo
from gateway.web.view import DeviceRow
from gateway.words import error_summary

from .device_history import ROW_LENGTHS, read_history

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


class Correction(msgspec.Struct, frozen=True):
    """A point that may be calibrated: what it measures now, and what that is corrected to; None: not
    known."""

    point: str
    unit: str
    calibration: Calibration
    measured: float | None
    corrected: float | None


def corrections_of(info: DeviceInfo, row: DeviceRow | None) -> list[Correction]:
    """The points of a device that may be calibrated."""
    values = {shown.point: number_of(shown.value) for shown in row.values} if row else {}
    found = []
    for point, calibration in info.calibrations.items():
        corrected = values.get(point)
        measured = None if corrected is None else calibration.measured(corrected)
        found.append(Correction(point, info.units.get(point, ""), calibration, measured, corrected))
    return found


class DeviceHandlers(PartHandlers):
    """`/device?name=…`; with `read` in the query it also asks the daemon for the last message."""

    def routes(self) -> list[Route]:
        return [Route(f"/{PAGE}", self._page)]

    async def _page(self, request: Request) -> Response:
        choice = device_choice(request.query_params)
        settings = self._context.settings
        info = settings.device(choice.name)
        if info is None:
            raise HTTPException(404)
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
