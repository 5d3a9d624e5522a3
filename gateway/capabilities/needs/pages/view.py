"""The view of residents' needs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from gateway.capabilities.needs.notices import PublicNotice, shown_notices
from gateway.capabilities.needs.services import DAY_S, Need, Needs, NeedState, Reception
from gateway.capabilities.needs.site import NeedsSite
from gateway.config import Site
from gateway.model import RowChanges
from gateway.web.gallery import GalleryMoment, SampleFiles
from gateway.web.part import PartInput
from gateway.web.view import Reminder

SAMPLE_NEED = "10000001"


class NeedsSettings(msgspec.Struct, frozen=True):
    """The configuration of needs, None if they are not registered, and public notices."""

    reception: Reception | None = None
    notices: Mapping[str, PublicNotice] = {}
    timezone: str = "UTC"


def settings(site: Site) -> NeedsSettings:
    """The settings of a site."""
    part = site.part(NeedsSite)
    return NeedsSettings(part.reception, part.notices, site.centre.timezone)


class NeedsView(msgspec.Struct, frozen=True):
    """Counts of needs that need attention, and the notices that are shown now."""

    new: int = 0
    overdue: int = 0
    phones_can_register: bool = False
    """Whether phones have an address to open, and may register."""
    notices: tuple[dict[str, str], ...] = ()
    """By language."""


def needs_view(settings: NeedsSettings, part_input: PartInput) -> NeedsView:
    """The view of the service's summary."""
    summary = part_input.snapshot.samples.get(Needs.name)
    values = summary.body["values"] if summary else {}
    reception = settings.reception
    return NeedsView(
        new=values.get("new", 0),
        overdue=values.get("overdue", 0),
        phones_can_register=bool(reception and reception.address and reception.phone_per_hour),
        notices=shown_notices(settings.notices, part_input.now.wall_ms, settings.timezone),
    )


def sample(moment: GalleryMoment) -> NeedsView:
    """The view at a moment of the gallery."""
    if moment.state == "empty":
        return NeedsView()
    notice = {
        "zh": "12 月 3 日（周四）8:00–12:00 停水检修，请提前储水。",
        "en": "No water on Thursday 3 December, 8:00 to 12:00: please store some.",
    }
    return NeedsView(phones_can_register=moment.is_known, notices=(notice,))


def fill_sample(settings: NeedsSettings, files: SampleFiles) -> None:
    """A need in each state, from `SAMPLE_NEED` on."""
    categories = list(settings.reception.categories) if settings.reception else []
    needs: RowChanges = {
        str(int(SAMPLE_NEED) + number): Need(
            category=categories[number % len(categories)], channel="kiosk", state=state,
            created=files.ago(DAY_S * (number + 1)), overdue=number == 1,
            due=files.ago(DAY_S * (number - 3)).wall_ms,
            sealed=True,
        )
        for number, state in enumerate(NeedState if categories else ())
    }  # fmt: skip
    files.journal.append(Needs.name, [], needs)


def reminders(part: NeedsView) -> Iterable[Reminder]:
    """New and overdue needs."""
    return [
        Reminder("dashboard.remind-needs-new", part.new, "/needs?state=registered", order=40),
        Reminder("dashboard.remind-needs-overdue", part.overdue, "/needs?overdue=1", order=40),
    ]
