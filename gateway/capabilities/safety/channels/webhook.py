"""A webhook: JSON by POST, signed with a shared secret.

The body: `{"at": Unix ms, "text": …, "people": ["wang"], "alarms": [{"notice", "alarm", "news",
"by", "device", "point", "hazard", "value", "raised": Unix ms, "drill"}]}`. A notice may come twice:
`notice` tells. The header `X-Linli-Signature` is `sha256=` and the hex HMAC-SHA256, by the secret, of
`X-Linli-Timestamp` (Unix seconds), a full stop, and the body.
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

from .channel import AlarmMessage, Channel, Contact
from .https_post import is_safe_url, post_json

MAX_TEXT_BYTES = 64_000


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: https, the certificate verified (by `ca_file`, if it is a company's own authority)."""

    url: str
    secret_file: Path
    ca_file: Path | None = None

    CHECKS: ClassVar[Checks] = {"url": (is_safe_url, "channel-url")}


async def send(options: Options, text: AlarmMessage, people: Sequence[Contact], at: Stamp) -> None:
    secret = read_secret(options.secret_file)
    body = msgspec.json.encode(
        {
            "at": at.wall,
            "text": text.within(MAX_TEXT_BYTES),
            "people": [person.name for person in people],
            "alarms": text.data,
        }
    )
    seconds = str(at.wall // 1000)
    headers = {"X-Linli-Timestamp": seconds, "X-Linli-Signature": f"sha256={sign(secret, seconds, body)}"}
    await post_json(options.url, body, headers=headers, ca_file=options.ca_file)


def sign(secret: str, seconds: str, body: bytes) -> str:
    return hmac.digest(secret.encode(), seconds.encode() + b"." + body, hashlib.sha256).hex()


CHANNEL = Channel(options=Options, send=send, most=500)
