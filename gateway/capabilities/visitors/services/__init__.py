"""The visitor service: how many people came, left and are inside, by door, room and centre, and the
attendance of bookings."""

from .bookings import ACTIVITY, MAX_ADVANCE_MS, MAX_DURATION_MS, MAX_WEEKS, TOUR, VisitBooking
from .counters import COUNTER_KIND, Counter, counts_visitors
from .known_counts import KnownPlace, is_heard, known_place
from .layout import CENTRE, OUTSIDE, Door, Layout, Room, reachable, with_counters
from .occupancy import Drift, Flow, Place
from .opening_hours import Day
from .service import Visitors
from .transition import BOOKING_PREFIX, COUNTER_PREFIX, DAY_KEY, DOOR_PREFIX, PLACE_PREFIX, DoorTally

__all__ = [
    "ACTIVITY",
    "BOOKING_PREFIX",
    "CENTRE",
    "COUNTER_KIND",
    "COUNTER_PREFIX",
    "DAY_KEY",
    "DOOR_PREFIX",
    "MAX_ADVANCE_MS",
    "MAX_DURATION_MS",
    "MAX_WEEKS",
    "OUTSIDE",
    "PLACE_PREFIX",
    "TOUR",
    "Counter",
    "Day",
    "Door",
    "DoorTally",
    "Drift",
    "Flow",
    "KnownPlace",
    "Layout",
    "Place",
    "Room",
    "VisitBooking",
    "Visitors",
    "counts_visitors",
    "is_heard",
    "known_place",
    "reachable",
    "with_counters",
]
