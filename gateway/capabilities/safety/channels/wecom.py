"""A group robot of WeCom (企业微信群机器人): developer.work.weixin.qq.com/document/path/91770."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from gateway.model import Checks, Stamp
from gateway.wire.secret import read_secret

from ..channel import AlarmMessage, Channel, Contact, DeliveryFailed
from ..https_post import is_safe_url, post_to_robot

MAX_TEXT_BYTES = 2048
"""The limit for a text message."""
MIN_INTERVAL_S = 3.0
"""A robot may send twenty messages a minute; more are refused with errcode 45009."""


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`secret_file` contains the key, which follows `key=` in the robot's address."""

    secret_file: Path
    url: str = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send"

    CHECKS: ClassVar[Checks] = {"url": (is_safe_url, "channel-url")}


async def send(options: Options, message: AlarmMessage, contacts: Sequence[Contact], at: Stamp) -> None:
    key = read_secret(options.secret_file)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
        raise DeliveryFailed("channel-secret", file=options.secret_file, part="key=")
    content = {
        "content": message.render(MAX_TEXT_BYTES),
        "mentioned_list": [contact.wecom for contact in contacts if contact.wecom],
        "mentioned_mobile_list": [
            contact.mobile for contact in contacts if contact.phone and not contact.wecom
        ],
    }
    await post_to_robot(options.url, {"key": key}, {"msgtype": "text", "text": content})


CHANNEL = Channel(options=Options, send=send, min_interval_s=MIN_INTERVAL_S)
