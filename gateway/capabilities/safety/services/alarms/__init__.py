"""Safety: alarms from rules, and what people do about them."""

from .output_rules import Output, alarms_requiring
from .rules import (
    LINK_POINT,
    Condition,
    LocalClock,
    Rule,
    RuleChange,
    RuleEvaluator,
    rule_of_point,
    rules_of_device,
)
from .service import Alarm, Mode, Safety
from .state_machine import TRANSITIONS, AlarmEvent, State, state_diagram

__all__ = [
    "LINK_POINT",
    "TRANSITIONS",
    "Alarm",
    "AlarmEvent",
    "Condition",
    "LocalClock",
    "Mode",
    "Output",
    "Rule",
    "RuleChange",
    "RuleEvaluator",
    "Safety",
    "State",
    "alarms_requiring",
    "rule_of_point",
    "rules_of_device",
    "state_diagram",
]
