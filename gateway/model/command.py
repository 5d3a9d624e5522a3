"""Commands from people and platforms, and how they ended."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway.model.time import Stamp

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(?!\s)$")]
"""A device name; it becomes part of topics, so names from outside are checked."""
Argument = bool | Integer | float | Annotated[str, msgspec.Meta(max_length=256)]
"""An argument of a command from outside; its size is bounded."""


READ_NOW, DIAGNOSE, SET_THRESHOLD, CONFIGURE = "read-now", "diagnose", "set-threshold", "configure"
GATEWAY_ACTIONS = frozenset({READ_NOW, DIAGNOSE, SET_THRESHOLD, CONFIGURE})
"""What the gateway itself does for a platform."""
MILD_ACTIONS = frozenset({"acknowledge", "mute", READ_NOW, DIAGNOSE})
"""The platform's commands that need no signature: they open, switch and change nothing."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command of a person or the platform, received `at`. `expires` is Unix time in milliseconds."""

    id: Id
    at: Stamp
    device: Name
    action: Id
    args: dict[str, Argument] = {}
    expires: Integer
    origin: str
    """`upstream`, `dashboard` or `console`; each has its own allowed actions."""
    by: str = ""
    """The person, for the audit."""
    key: str = ""
    """The id of the key with which the platform has signed it; empty without a valid signature."""
    attachment: str = ""
    """A text that is too long for an argument. `args["sha256"]` is its digest, in hexadecimal: the text
    itself is not recorded."""
    objection: str = ""
    """Why whoever sent it may not, as a key of the table `error` in `words/`."""


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended: `done`, `failed`, `denied` or `unknown` (interrupted by a power cut)."""

    command: str
    status: str
    at: Stamp
    detail: str = ""
    facts: dict[str, Any] = {}
    """What is in the sentence `error.{detail}`."""
