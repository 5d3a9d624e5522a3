"""The icons of the pages, by the trade's names. The only file that uses Heroicons; of that package only its
archive, whose directory the package would read again for each icon."""

from __future__ import annotations

import functools
import re
from importlib.resources import files
from zipfile import ZipFile

import heroicons

from .templating import Markup

HEROICONS = {
    "check": "check",
    "warn": "exclamation-triangle",
    # Hazards
    "fire": "fire",
    "electrical": "bolt",
    "sos": "bell-alert",
    "tamper": "lock-open",
    "fault": "wrench",
    "crowd": "users",
    # Devices
    "good": "check",
    "uncertain": "question-mark-circle",
    "not-heard": "minus",
    "stale": "clock",
    "offline": "x-mark",
    # Places
    "free": "stop",
    "occupied": "cube",
    "open": "lock-open",
    "shut": "lock-closed",
    "unknown": "question-mark-circle",
    # Acts
    "mute": "speaker-x-mark",
    "exit": "arrow-right-start-on-rectangle",
}
"""By our name: theirs, of the outlined style."""
RESIDENT_HEROICONS = {
    "register": "pencil-square",
    "look-up": "magnifying-glass",
    "speak": "speaker-wave",
    "advice": "chat-bubble-left-right",
    "repair": "wrench-screwdriver",
    "elderly-care": "home",
    "childcare": "puzzle-piece",
    "health": "heart",
    "mediation": "scale",
    "sanitation": "trash",
    "parking": "truck",
    "paperwork": "document-text",
    "complaint": "megaphone",
    "other": "ellipsis-horizontal-circle",
}
"""Those of the kiosk for residents, which no other page has."""
DRAWN = {
    "gas": "M3 9h10.5a2.8 2.8 0 1 0-2.7-3.6M3 13h15.5a2.8 2.8 0 1 1-2.7 3.6M3 17h7.5a2.3 2.3 0 1 1-2.2 3",
    "water": "M12 3c3.5 4.3 6 7.2 6 10.5a6 6 0 0 1-12 0C6 10.2 8.5 7.3 12 3z",
    "food": "M14 14.3V5a2.5 2.5 0 0 0-5 0v9.3a4.2 4.2 0 1 0 5 0zM11.5 8v9",
}
"""The paths of what Heroicons lack: moving air, a drop, a thermometer."""
LICENCE = "<!-- Heroicons, MIT License, Copyright (c) Tailwind Labs, Inc. -->"


@functools.cache
def icon_symbols(*, for_residents: bool = False) -> Markup:
    """All icons as SVG symbols `i-name`, for the top of a page; its style draws the lines."""
    icons = RESIDENT_HEROICONS if for_residents else HEROICONS
    with (files(heroicons) / "heroicons.zip").open("rb") as file, ZipFile(file) as archive:
        paths = {
            name: re.findall(r' d="([^"]+)"', archive.read(f"outline/{icon}.svg").decode())
            for name, icon in icons.items()
        }
    if not for_residents:
        paths |= {name: [path] for name, path in DRAWN.items()}
    text = f'<svg class="icons" aria-hidden="true" focusable="false">{LICENCE}'
    for name, found in paths.items():
        drawn = "".join(f'<path d="{each}"/>' for each in found)
        text += f'<symbol id="i-{name}" viewBox="0 0 24 24">{drawn}</symbol>'
    return Markup(f"{text}</svg>")
