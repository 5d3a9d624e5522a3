"""Delivery of the journal to each platform: a cursor per lane, and a dialect of its own."""

from .filter import filter_of
from .native import NativeDialect
from .uplink import ALARM_DELAY_BUCKETS_S, Uplink, origin_of

__all__ = [
    "ALARM_DELAY_BUCKETS_S",
    "NativeDialect",
    "Uplink",
    "filter_of",
    "origin_of",
    "uplink_device",
]
