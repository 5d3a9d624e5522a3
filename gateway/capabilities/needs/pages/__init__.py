"""The pages of residents' needs: the form for residents, and the list for staff."""

from __future__ import annotations

from gateway.web.part import Page, PagePart, Tile

from .handlers import NeedsHandlers
from .view import (
    SAMPLE_NEED,
    NeedsSettings,
    NeedsView,
    fill_sample,
    needs_view,
    reminders,
    sample,
    settings,
)

PAGES: PagePart[NeedsSettings, NeedsView] = PagePart(
    name="needs",
    settings=settings,
    view=needs_view,
    sample=sample,
    fill_sample=fill_sample,
    reminders=reminders,
    pages=(
        Page(
            name="needs",
            title="dashboard.page-needs",
            menu_order=30,
            has_own_route=True,
            examples=("needs", f"needs/{SAMPLE_NEED}", "need"),
        ),
    ),
    tiles=(
        Tile("notices-tile", order=5, on_wall=True, on_home=False),
        Tile("phone-tile", order=60, on_wall=True, on_home=False),
    ),
    # The QR code that leads to the form is renewed on every page that shows it.
    scripts=("need.js",),
    styles=("needs.css",),
    handlers=NeedsHandlers,
)
