"""What residents ask for: registered, followed up, and erased in time."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="needs",
    pages="gateway.capabilities.needs.pages",
    order=20,
    commands={
        "needs": "gateway.capabilities.needs.commands.needs",
    },
)
