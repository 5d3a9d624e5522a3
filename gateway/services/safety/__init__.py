"""Safety: alarms from rules, and what people do about them."""

from .machine import ARROWS, Event, State, diagram
from .rules import LINK, Condition, Judge, Rule
from .service import GATEWAY, Alarm, Mode, Safety

__all__ = [
    "ARROWS",
    "GATEWAY",
    "LINK",
    "Alarm",
    "Condition",
    "Event",
    "Judge",
    "Mode",
    "Rule",
    "Safety",
    "State",
    "diagram",
]
