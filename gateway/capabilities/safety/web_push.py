"""Messages to browsers by Web Push: encrypted for the browser (RFC 8291) and signed with the gateway's
own key (VAPID, RFC 8292).

The only file that uses py-vapid.
"""

from __future__ import annotations

import base64
import os
import struct
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from py_vapid import Vapid02  # type: ignore[import-untyped]

from gateway.base.files import create_durably
from gateway.model import GatewayError

TOKEN_LIFETIME_S = 12 * 3600
"""Of a signature; RFC 8292, 2: at most 24 hours. The clock of the gateway may be wrong by the rest."""
RECORD_BYTES = 4096
"""RFC 8291, 4: one record, which every push service takes."""
LAST_RECORD = b"\x02"
"""RFC 8188, 2: what ends the text of the last record."""
SALT_BYTES = 16


def key_file(access_key: Path) -> Path:
    """The file of the gateway's key, beside the access key."""
    return access_key.with_name("push-key.pem")


class PushKey:
    """The gateway's key: a push service takes messages for a subscription from nobody else."""

    def __init__(self, access_key: Path) -> None:
        """The key; created if there is none. Raises `GatewayError`: it cannot be read or written."""
        file = key_file(access_key)
        try:
            if not file.exists():
                create_durably(file, _pem(ec.generate_private_key(ec.SECP256R1())))
            key = serialization.load_pem_private_key(file.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise GatewayError("push-key", file=file, reason=error) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise GatewayError("push-key", file=file, reason="P-256")
        self._key = key

    @property
    def public(self) -> str:
        """The `applicationServerKey` of a subscription, in base64url."""
        return base64.urlsafe_b64encode(_point(self._key.public_key())).rstrip(b"=").decode()

    def authorization(self, endpoint: str, email: str, now_s: int) -> dict[str, str]:
        """The header that shows who sends, for the push service of an endpoint. `now_s` is Unix time."""
        claims = {
            "aud": f"https://{urlsplit(endpoint).netloc}",
            "exp": now_s + TOKEN_LIFETIME_S,
            "sub": f"mailto:{email}",
        }
        signed: dict[str, str] = Vapid02(self._key).sign(claims)
        return signed


def check_public_key(point: bytes) -> None:
    """Raises `ValueError` if a browser's public key is no point of P-256."""
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def encrypted(
    text: bytes,
    public_key: bytes,
    auth_secret: bytes,
    own_key: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """The body of a message in `aes128gcm`, for a browser's public key (65 bytes) and secret (16 bytes).
    Each has a key and a salt of its own. Raises `ValueError`: the text is too long, or the key is no
    point."""
    own_key = own_key or ec.generate_private_key(ec.SECP256R1())
    salt = salt or os.urandom(SALT_BYTES)
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
    own_point = _point(own_key.public_key())
    shared = own_key.exchange(ec.ECDH(), peer)
    secret = _derived(shared, auth_secret, b"WebPush: info\0" + public_key + own_point, 32)
    key = _derived(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(secret, salt, b"Content-Encoding: nonce\0", 12)
    head = salt + struct.pack(">IB", RECORD_BYTES, len(own_point)) + own_point
    body = head + AESGCM(key).encrypt(nonce, text + LAST_RECORD, None)
    if len(body) > RECORD_BYTES:
        raise ValueError("too long for one record")
    return body


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
