"""Configuration: one fact for each revision that was adopted, and for each device that it replaces."""

from __future__ import annotations

import msgspec

from gateway.model import (
    GATEWAY_DEVICE,
    ConfigurationAdopted,
    Fact,
    Lane,
    Message,
    Revision,
    RowChanges,
    Rows,
    Service,
)

MAX_REVISIONS = 32
"""The newest are kept."""


class Configuration(Service):
    """Records revisions; the key of a row is the revision's number."""

    name = "configuration"
    row = Revision

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if not isinstance(message, ConfigurationAdopted) or str(message.revision.number) in rows:
            return {}, []
        revision = message.revision
        changes: RowChanges = {key: None for key in rows if int(key) <= revision.number - MAX_REVISIONS}
        body = msgspec.structs.asdict(revision)
        del body["at"]
        fact = Fact(Lane.EVENT, GATEWAY_DEVICE, "config", revision.at, body, durable=True)
        by = revision.person or revision.by
        replaced = (
            Fact(
                Lane.EVENT, each.device, "device-replaced", revision.at,
                {**msgspec.structs.asdict(each), "by": by}, durable=True,
            )
            for each in message.replacements
        )  # fmt: skip
        return {**changes, str(revision.number): revision}, [fact, *replaced]


def newest_revision(rows: Rows) -> int:
    """The number of the last revision; 0 before the first."""
    return max(map(int, rows), default=0)
