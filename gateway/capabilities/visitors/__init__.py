"""Visitors: counted, booked, analysed."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="visitors",
    site="gateway.capabilities.visitors.site",
    jobs="gateway.capabilities.visitors.jobs",
    pages="gateway.capabilities.visitors.pages",
    order=10,
    commands={
        "visitors": "gateway.capabilities.visitors.commands.visitors",
        "count-visitors": "gateway.capabilities.visitors.commands.count_visitors",
    },
)
