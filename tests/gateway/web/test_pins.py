"""PINs that may be had."""

from __future__ import annotations

import pytest

from gateway.model import ConfigError
from gateway.web.pins import check_new_pin


@pytest.mark.parametrize("pin", ["274951", "0274951", "112358132134", "199812"])
def test_a_pin_that_nobody_guesses_first(pin: str) -> None:
    check_new_pin(pin)


@pytest.mark.parametrize(
    "pin",
    ["", "27495", "2749511111111", "２７４９５１", "27495a", "-27495", "000000", "121212", "123123",
     "1231231", "123456", "12345678", "654321", "098765", "789012"],
)  # fmt: skip
def test_a_pin_that_is_none_or_that_everybody_tries(pin: str) -> None:
    with pytest.raises(ConfigError):
        check_new_pin(pin)
