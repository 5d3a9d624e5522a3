"""Commands from people and platforms, and how they ended."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.model.time import Stamp

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(?!\s)$")]
"""What a device may be called: names become topics, so a stranger's are checked before they travel."""
Argument = bool | Integer | float | Annotated[str, msgspec.Meta(max_length=256)]
"""What a stranger may say in a command: it must fit into the journal."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A wish of a person or a platform, as received `at`. `expires` is Unix time in milliseconds."""

    id: Id
    at: Stamp
    device: Name
    action: Id
    args: dict[str, Argument] = {}
    expires: Integer
    origin: str
    """`upstream`, `dashboard` or `console`: what may be asked depends on where it came from."""
    by: str = ""
    """Who asked, for the audit."""


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended: `done`, `failed`, `denied` or `unknown` (the power went in the middle)."""

    command: str
    status: str
    at: Stamp
    detail: str = ""
