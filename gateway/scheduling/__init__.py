"""What is shared by the hour: when it is open, who has booked it, and when it is free. Pure.

Times are Unix milliseconds, and intervals half-open: what ends at ten is free at ten. Opening hours are
local wall-clock times; `Opening.intervals` turns them into such intervals.
"""

from gateway.scheduling.agenda import Agenda
from gateway.scheduling.booking import Booking, BookingState
from gateway.scheduling.holidays import NO_HOLIDAYS, DayKind, HolidayCalendar
from gateway.scheduling.opening import ALWAYS_OPEN, Interval, Opening, instant_of
from gateway.scheduling.refusals import booking_error
from gateway.scheduling.resource import Quota, QuotaPeriod, Resource
from gateway.scheduling.schedule import BookingRefusal, ResourceStatus, Schedule, StatusKind

__all__ = [
    "ALWAYS_OPEN",
    "NO_HOLIDAYS",
    "Agenda",
    "Booking",
    "BookingRefusal",
    "BookingState",
    "DayKind",
    "HolidayCalendar",
    "Interval",
    "Opening",
    "Quota",
    "QuotaPeriod",
    "Resource",
    "ResourceStatus",
    "Schedule",
    "StatusKind",
    "booking_error",
    "instant_of",
]
