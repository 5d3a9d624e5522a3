"""What the gateway talks about: devices, samples, facts, records, commands, and the driver contract.

Nothing here does I/O, and nothing here imports anything of ours: every other module imports this one.
"""

from gateway.model.alarm import LATCHING_HAZARDS, AlarmSpec, Hazard, Limit
from gateway.model.checks import (
    LINE_CHECKS,
    MAX_DELAY_S,
    Checks,
    has_user,
    is_delay_s,
    is_host,
    is_server_url,
)
from gateway.model.command import MILD_ACTIONS, Argument, Command, Id, Integer, Name, Outcome
from gateway.model.device import (
    FAILURES_UNTIL_OFFLINE,
    Action,
    Calibration,
    Device,
    ListenerAction,
    Point,
    decimals_of_scale,
    stale_after_s,
)
from gateway.model.device_time import parse_device_time
from gateway.model.driver import Bus, Driver, Listener, OverheardDevice, Scan, UnknownSender
from gateway.model.errors import ConfigError, FailureKind, GatewayError, LinkDown, ReadFailed, as_fact
from gateway.model.record import (
    GATEWAY_DEVICE,
    UNKNOWN_FIRE_POINT,
    UPLINK_DEVICE,
    Fact,
    Lane,
    Record,
    uplink_device,
)
from gateway.model.role import Role
from gateway.model.sample import MORE_PLACES, Arrival, Quality, Raw, Sample, StoredReading, Value
from gateway.model.sentence import Sentence, cause_of, duration, sentence
from gateway.model.service import (
    ConfigurationAdopted,
    Message,
    Replacement,
    Revision,
    Row,
    RowChanges,
    Rows,
    Service,
    Tick,
)
from gateway.model.time import Clock, ClockQuality, Stamp

__all__ = [
    "FAILURES_UNTIL_OFFLINE",
    "GATEWAY_DEVICE",
    "LATCHING_HAZARDS",
    "LINE_CHECKS",
    "MAX_DELAY_S",
    "MILD_ACTIONS",
    "MORE_PLACES",
    "UNKNOWN_FIRE_POINT",
    "UPLINK_DEVICE",
    "Action",
    "AlarmSpec",
    "Argument",
    "Arrival",
    "Bus",
    "Calibration",
    "Checks",
    "Clock",
    "ClockQuality",
    "Command",
    "ConfigError",
    "ConfigurationAdopted",
    "Device",
    "Driver",
    "Fact",
    "FailureKind",
    "GatewayError",
    "Hazard",
    "Id",
    "Integer",
    "Lane",
    "Limit",
    "LinkDown",
    "Listener",
    "ListenerAction",
    "Message",
    "Name",
    "Outcome",
    "OverheardDevice",
    "Point",
    "Quality",
    "Raw",
    "ReadFailed",
    "Record",
    "Replacement",
    "Revision",
    "Role",
    "Row",
    "RowChanges",
    "Rows",
    "Sample",
    "Scan",
    "Sentence",
    "Service",
    "Stamp",
    "StoredReading",
    "Tick",
    "UnknownSender",
    "Value",
    "as_fact",
    "cause_of",
    "decimals_of_scale",
    "duration",
    "has_user",
    "is_delay_s",
    "is_host",
    "is_server_url",
    "parse_device_time",
    "sentence",
    "stale_after_s",
    "uplink_device",
]
