"""Visitors: who came, who left, who is inside, by door, room and centre, and whom they came for."""

from .bookings import ACTIVITY, TOUR, Booking
from .counters import KIND, Counter, counts
from .layout import CENTRE, OUTSIDE, Door, Layout, Room, reachable, with_counters
from .occupancy import Drift, Flow, Place
from .opening_hours import Day
from .service import Visitors
from .transition import BOOKING, COUNTER, DAY, DOOR, PLACE, Tally

__all__ = [
    "ACTIVITY",
    "BOOKING",
    "CENTRE",
    "COUNTER",
    "DAY",
    "DOOR",
    "KIND",
    "OUTSIDE",
    "PLACE",
    "TOUR",
    "Booking",
    "Counter",
    "Day",
    "Door",
    "Drift",
    "Flow",
    "Layout",
    "Place",
    "Room",
    "Tally",
    "Visitors",
    "counts",
    "reachable",
    "with_counters",
]
