"""Meeting rooms: which are in use. A capability of the kind that a stranger adds; see `test_added.py`."""

from gateway.config.capability import Capability

CAPABILITY = Capability(
    name="meeting_rooms",
    site="gateway.capabilities.meeting_rooms.site",
    pages="gateway.capabilities.meeting_rooms.pages",
    jobs="gateway.capabilities.meeting_rooms.jobs",
    commands={"meeting-rooms": "gateway.capabilities.meeting_rooms.commands.meeting_rooms"},
)
