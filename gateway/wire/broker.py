"""Where an MQTT broker is and how to log in: the keys of a TOML table, without the library."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec

from gateway.model import Checks


def _is_url(text: str) -> bool:
    url = urlsplit(text)
    return url.scheme in ("mqtt", "mqtts") and bool(url.hostname) and not url.password and url.port != 0


class BrokerOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: mqtt://host:1883, or mqtts://host:8883 with the broker's certificate verified."""

    url: str
    username: str = ""
    password_file: Path | None = None
    client_id: str = ""
    ca_file: Path | None = None

    CHECKS: ClassVar[Checks] = {"url": (_is_url, "mqtt-url")}
