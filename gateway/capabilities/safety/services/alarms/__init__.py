"""Safety: alarms from rules, and what people do about them."""

from .output_rules import Output, asking
from .rules import LINK, Condition, Judge, Local, Rule, Verdict, of_point, of_profile
from .service import Alarm, Mode, Safety
from .state_machine import ARROWS, Event, State, diagram

__all__ = [
    "ARROWS",
    "LINK",
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
