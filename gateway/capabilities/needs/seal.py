"""Sealing: AES-256-GCM by the library `cryptography`; the only file here that knows it.

Each need has a key of its own, sealed by the master key: who destroys the one has destroyed the text.
"""

from __future__ import annotations

import os

from gateway.model import GatewayError

KEY = 32
NONCE = 12


def new_key() -> bytes:
    """256 random bits."""
    return os.urandom(KEY)


def seal(key: bytes, plain: bytes, bound: str) -> bytes:
    """A fresh nonce, then the text and its tag; it opens for the same `bound` only."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound.encode())


def unseal(key: bytes, sealed: bytes, bound: str) -> bytes:
    """Raises `GatewayError`: another key, another place or other bytes."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], bound.encode())
    except (InvalidTag, ValueError) as error:
        raise GatewayError("needs-unseal") from error
