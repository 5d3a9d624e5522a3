"""What the pages show of residents' needs. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.capabilities.needs.services import Needs, Reception
from gateway.capabilities.needs.site import NeedsSite
from gateway.config import Site
from gateway.web.part import PartInput
from gateway.web.view import Reminder


class NeedsSettings(msgspec.Struct, frozen=True):
    """How needs are received; None: they are not."""

    reception: Reception | None = None


def settings(site: Site) -> NeedsSettings:
    """Of a site's configuration."""
    return NeedsSettings(site.part(NeedsSite).reception)


class NeedsView(msgspec.Struct, frozen=True):
    """How many needs wait for somebody."""

    new: int = 0
    overdue: int = 0
    phones_can_register: bool = False
    """Phones have a known address to come to, and may register."""


def needs_view(settings: NeedsSettings, part_input: PartInput) -> NeedsView:
    """What the service's summary says."""
    summary = part_input.snapshot.samples.get(Needs.name)
    values = summary.body["values"] if summary else {}
    reception = settings.reception
    return NeedsView(
        new=values.get("new", 0),
        overdue=values.get("overdue", 0),
        phones_can_register=bool(reception and reception.address and reception.phone_per_hour),
    )


def reminders(part: NeedsView) -> Iterable[Reminder]:
    """What somebody should see to."""
    return [
        Reminder("dashboard.remind-needs-new", part.new, "/needs?state=registered", order=40),
        Reminder("dashboard.remind-needs-overdue", part.overdue, "/needs?overdue=1", order=40),
    ]
