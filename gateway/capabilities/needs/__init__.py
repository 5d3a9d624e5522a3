"""What residents ask for: registered, followed up, and erased in time."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="needs",
    site="gateway.capabilities.needs.site",
    jobs="gateway.capabilities.needs.jobs",
    pages="gateway.capabilities.needs.pages",
    order=20,
    commands={
        "needs": "gateway.capabilities.needs.commands.needs",
    },
)
