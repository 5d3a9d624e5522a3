"""Requests: clicks that become commands. Each is checked against the view before the daemon is called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec

from gateway.model import GATEWAY_DEVICE, Role

from .settings import Settings
from .view import View

_WORD_START = re.compile("(?<!^)(?=[A-Z])")

NonEmptyText = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
"""Text that a person must enter."""
PeopleCount = Annotated[int, msgspec.Meta(ge=0, le=99_999)]
DurationS = Annotated[int, msgspec.Meta(ge=60, le=86_400)]


class RequestContext(NamedTuple):
    """The state of the dashboard when a request is made."""

    settings: Settings
    view: View
    part: Any
    """The view of the part that the request belongs to."""
    lang: str


class Target(NamedTuple):
    """The devices that a command goes to, in this order, and values for the sentence about it."""

    devices: Sequence[str] = (GATEWAY_DEVICE,)
    facts: Mapping[str, str] = {}
    refusal: str = ""
    """Without devices, the key of the answer, where it is not the request's `no_target_sentence`."""


NO_TARGET = Target(())
"""The request names something that does not exist."""


class CommandRequest(
    msgspec.Struct, frozen=True, tag_field="action", tag=lambda name: _WORD_START.sub("-", name).lower()
):
    """A request has the name of the command that it becomes; its fields are the command's arguments."""

    role: ClassVar[Role] = Role.INSTALLER
    """The least role that may make the request; each request declares its own."""
    no_target_sentence: ClassVar[str] = "dashboard.form-wrong"
    """The key of the answer when there is no target."""

    @property
    def tag(self) -> str:
        """The name of the request."""
        return str(type(self).__struct_config__.tag)

    @property
    def action(self) -> str:
        """The name of the command."""
        return self.tag

    def least_role(self, _context: RequestContext) -> Role:
        """The least role that may make this one request."""
        return self.role

    def target(self, _context: RequestContext) -> Target:
        """The target of the command; `NO_TARGET` if the request is not possible now."""
        return Target()

    def arguments(self, _context: RequestContext) -> dict[str, Any]:
        """The arguments of the command."""
        return msgspec.structs.asdict(self)

    def done_sentence(self, _context: RequestContext) -> str:
        """The key of the sentence when it is done; the arguments and the target's facts are its values."""
        return f"dashboard.done-{self.tag}"


class DeviceRequest(CommandRequest, frozen=True):
    """A request that concerns a configured device."""

    device: str

    def arguments(self, context: RequestContext) -> dict[str, Any]:
        arguments = super().arguments(context)
        del arguments["device"]
        return arguments
