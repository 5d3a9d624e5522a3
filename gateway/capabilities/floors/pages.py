"""The plan: each device in its place, with its state. Managers upload the picture and place the devices."""

from __future__ import annotations

import asyncio
import math
import tomllib
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from gateway.base import control
from gateway.config import Site
from gateway.config.adoption import AdoptedConfiguration, load_adopted
from gateway.config.editing import Edit
from gateway.model import GatewayError, Role
from gateway.web.gallery import GalleryMoment, SampleFiles
from gateway.web.part import Page, PagePart, PartHandlers, PartInput
from gateway.web.requests import read_body, request_language
from gateway.words import error_summary, translate

from .pictures import FILE_PATTERN, MAX_PICTURE_BYTES, MEDIA_TYPES, picture_digest, store
from .site import Floor, FloorsSite, Place

PAGE, EDIT_PAGE = "plan", "plan-edit"
PLAN_WIDTH = 1000
"""Units of the drawing; a marker has the same size on every plan."""
DECIMALS = 4
PICTURE_HEADERS = {
    # An SVG may contain scripts; opened by itself, it must not run them either.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "cache-control": "private, max-age=31536000, immutable",
}


class PlacedFloor(msgspec.Struct, frozen=True):
    """A floor as it is drawn."""

    name: str
    title: dict[str, str]
    picture: str
    height: int
    """In the units of which the width has `PLAN_WIDTH`."""
    markers: dict[str, tuple[int, int]]
    """The places of the devices that exist, in these units."""


FloorsView = tuple[PlacedFloor, ...]


def floors_view(floors: tuple[Floor, ...] | None, part_input: PartInput) -> FloorsView:
    """The floors with a picture."""
    found = []
    for floor in floors or ():
        height = round(PLAN_WIDTH * floor.height / floor.width)
        markers = {
            device: (round(x * PLAN_WIDTH), round(y * height))
            for device, (x, y) in floor.places.items()
            if device in part_input.device_infos
        }
        found.append(PlacedFloor(floor.name, floor.title, floor.picture, height, markers))
    return tuple(found)


