"""Safety: alarms from rules, and what people do about them."""

from .machine import ARROWS, Event, State, diagram
from .outputs import OUTPUTS, Output, asking
from .rules import LINK, Condition, Judge, Local, Rule, Verdict, of_point, of_profile
from .service import Alarm, Mode, Safety

__all__ = [
    "ARROWS",
    "LINK",
    "OUTPUTS",
    "Alarm",
    "Condition",
    "Event",
    "Judge",
    "Local",
    "Mode",
    "Output",
    "Rule",
    "Safety",
    "State",
    "Verdict",
    "asking",
    "diagram",
    "of_point",
    "of_profile",
]
