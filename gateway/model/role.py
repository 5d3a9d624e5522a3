"""The roles of people. Each page, each command and each action of a device declares the least role that it
needs."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """From the least to the most: each may do all that those before it may."""

    DISPLAY = "display"
    """A public screen: sees, and does nothing."""
    DUTY = "duty"
    """Whoever is on duty: alarms, plans, patrols, tests, residents' needs, bookings."""
    MANAGER = "manager"
    """Whatever weakens protection or opens something, and exports."""
    INSTALLER = "installer"
    """Lines, cameras, and whatever the others may not. Whoever has the access key has this role."""

    def includes(self, other: Role) -> bool:
        """Whether whoever has this role may do what needs the other one."""
        roles = list(Role)
        return roles.index(self) >= roles.index(other)
