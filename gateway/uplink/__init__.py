"""Delivery of the journal to each platform: a cursor per lane, and a dialect of its own."""

from .factory import build_dialect, dialect_inputs
from .filter import filter_of
from .native import NativeDialect
from .uplink import ALARM_DELAY_BUCKETS_S, Uplink, origin_of

__all__ = [
    "ALARM_DELAY_BUCKETS_S",
    "NativeDialect",
    "Uplink",
    "build_dialect",
    "dialect_inputs",
    "filter_of",
    "origin_of",
]
