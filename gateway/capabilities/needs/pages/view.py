"""The view of residents' needs. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.capabilities.needs.services import Needs, Reception
from gateway.capabilities.needs.site import NeedsSite
from gateway.config import Site
from gateway.web.part import PartInput
from gateway.web.view import Reminder


class NeedsSettings(msgspec.Struct, frozen=True):
    """The configuration of needs; None if they are not registered."""

    reception: Reception | None = None


def settings(site: Site) -> NeedsSettings:
    """The settings of a site."""
    return NeedsSettings(site.part(NeedsSite).reception)


class NeedsView(msgspec.Struct, frozen=True):
    """Counts of needs that need attention."""

    new: int = 0
    overdue: int = 0
    phones_can_register: bool = False
    """Whether phones have an address to open, and may register."""


def needs_view(settings: NeedsSettings, part_input: PartInput) -> NeedsView:
    """The view of the service's summary."""
    summary = part_input.snapshot.samples.get(Needs.name)
    values = summary.body["values"] if summary else {}
    reception = settings.reception
    return NeedsView(
        new=values.get("new", 0),
        overdue=values.get("overdue", 0),
        phones_can_register=bool(reception and reception.address and reception.phone_per_hour),
    )


def reminders(part: NeedsView) -> Iterable[Reminder]:
    """New and overdue needs."""
    return [
        Reminder("dashboard.remind-needs-new", part.new, "/needs?state=registered", order=40),
        Reminder("dashboard.remind-needs-overdue", part.overdue, "/needs?overdue=1", order=40),
    ]
