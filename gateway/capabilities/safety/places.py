"""The places behind a device, in words."""

from __future__ import annotations

from gateway.model import MORE_PLACES
from gateway.words import translate


def place_text(language: str, place: str, where: str) -> str:
    """A place for people: its name and its address."""
    if place == MORE_PLACES:
        return translate(language, "notice.more-places")
    return f"{where} {place}".strip()
