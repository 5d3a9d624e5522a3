"""What people are told when a booking is refused."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.model import GatewayError, Sentence, sentence
from gateway.scheduling.resource import DAY_MS, MINUTE_MS, Resource
from gateway.scheduling.schedule import BookingRefusal


def booking_error(
    refusal: BookingRefusal, resource: Resource, zone: ZoneInfo, taken_by: str = ""
) -> GatewayError:
    """The error with the reason, and the nearest free time. `taken_by`: the title of the booking that is in
    the way."""
    nearest: Sentence | str = ""
    if refusal.nearest is not None:
        local = datetime.fromtimestamp(refusal.nearest / 1000, zone)
        nearest = sentence("booking.nearest", when=f"{local:%Y-%m-%d %H:%M}")
    quota = resource.quota
    facts: dict[str, dict[str, object]] = {
        "far": {"days": resource.ahead_ms // DAY_MS},
        "short": {"minutes": resource.shortest_ms // MINUTE_MS},
        "long": {"minutes": resource.longest_ms // MINUTE_MS},
        "closed": {"nearest": nearest},
        "taken": {"title": taken_by, "nearest": nearest},
        "quota": {
            "minutes": quota.minutes if quota else 0,
            "period": sentence(f"quota-period.{quota.period}") if quota else "",
        },
    }
    return GatewayError(f"booking-{refusal.reason}", **facts.get(refusal.reason, {}))