class FloorsHandlers(PartHandlers):
    """The pictures, and the page on which the devices are placed."""

    route_roles: ClassVar = {
        "/plan/picture/{file}": Role.DISPLAY,
        "/plan/{floor}": Role.MANAGER,
        "/plan/{floor}/picture": Role.MANAGER,
        "/plan/{floor}/places": Role.MANAGER,
    }

    def routes(self) -> list[Route]:
        return [
            Route("/plan", self._page),
            Route("/plan/picture/{file}", self._picture),
            Route("/plan/{floor}", self._edit_page),
            Route("/plan/{floor}/picture", self._upload, methods=["POST"]),
            Route("/plan/{floor}/places", self._place, methods=["POST"]),
        ]

    @property
    def _folder(self) -> Path:
        return self._context.settings.journal.with_name("floors")

    def _floor(self, request: Request) -> Floor:
        floors: tuple[Floor, ...] = self._context.settings.parts["floors"]
        found = next((floor for floor in floors if floor.name == request.path_params["floor"]), None)
        if found is None:
            raise HTTPException(404)
        return found

    async def _page(self, request: Request) -> Response:
        may_edit = request.state.role.includes(Role.MANAGER)
        return self._context.page_response(request, PAGE, "floors/plan-page.html", may_edit=may_edit)

    async def _picture(self, request: Request) -> Response:
        name = request.path_params["file"]
        file = self._folder / name
        if not FILE_PATTERN.fullmatch(name) or not await asyncio.to_thread(file.is_file):
            raise HTTPException(404)
        return FileResponse(file, media_type=MEDIA_TYPES[file.suffix[1:]], headers=PICTURE_HEADERS)

    async def _edit_page(self, request: Request) -> Response:
        floor, kept = self._floor(request), await self._adopted()
        return self._context.page_response(
            request, EDIT_PAGE, "floors/plan-edit.html",
            floor=floor, height=round(PLAN_WIDTH * floor.height / floor.width), width=PLAN_WIDTH,
            digest=kept.revision.digest if kept else "",
            devices=[(info, floor.places.get(info.name)) for info in self._context.settings.devices],
        )  # fmt: skip

    async def _upload(self, request: Request) -> Response:
        floor, data = self._floor(request), await read_body(request, MAX_PICTURE_BYTES)
        floors: tuple[Floor, ...] = self._context.settings.parts["floors"]
        try:
            shown = {each.picture for each in floors}
            name, picture = await asyncio.to_thread(store, self._folder, data, shown)
            table = "floor", floor.name
            edits = [
                Edit((*table, "picture"), name),
                Edit((*table, "size"), [picture.width, picture.height]),
            ]
            await self._adopt(request, edits)
        except GatewayError as error:
            return self._answer(request, 422, error)
        return self._answer(request, 200)

    async def _place(self, request: Request) -> Response:
        floor, kept = self._floor(request), await self._adopted()
        try:
            given = msgspec.json.decode(await read_body(request), type=dict[str, Place])
        except msgspec.DecodeError as error:
            raise HTTPException(400) from error
        known = {info.name for info in self._context.settings.devices}
        if not given.keys() <= known or not all(map(_is_inside, given.values())):
            raise HTTPException(400)
        # Those of devices that are away for a while stay.
        now = tomllib.loads(kept.sources[""])["floor"][floor.name].get("places", {}) if kept else {}
        others = {name: place for name, place in now.items() if name not in known}
        places = others | {name: [round(part, DECIMALS) for part in place] for name, place in given.items()}
        try:
            await self._adopt(request, [Edit(("floor", floor.name, "places"), places or None)])
        except GatewayError as error:
            return self._answer(request, 409, error)
        return self._answer(request, 200)

    async def _adopted(self) -> AdoptedConfiguration | None:
        settings = self._context.settings
        if settings.file is None:
            return None
        return await asyncio.to_thread(load_adopted, settings.file, settings.journal)

    async def _adopt(self, request: Request, edits: list[Edit]) -> None:
        """Have the daemon change the site file, unless it has changed since the page was shown. Raises
        `GatewayError`."""
        answer = await control.call_daemon(
            self._context.settings.control, "edit",
            digest=request.query_params.get("digest", ""), person=request.state.person,
            edits=[msgspec.structs.asdict(edit) for edit in edits],
        )  # fmt: skip
        if "mistakes" in answer:
            raise GatewayError("settings-outdated")

    def _answer(self, request: Request, status: int, error: GatewayError | None = None) -> Response:
        lang = request_language(request)
        text = error_summary(lang, error.key, error.facts) if error else translate(lang, "plan.saved")
        return JSONResponse({"message": text}, status)


def _is_inside(place: Place) -> bool:
    return all(math.isfinite(part) and 0 <= part <= 1 for part in place)


def settings(site: Site) -> tuple[Floor, ...]:
    """The floors."""
    return site.part(FloorsSite).floors


SAMPLE_PLAN = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 500">
<path d="M40 40H960V460H40Z M400 40V300 M400 380V460 M680 40V160 M680 240V460" fill="#fff" stroke="#667"
stroke-width="8"/></svg>"""


def sample(moment: GalleryMoment) -> FloorsView:
    """The view at a moment of the gallery."""
    if not moment.is_known:
        return ()
    title, name = moment.named("一层", "Ground floor"), f"{picture_digest(SAMPLE_PLAN)}.svg"
    places = {"smoke-hall": (200, 180), "gas-kitchen": (820, 330), "device-offline": (540, 260)}
    return (
        PlacedFloor("ground", title, name, 500, places),
        PlacedFloor("first", moment.named("二层", "First floor"), "", PLAN_WIDTH, {}),
    )


def fill_sample(_floors: tuple[Floor, ...], files: SampleFiles) -> None:
    """The picture of a floor."""
    store(files.settings.journal.with_name("floors"), SAMPLE_PLAN, set())


PAGES: PagePart[Any, FloorsView] = PagePart(
    name="floors",
    settings=settings,
    view=floors_view,
    sample=sample,
    fill_sample=fill_sample,
    pages=(
        Page(
            name=PAGE,
            title="dashboard.page-plan",
            regions=("plan",),
            menu_order=15,
            in_menu=bool,
            has_own_route=True,
        ),
        Page(
            name=EDIT_PAGE,
            title="dashboard.page-plan",
            role=Role.MANAGER,
            has_own_route=True,
            examples=("plan/ground",),
        ),
    ),
    kiosk_regions=("wall-plan",),
    styles=("plan.css",),
    handlers=FloorsHandlers,
)
