"""Parking bays: free or taken."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="parking",
    order=30,
)
