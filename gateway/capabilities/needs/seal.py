"""Authenticated encryption: AES-256-GCM by the library `cryptography`.

Each need has its own key, sealed by the master key: destroying that key destroys the text.
"""

from __future__ import annotations

import os

from gateway.model import GatewayError

KEY_BYTES = 32
NONCE_BYTES = 12


def new_key() -> bytes:
    """256 random bits."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, plaintext: bytes, binding: str) -> bytes:
    """Returns nonce, ciphertext and tag; only `unseal` with the same `binding` opens it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, binding.encode())


def unseal(key: bytes, sealed: bytes, binding: str) -> bytes:
    """Raises `GatewayError` if key or binding differ, or the bytes were altered."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], binding.encode())
    except (InvalidTag, ValueError) as error:
        raise GatewayError("needs-unseal") from error
