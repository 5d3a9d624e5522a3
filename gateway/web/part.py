"""The pages of a capability: data and pure functions, in one declaration.

The module that `Capability.pages` names has a `PAGES = PagePart(…)`. Its templates are in `templates/` of
the capability's folder, its scripts and styles in `static/`. A template has the variables `part`, the
part's own view, and `view`, that of all pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.config import Site
from gateway.model import Clock, Role, Rows, Service, Stamp

from .access import Access
from .commands import CommandRequest
from .gallery import GalleryMoment, SampleFiles
from .settings import DeviceInfo, Settings
from .snapshot import Snapshot
from .view import DeviceAnnotation, DeviceRow, Reminder, View

HOME, KIOSK = "overview", "kiosk"
"""The pages to which any part may add regions; the kiosk is the screen on the wall."""

S = TypeVar("S")
V = TypeVar("V")


class PartInput(msgspec.Struct, frozen=True):
    """The input of a part's view function."""

    snapshot: Snapshot
    now: Stamp
    day: str
    """The local date."""
    device_infos: Mapping[str, DeviceInfo]
    """The configured devices."""
    devices: tuple[DeviceRow, ...] = ()
    """The current row of each of them."""
    figures: Mapping[str, int] = {}
    """The figures of all parts, by `service.figure`."""

    def rows(self, service: type[Service]) -> Rows:
        """The rows of a service."""
        return self.snapshot.service(service.name)

    def title_of(self, device: str) -> dict[str, str]:
        """What people call a device, by language."""
        info = self.device_infos.get(device)
        return info.title if info else {}


class Selection(Protocol):
    """What a person has chosen on a page: immutable, and equal choices are equal."""

    @property
    def query(self) -> str:
        """The query of the page's address with this choice; empty for the default."""
        ...


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page at `/name`, made of regions: templates that are sent again whenever they change."""

    name: str
    title: str
    """The key of its title."""
    regions: tuple[str, ...] = ()
    menu_order: int | None = None
    """Its place in the menu, the lowest first; None: it is not in the menu."""
    in_menu: Callable[[Any], bool] = lambda _part: True
    """Whether the menu shows it, by what the part shows."""
    role: Role = Role.DUTY
    """The least role that sees it."""
    selection: Callable[[Mapping[str, str]], Selection] | None = None
    """What the fields of the address's query choose; its regions' templates have it as `selection`."""
    is_personal: bool = False
    """It is about the person who is logged in: their own page leads to it."""
    rows: Callable[[View, Any, str], Iterable[DeviceRow]] | None = None
    """The devices whose rows it lists, by the view, the selection and the language: so many that they are
    rendered a few at a time."""
    has_own_route: bool = False
    """The part's handlers serve it, with a template of their own."""
    examples: tuple[str, ...] = ()
    """Its addresses in the gallery, without the first slash, where its name is not the only one."""


class Tile(msgspec.Struct, frozen=True):
    """A template of the overview, and its place there: the lowest first."""

    template: str
    order: int = 100
    on_wall: bool = False
    """Whether the wall shows it too, where the public sees it."""
    on_home: bool = True


class OwnKind(msgspec.Struct, frozen=True):
    """Points and actions of a kind of device that a part shows itself; the list of devices omits them."""

    actions: frozenset[str] = frozenset()
    is_own_point: Callable[[str], bool] = lambda _point: False


class PageContext(Protocol):
    """The dashboard, as far as handlers may use it."""

    @property
    def settings(self) -> Settings:
        """Those of the configuration that the gateway runs now."""
        ...

    @property
    def view(self) -> View:
        """The current view."""
        ...

    @property
    def parts(self) -> Sequence[PagePart[Any, Any]]:
        """What the dashboard consists of."""
        ...

    @property
    def access(self) -> Access:
        """Checks and signs cookies."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock of the machine."""
        ...

    def page_response(
        self, request: Request, name: str, template: str, status: int = 200, **facts: object
    ) -> Response:
        """The page of that name. `template` extends `page.html`; `facts` are further variables for it."""
        ...

    def plain_page_response(
        self, request: Request, template: str, status: int = 200, **facts: object
    ) -> Response:
        """A page without frame and menu. `template` extends `base.html`."""
        ...


