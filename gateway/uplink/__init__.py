"""Delivering the journal to the platform: three readers with cursors, on one MQTT connection."""

from .native import Native
from .uplink import DELAYS, Uplink

__all__ = ["DELAYS", "Native", "Uplink"]
