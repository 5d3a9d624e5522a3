"""A house that registers needs: a real desk behind the socket, with its sealed store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from msgspec.structs import replace

from gateway.base.control import Handler
from gateway.capabilities.needs.registry import NeedsRegistry
from gateway.capabilities.needs.rows import read_rows
from gateway.capabilities.needs.services import Category, Need, Needs, Reception
from gateway.capabilities.needs.site import NeedsOptions
from gateway.capabilities.needs.store import ParticularsStore
from gateway.daemon.engine import Engine
from gateway.journal import Journal
from tests.gateway.all_services import services
from tests.gateway.dashboard_fixtures import NASTY, House, Served
from tests.ports import free_port

SAID = {"name": "张小凡", "phone": "13800138000", "text": f"楼道灯坏了，老李知道\n{NASTY}\u202e😀"}
RECEPTION = Reception(
    categories={
        "repair": Category(
            title={"zh": "报修", "en": "Repairs"}, days=3, owner="desk", referral="property"
        ),
        "nasty": Category(title={"zh": NASTY, "en": NASTY}, days=1),
    },
    owners={"desk": {"zh": "服务台", "en": "Front desk"}, "nurse": {"zh": "护士", "en": "Nurse"}},
    referrals={"property": {"zh": "物业公司", "en": "Property management"}},
    phone_per_hour=8,
)


class NeedsHouse(House):
    """As `House`; `folder` is all that is on its disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        port = free_port()
        self.reception = replace(RECEPTION, address=f"http://127.0.0.1:{port}")
        self.settings = replace(self.settings, port=port)
        self.configure("needs", reception=self.reception)
        self.store = ParticularsStore(folder / "needs.db", folder / "needs.key")

    async def _handlers(self, journal: Journal) -> dict[str, Handler]:
        own = services({}, {"dashboard": Needs.actions}, reception=self.reception)
        engine = Engine(own, journal, self.clock)
        await engine.restore()
        options = NeedsOptions(self.folder / "needs.db", self.folder / "needs.key")
        desk = NeedsRegistry(
            lambda: self.reception,
            lambda: options,
            lambda: engine.rows(Needs.name),
            engine.submit_command,
            self.clock,
        )
        return {**await super()._handlers(journal), **desk.handlers()}

    def needs(self) -> dict[str, Need]:
        """As the journal has them."""
        return asyncio.run(read_rows(self.settings.journal))


def post(
    served: Served, path: str, cookie: str, form: Mapping[str, str], **headers: str
) -> tuple[int, str, str]:
    """Send a form as a browser does; returns the status, where it leads and what it shows."""
    sent = {"content_type": "application/x-www-form-urlencoded", **headers}
    status, told, text = served.ask("POST", path, urlencode(form), cookie, **sent)
    return status, told.get("location", ""), text


def register(served: Served, cookie: str, **fields: str) -> tuple[int, str]:
    """Returns the status and the number of the receipt, or the whole page."""
    form = {"category": "repair", "consent": "1", **SAID, **fields}
    status, _, text = post(served, "/need", cookie, form)
    found = re.search(r'id="receipt">(\d{4}) (\d{4})<', text)
    return status, found[1] + found[2] if found else text
