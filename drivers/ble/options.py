"""Site options of a Bluetooth adapter and of its devices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import msgspec

from gateway.model import Checks

MAC_PATTERN = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`adapter`: such as hci0, by default the first that is on. `passive`: scan without scan requests,
    where BlueZ supports it (5.56 or newer, started with --experimental). `silence`: seconds without any
    advertisement after which the scan is restarted; when passive, only those in one of `formats` count."""

    adapter: str = ""
    passive: bool = False
    silence: float = 120.0

    CHECKS: ClassVar[Checks] = {"silence": (lambda seconds: seconds > 0, "positive")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The device's Bluetooth address, and a file with its key (32 hex digits, mode 0600) if it encrypts.
    With a key, unencrypted advertisements are refused."""

    mac: str
    bindkey_file: Path | None = None

    CHECKS: ClassVar[Checks] = {"mac": (lambda mac: bool(MAC_PATTERN.fullmatch(mac)), "ble-mac")}
