"""What residents ask for: registered, followed up, and erased in time."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="needs",
    site="gateway.capabilities.needs.site",
    jobs="gateway.capabilities.needs.jobs",
    order=20,
    commands={
        "needs": "gateway.capabilities.needs.commands.needs",
    },
)
