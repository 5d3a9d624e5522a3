"""Alarms: the rules that raise them, their states, and the outputs that they switch on."""

from .output_rules import OUTPUTS_DEVICE, Output, alarms_requiring
from .rule_evaluator import RuleChange, RuleEvaluator
from .rules import LINK_POINT, LocalClock, Rule, RuleCondition, rule_of_point, rules_of_device
from .service import Alarm, AlarmMode, Safety
from .state_machine import TRANSITIONS, AlarmEvent, AlarmState

__all__ = [
    "LINK_POINT",
    "OUTPUTS_DEVICE",
    "TRANSITIONS",
    "Alarm",
    "AlarmEvent",
    "AlarmMode",
    "AlarmState",
    "LocalClock",
    "Output",
    "Rule",
    "RuleChange",
    "RuleCondition",
    "RuleEvaluator",
    "Safety",
    "alarms_requiring",
    "rule_of_point",
    "rules_of_device",
]
