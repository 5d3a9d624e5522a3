"""Which streams a reader of the journal receives. Pure."""

from __future__ import annotations

import msgspec

from gateway.model import Lane


class StreamFilter(msgspec.Struct, frozen=True):
    """The streams of these lanes and devices; None: of every device, also of those that come later."""

    lanes: frozenset[Lane] = frozenset(Lane)
    devices: frozenset[str] | None = None

    def selects(self, lane: Lane, device: str) -> bool:
        return lane in self.lanes and (self.devices is None or device in self.devices)

    def to_text(self) -> str:
        """As the journal stores it."""
        return "" if self == StreamFilter() else msgspec.json.encode(self, order="deterministic").decode()

    @staticmethod
    def from_text(text: str) -> StreamFilter:
        return msgspec.json.decode(text, type=StreamFilter) if text else StreamFilter()
