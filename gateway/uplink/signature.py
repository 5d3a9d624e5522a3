"""Signed commands: Ed25519 (RFC 8032) over canonical JSON (RFC 8785)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def signature_objection(
    keys: Mapping[str, str], key: str, signature: str, signed: Mapping[str, Any]
) -> str:
    """Why a signature does not count, as a key of the table `error` in `words/`; empty if it does.

    `keys`: public keys in Base64, by id; `signed`: what the signature must be of, with the members `id`,
    `device`, `action`, `expires`, `args`, `by` and `audience`.
    """
    if key not in keys:
        return "signature-key-unknown"
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(keys[key]))
        public.verify(base64.b64decode(signature, validate=True), rfc8785.dumps(dict(signed)))
    except (InvalidSignature, ValueError):
        return "signature-wrong"
    return ""
