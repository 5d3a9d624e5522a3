"""Plans of the centre's floors, with the devices in their places."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="floors",
    site="gateway.capabilities.floors.site",
    pages="gateway.capabilities.floors.pages",
    order=60,
)
