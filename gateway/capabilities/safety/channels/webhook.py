"""A webhook: JSON by POST, signed with a shared secret.

The body: `{"at": Unix ms, "text": …, "people": ["wang"], "alarms": [{"notice", "alarm", "news",
"by", "device", "point", "hazard", "value", "raised": Unix ms, "drill"}]}`. A notice may come twice
with the same `notice`. The header `X-Linli-Signature` is `sha256=` and the hex HMAC-SHA256, by the
secret, of `X-Linli-Timestamp` (Unix seconds), a full stop, and the body.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from gateway.model import Checks, Stamp
from gateway.wire.secret import read_secret

from ..channel import AlarmMessage, Channel, Contact
from ..https_post import is_safe_url, post_json

MAX_TEXT_BYTES = 64_000


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: https, the certificate verified (with `ca_file` for a private certificate authority)."""

    url: str
    secret_file: Path
    ca_file: Path | None = None

    CHECKS: ClassVar[Checks] = {"url": (is_safe_url, "channel-url")}


async def send(options: Options, message: AlarmMessage, contacts: Sequence[Contact], at: Stamp) -> None:
    secret = read_secret(options.secret_file)
    body = msgspec.json.encode(
        {
            "at": at.wall_ms,
            "text": message.render(MAX_TEXT_BYTES),
            "people": [contact.name for contact in contacts],
            "alarms": message.alarms,
        }
    )
    timestamp = str(at.wall_ms // 1000)
    headers = {
        "X-Linli-Timestamp": timestamp,
        "X-Linli-Signature": f"sha256={sign(secret, timestamp, body)}",
    }
    await post_json(options.url, body, headers=headers, ca_file=options.ca_file)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature in hex; `timestamp` is Unix seconds in decimal."""
    return hmac.digest(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hex()


CHANNEL = Channel(options=Options, send=send, max_alarms=500)