class PartHandlers:
    """Routes beyond those of the pages made of regions."""

    route_roles: ClassVar[Mapping[str, Role]] = {}
    """By path: the least role that a route needs, where it is not that of the page whose path it starts
    with. A session is not needed where `is_allowed_without_session`."""
    signed_paths: ClassVar[frozenset[str]] = frozenset()
    """Where each form is a signature: on a screen that people share, each needs a PIN of its own."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """In the order in which they are tried."""
        return []

    def is_allowed_without_session(self, _request: Request) -> bool:
        """Whether to admit a request without a session."""
        return False

    def rejection_response(self, _request: Request) -> Response | None:
        """The response to a request that is not admitted; None: the form that asks for the key."""
        return None


def _no_settings(_site: Site) -> Any:
    return None


def _no_view(_settings: Any, _part_input: PartInput) -> Any:
    return None


def _no_figures(_settings: Any, _part_input: PartInput) -> Mapping[str, int]:
    return {}


def _no_annotation(_part: Any, _device: str) -> DeviceAnnotation | None:
    return None


def _no_heading(_part: Any, _lang: str) -> str:
    return ""


def _no_sample_files(_settings: Any, _files: SampleFiles) -> None:
    pass


def _no_reminders(_part: Any) -> Iterable[Reminder]:
    return ()


class PagePart(msgspec.Struct, Generic[S, V], frozen=True, kw_only=True):
    """A capability's part of the dashboard. Templates are named without folder and ending."""

    name: str
    """The name of the capability."""
    settings: Callable[[Site], S] = _no_settings
    """The part's settings of a site."""

    services: tuple[type[Service], ...] = ()
    """The services whose rows are read from the journal."""
    removed_rows_s: Mapping[str, float] = {}
    """By service: for how many seconds removed rows stay in `Snapshot.removed`."""
    summaries: tuple[str, ...] = ()
    """The services whose latest summary is searched for in the journal at the start."""

    history: Callable[[S, Path, Stamp], Awaitable[Any]] | None = None
    """Reads what the journal's rows do not hold, now and then, for `Snapshot.history`; arguments: settings,
    the journal's file and the time."""
    figures: Callable[[S, PartInput], Mapping[str, int]] = _no_figures
    """Figures for the views of the other parts, by `service.figure`."""
    view: Callable[[S, PartInput], V] = _no_view
    """The part's view. Pure: equal views are not sent again."""
    sample: Callable[[GalleryMoment], V] | None = None
    """A made-up view, for the gallery."""
    fill_sample: Callable[[S, SampleFiles], None] = _no_sample_files
    """Writes what the handlers read, made up, for the gallery."""
    annotate: Callable[[V, str], DeviceAnnotation | None] = _no_annotation
    """What the part adds to the row of a device."""
    own_kinds: Mapping[str, OwnKind] = {}
    """By kind of device."""
    reminders: Callable[[V], Iterable[Reminder]] = _no_reminders
    heading: Callable[[V, str], str] = _no_heading
    """Urgent news before the site's title in the document's title; arguments: view and language."""

    pages: tuple[Page, ...] = ()
    home_regions: tuple[str, ...] = ()
    kiosk_regions: tuple[str, ...] = ()
    frame_regions: tuple[str, ...] = ()
    """At the top of every page but the wall."""
    tiles: tuple[Tile, ...] = ()
    status: str = ""
    """A template in the header of every page."""
    device_state: str = ""
    """A template beside a device's condition. It has the variable `device` alone: a row is rendered again
    only when that has changed."""
    device_actions: str = ""
    """A template beside a device's buttons; as `device_state`."""
    device_page: str = ""
    """A template on the page of a device, with what `device_found` has found as `found`."""
    device_found: Callable[[PageContext, DeviceInfo, str], Awaitable[Any]] | None = None
    """Reads what a device's page shows of it, beyond the view; the last argument is the language."""
    scripts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    """Files in `static/` that every page loads."""

    requests: tuple[type[CommandRequest], ...] = ()
    """The requests that the part accepts."""
    handlers: Callable[[PageContext], PartHandlers] = PartHandlers
