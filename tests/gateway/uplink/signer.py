"""A platform that signs its commands, by openssl."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

DER_PREFIX_BYTES = 12
"""Of an Ed25519 public key in DER (RFC 8410, 4)."""


class Signer:
    """A platform's key pair, in the hands of openssl."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, folder / f"{name}.pem"
        self._openssl("genpkey", "-algorithm", "ed25519", "-out", self._key)
        der = self._openssl("pkey", "-in", self._key, "-pubout", "-outform", "DER")
        self.public = base64.b64encode(der[DER_PREFIX_BYTES:]).decode()

    def sign(self, canonical: bytes) -> str:
        message = self._folder / "message"
        message.write_bytes(canonical)
        signed = self._openssl("pkeyutl", "-sign", "-inkey", self._key, "-rawin", "-in", message)
        return base64.b64encode(signed).decode()

    def _openssl(self, *arguments: object) -> bytes:
        command = ["openssl", *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True).stdout


def canonical(command: dict[str, Any]) -> bytes:
    """RFC 8785, for these commands: sorted keys, no spaces."""
    return json.dumps(command, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
