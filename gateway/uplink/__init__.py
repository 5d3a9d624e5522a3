"""Delivery of the journal to the platform: one cursor per lane, on one MQTT connection."""

from .native import NativeDialect
from .uplink import ALARM_DELAY_BUCKETS_S, Uplink

__all__ = ["ALARM_DELAY_BUCKETS_S", "NativeDialect", "Uplink"]
