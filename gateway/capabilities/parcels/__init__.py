"""Parcel lockers: compartments, their doors and what is in them."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="parcels",
    site="gateway.capabilities.parcels.site",
    pages="gateway.capabilities.parcels.pages",
    order=40,
)
