"""A group robot of WeCom (企业微信群机器人): developer.work.weixin.qq.com/document/path/91770."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from gateway.model import Checks, Stamp
from gateway.wire.secret import read_secret

from .channel import AlarmMessage, Channel, Contact, DeliveryFailed
from .https_post import is_safe_url, post_to_robot

MAX_TEXT_BYTES = 2048
"""Bytes of a text message."""
MIN_INTERVAL_S = 3.0
"""A robot may speak twenty times a minute; more is refused with errcode 45009."""


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`secret_file` holds the key, which is what follows `key=` in the robot's address."""

    secret_file: Path
    url: str = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send"

    CHECKS: ClassVar[Checks] = {"url": (is_safe_url, "channel-url")}


async def send(options: Options, text: AlarmMessage, people: Sequence[Contact], at: Stamp) -> None:
    key = read_secret(options.secret_file)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
        raise DeliveryFailed("channel-secret", file=options.secret_file, part="key=")
    content = {
        "content": text.within(MAX_TEXT_BYTES),
        "mentioned_list": [person.wecom for person in people if person.wecom],
        "mentioned_mobile_list": [person.mobile for person in people if person.phone and not person.wecom],
    }
    await post_to_robot(options.url, {"key": key}, {"msgtype": "text", "text": content})


CHANNEL = Channel(options=Options, send=send, every=MIN_INTERVAL_S)
