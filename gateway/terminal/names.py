"""Names that a person types: what they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from gateway.model import GatewayError


def nearest_name(typed: str, known: Iterable[str]) -> str:
    """The name that is most like what was typed; empty if none is."""
    by_form = {_form(name): name for name in known}
    found = difflib.get_close_matches(_form(typed), by_form, 1)
    return by_form[found[0]] if found else ""


def unknown_name(kind: str, typed: str, known: Iterable[str]) -> GatewayError:
    """The error for a name that does not exist, `{kind}-none`; `{kind}-misspelt` if another one is very
    like it."""
    names = list(known)
    if near := nearest_name(typed, names):
        return GatewayError(f"{kind}-misspelt", typed=typed, near=near)
    return GatewayError(f"{kind}-none", typed=typed, known=", ".join(names) or "–")


def _form(name: str) -> str:
    return name.lower().replace("_", "-").lstrip("-")
