"""PINs: short numbers with which people sign what they do on a screen that a manager has bound.

They are hashed as passwords are. A screen takes few wrong ones, and nothing else takes any.
"""

from __future__ import annotations

import re

from gateway.model import ConfigError

MIN_PIN_DIGITS, MAX_PIN_DIGITS = 6, 12
"""NIST SP 800-63B, 3.1.1.2: at least six for a number that is checked by a server."""
PIN_PATTERN = re.compile(rf"[0-9]{{{MIN_PIN_DIGITS},{MAX_PIN_DIGITS}}}")
_COUNTING = "0123456789" * 2


def check_new_pin(pin: str) -> None:
    """Raises `ConfigError` if nobody may have that PIN: it is no number of that length, or the first guess
    of anybody (up to three digits repeated, or counting up or down)."""
    if not PIN_PATTERN.fullmatch(pin):
        raise ConfigError("pin-form", least=MIN_PIN_DIGITS, most=MAX_PIN_DIGITS)
    repeats = any(pin == (pin[:length] * len(pin))[: len(pin)] for length in (1, 2, 3))
    if repeats or pin in _COUNTING or pin[::-1] in _COUNTING:
        raise ConfigError("pin-guessed")
