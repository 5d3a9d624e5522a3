"""Passwords as argon2id hashes (RFC 9106), in the PHC string format.

Hashing takes up to a tenth of a second and 19 MiB: call it in a thread.
"""

from __future__ import annotations

import os
import re
import unicodedata

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

MIN_PASSWORD_CHARACTERS = 8
"""NIST SP 800-63B, 3.1.1."""
MAX_PASSWORD_CHARACTERS = 256
MEMORY_KIB, ITERATIONS, LANES = 19_456, 2, 1
"""The OWASP Password Storage Cheat Sheet's least setting: a login must not starve a small machine."""
SALT_BYTES, HASH_BYTES = 16, 32
HASH_PATTERN = re.compile(
    r"\$argon2id\$v=19\$m=[1-9]\d{3,5},t=[1-9]\d?,p=[1-4]\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}"
)
"""Hashes of `hash_password`, perhaps of another setting; none that takes more than 1 GB."""


def hash_password(password: str) -> str:
    """The PHC string of a new password."""
    salt = os.urandom(SALT_BYTES)
    hasher = Argon2id(
        salt=salt, length=HASH_BYTES, iterations=ITERATIONS, lanes=LANES, memory_cost=MEMORY_KIB
    )
    return hasher.derive_phc_encoded(_encoded(password))


def is_password_of(password: str, password_hash: str) -> bool:
    """Whether the hash is that of the password."""
    try:
        Argon2id.verify_phc_encoded(_encoded(password), password_hash)
    except InvalidKey:
        return False
    return True


def _encoded(password: str) -> bytes:
    """The same bytes whatever keyboard it was typed on (SP 800-63B: Unicode is normalised)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
