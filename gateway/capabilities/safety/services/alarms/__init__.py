"""Alarms: the rules that raise them, their states, and the outputs that they switch on."""

from .output_rules import OUTPUTS_DEVICE, Output, alarms_requiring
from .rule_evaluator import RuleChange, RuleEvaluator
from .rules import (
    LINK_POINT,
    UNUSABLE_POINT,
    LocalClock,
    Rule,
    RuleCondition,
    rule_of_point,
    rules_of_device,
    unusable_rules,
)
from .service import Alarm, AlarmMode, Safety, must_acknowledge_first
from .state_machine import TRANSITIONS, UNACKNOWLEDGED_STATES, AlarmEvent, AlarmState

__all__ = [
    "LINK_POINT",
    "OUTPUTS_DEVICE",
    "TRANSITIONS",
    "UNACKNOWLEDGED_STATES",
    "UNUSABLE_POINT",
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
    "must_acknowledge_first",
    "rule_of_point",
    "rules_of_device",
    "unusable_rules",
]
