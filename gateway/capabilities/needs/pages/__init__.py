"""What the pages show of residents' needs: the form, and the list of those who see to them."""

from __future__ import annotations

from gateway.web.part import Page, PagePart

from .handlers import NeedsHandlers
from .view import NeedsSettings, NeedsView, needs_view, reminders, settings

PAGES: PagePart[NeedsSettings, NeedsView] = PagePart(
    name="needs",
    settings=settings,
    view=needs_view,
    reminders=reminders,
    pages=(Page(name="needs", title="dashboard.page-needs", menu_order=30, has_own_route=True),),
    kiosk_regions=("phone",),
    # The code that leads to the form is renewed wherever it is shown.
    scripts=("need.js",),
    styles=("needs.css",),
    handlers=NeedsHandlers,
)
