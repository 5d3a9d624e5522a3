"""Hashes, also of a foreign implementation."""

from __future__ import annotations

import pytest

from gateway.web.passwords import HASH_PATTERN, hash_password, is_password_of

OURS = f"$argon2id$v=19$m=19456,t=2,p=1${'A' * 22}${'A' * 43}"
FOREIGN = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
"""Of the reference implementation: its src/test.c, version 0x13, "password", "somesalt"."""


def test_a_hash_is_good_for_its_password_alone() -> None:
    hashed = hash_password("correct horse")
    assert HASH_PATTERN.fullmatch(hashed)
    assert is_password_of("correct horse", hashed)
    assert not any(is_password_of(wrong, hashed) for wrong in ("", "Correct horse", "correct horse "))
    assert hash_password("correct horse") != hashed, "each has its own salt"


def test_a_hash_of_the_reference_implementation_is_understood() -> None:
    assert is_password_of("password", FOREIGN)
    assert not is_password_of("Password", FOREIGN)


def test_a_password_is_the_same_on_every_keyboard() -> None:
    assert is_password_of("cafe\u0301-au-lait", hash_password("caf\u00e9-au-lait"))


@pytest.mark.parametrize(
    "text",
    ["", "secret", FOREIGN, OURS[:-1], OURS.replace("m=19456", "m=99999999")],
)
def test_what_is_no_hash_of_ours_is_told(text: str) -> None:
    assert HASH_PATTERN.fullmatch(OURS)
    assert not HASH_PATTERN.fullmatch(text)
