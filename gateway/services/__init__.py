"""The core's own services: commands, the configuration, who is online, what drivers remember, time."""

from gateway.model import Service

from .commands import Commands
from .configuration import Configuration
from .memory import Memory
from .presence import Presence
from .timekeeping import Timekeeping

CORE_SERVICES: tuple[type[Service], ...] = (Memory, Presence, Timekeeping, Configuration, Commands)
