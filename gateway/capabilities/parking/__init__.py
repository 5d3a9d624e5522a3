"""Parking bays: free or taken."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="parking",
    site="gateway.capabilities.parking.site",
    pages="gateway.capabilities.parking.pages",
    order=30,
)
