"""Parcel lockers: compartments, their doors and what is in them."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="parcels",
    pages="gateway.capabilities.parcels.pages",
    order=40,
)
