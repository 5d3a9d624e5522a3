"""A group robot of DingTalk (钉钉自定义机器人), signed: open.dingtalk.com, "custom robot security"."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from gateway.model import Checks, Stamp
from gateway.wire.secret import read_secret

from ..channel import AlarmMessage, Channel, Contact, DeliveryFailed
from ..https_post import is_safe_url, post_to_robot

MAX_TEXT_BYTES = 16_000
"""The limit for the text; that for the whole message is 20,000."""
MIN_INTERVAL_S = 3.0
"""A robot may send twenty messages a minute; beyond that it is blocked for ten minutes (error 130101)."""


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`secret_file` contains what follows `access_token=` in the robot's address, `sign_file` the secret
    that begins with SEC."""

    secret_file: Path
    sign_file: Path
    url: str = "https://oapi.dingtalk.com/robot/send"

    CHECKS: ClassVar[Checks] = {"url": (is_safe_url, "channel-url")}


async def send(options: Options, message: AlarmMessage, contacts: Sequence[Contact], at: Stamp) -> None:
    token, secret = read_secret(options.secret_file), read_secret(options.sign_file)
    if not re.fullmatch(r"[A-Za-z0-9]+", token):
        raise DeliveryFailed("channel-secret", file=options.secret_file, part="access_token=")
    mobiles = [contact.mobile for contact in contacts if contact.phone]
    # A contact is only mentioned if the text contains the number, too.
    mentions = "\n" + " ".join(f"@{mobile}" for mobile in mobiles) if mobiles else ""
    payload = {
        "msgtype": "text",
        "text": {"content": message.render(MAX_TEXT_BYTES) + mentions},
        "at": {"atMobiles": mobiles, "isAtAll": False},
    }
    query = {"access_token": token, "timestamp": str(at.wall_ms), "sign": sign(secret, at.wall_ms)}
    await post_to_robot(options.url, query, payload)


def sign(secret: str, time_ms: int) -> str:
    """The signature: Base64 of the HMAC-SHA256, keyed by the secret, of time and secret."""
    digest = hmac.digest(secret.encode(), f"{time_ms}\n{secret}".encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


CHANNEL = Channel(options=Options, send=send, min_interval_s=MIN_INTERVAL_S)
