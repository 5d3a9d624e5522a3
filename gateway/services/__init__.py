"""The core's own services: commands, configuration, presence, driver state, timekeeping."""

from gateway.model import Service

from .commands import Commands
from .configuration import Configuration
from .driver_state import DriverState
from .presence import Presence
from .timekeeping import Timekeeping

CORE_SERVICES: tuple[type[Service], ...] = (DriverState, Presence, Timekeeping, Configuration, Commands)
