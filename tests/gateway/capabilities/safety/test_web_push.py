"""The encryption of RFC 8291, and the gateway's own key."""

from __future__ import annotations

import stat
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.capabilities.safety.web_push import (
    RECORD_BYTES,
    PushKey,
    check_public_key,
    encrypted,
    key_file,
)
from gateway.model import GatewayError


def data(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


# RFC 8291, 5 and appendix A.
PHONE = data("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4")
AUTH = data("BTBZMqHH6r4Tts7J_aSIgg")
SALT = data("DGv6ra1nlYgDCS1FRnbzlw")
SENDER = int.from_bytes(data("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
BODY = data(
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w"
    "EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def test_the_example_of_the_standard() -> None:
    key = ec.derive_private_key(SENDER, ec.SECP256R1())
    assert encrypted(b"When I grow up, I want to be a watermelon", PHONE, AUTH, key, SALT) == BODY


def test_no_two_messages_have_the_same_key() -> None:
    assert encrypted(b"x", PHONE, AUTH)[:86] != encrypted(b"x", PHONE, AUTH)[:86]


def test_a_text_for_one_record() -> None:
    longest = RECORD_BYTES - 86 - 17
    assert len(encrypted(b"x" * longest, PHONE, AUTH)) == RECORD_BYTES
    with pytest.raises(ValueError, match="too long"):
        encrypted(b"x" * (longest + 1), PHONE, AUTH)


@pytest.mark.parametrize("point", [PHONE[:-1], b"\x04" + bytes(64), b"\x04" + b"\xff" * 64, b""])
def test_a_key_that_is_no_point_is_refused(point: bytes) -> None:
    check_public_key(PHONE)
    with pytest.raises(ValueError, match=r"."):
        check_public_key(point)


def test_the_key_is_made_once_and_nobody_else_reads_it(tmp_path: Path) -> None:
    access = tmp_path / "access.key"
    key = PushKey(access)
    assert PushKey(access).public == key.public
    assert len(data(key.public)) == 65
    assert stat.S_IMODE(key_file(access).stat().st_mode) == 0o600
    key_file(access).write_text("rubbish")
    with pytest.raises(GatewayError, match="push-key"):
        PushKey(access)
