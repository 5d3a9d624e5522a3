"""The sections of a site file that the core itself reads."""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal
from zoneinfo import available_timezones

import msgspec

from gateway.model import CONFIGURE, MILD_ACTIONS, Checks, Driver, is_host, is_server_url
from gateway.wire.broker import BrokerOptions
from gateway.words import LANGUAGES

from .dialect.rules import BUILT_IN, HOME_ASSISTANT, NATIVE, SPARKPLUG
from .reading import NAME_PATTERN

MAX_SOCKET_PATH_BYTES = 107
"""`sun_path` with its final NUL (unix(7))."""

PUBLIC_KEY_BYTES = 32
"""Of Ed25519 (RFC 8032, 5.1.5)."""


def _is_port(number: int) -> bool:
    return 0 < number < 65_536


def _is_public_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == PUBLIC_KEY_BYTES
    except ValueError:
        return False


def _is_platform_url(text: str) -> bool:
    return BrokerOptions.CHECKS["url"][0](text) or is_server_url(text, "http", "https")


def _is_host_or_any(text: str) -> bool:
    return not text or is_host(text)


def _are_networks(texts: Iterable[str]) -> bool:
    try:
        return all(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError:
        return False


class Centre(msgspec.Struct, frozen=True, kw_only=True):
    """`[site]`. `id` names the site upstream; `language` is that of the log; `contact` is the person to ask
    about the protection of personal information (name, telephone, e-mail)."""

    id: str
    title: str | dict[str, str]
    timezone: str = "Asia/Shanghai"
    language: str = "zh"
    contact: str | dict[str, str] = ""

    CHECKS: ClassVar[Checks] = {
        "id": (lambda name: bool(NAME_PATTERN.fullmatch(name)), "name-form"),
        "title": (bool, "title-empty"),
        "language": (LANGUAGES.__contains__, "language-unknown"),
        "timezone": (lambda name: name in available_timezones(), "timezone-unknown"),
    }


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[journal]`: its path, seconds between commits of telemetry (`window`), its maximum size in bytes
    (`cap`), the bytes that may be written per day (`daily`), and in the card's whole life (`endurance`; a
    consumer card of 32 GB: about 30 TB)."""

    path: Path = Path("/var/lib/linli/journal.db")
    window: float = 1.0
    cap: int = 2_000_000_000
    daily: int = 2_000_000_000
    endurance: int = 30_000_000_000_000

    CHECKS: ClassVar[Checks] = {
        "window": (lambda seconds: 0.1 <= seconds <= 10, "window-range"),
        "cap": (lambda size: size >= 16_000_000, "cap-range"),
        "daily": (lambda size: size > 0, "positive"),
        "endurance": (lambda size: size > 0, "positive"),
    }


class ControlOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[control]`: the local socket for the dashboard and `linli`."""

    socket: Path = Path("/run/linli/control.sock")

    CHECKS: ClassVar[Checks] = {
        "socket": (lambda path: len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES, "socket-long")
    }


class MetricsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[metrics]`: the address of /metrics and /healthz; loopback by default."""

    host: str = "127.0.0.1"
    port: int = 9109

    CHECKS: ClassVar[Checks] = {"host": (_is_host_or_any, "host-form"), "port": (_is_port, "port-range")}


class DashboardOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[dashboard]`: its address, the file with its access key, the addresses or networks of reverse
    proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, and the minutes without an act
    after which one that can do harm needs the password again. Its certificate and key, or `local_ca` for
    those of an authority that it makes itself; `plain_http` where it is to have neither, though others can
    connect."""

    host: str = "127.0.0.1"
    port: int = 8080
    access: Path = Path("/var/lib/linli/access.key")
    trusted_proxies: tuple[str, ...] = ()
    password_again_minutes: int = 15
    certificate_file: Path | None = None
    private_key_file: Path | None = None
    local_ca: bool = False
    plain_http: bool = False

    CHECKS: ClassVar[Checks] = {
        "host": (_is_host_or_any, "host-form"),
        "port": (_is_port, "port-range"),
        "trusted_proxies": (_are_networks, "proxy-address"),
        "password_again_minutes": (lambda minutes: 1 <= minutes <= 1440, "minutes-range"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "certificate_file": (
            lambda its: bool(its.certificate_file) == bool(its.private_key_file), "certificate-alone"
        ),
        "local_ca": (lambda its: not (its.local_ca and its.certificate_file), "certificate-twice"),
        "plain_http": (
            lambda its: not (its.plain_http and (its.local_ca or its.certificate_file)), "plain-http-tls"
        ),
    }  # fmt: skip


class BusSpec(msgspec.Struct, frozen=True):
    """`[bus.…]`: a line or connection."""

    name: str
    driver: Driver
    options: Any

    @property
    def stills(self) -> bool:
        """Whether it is a camera whose picture may be shown on the dashboard."""
        return self.driver.allows_stills is not None and self.driver.allows_stills(self.options)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """`[uplink.identity]`: what the platform calls the gateway, each device, and what all devices of a kind
    have in common: the keys that the dialect asks for. A secret is in the file `secret_file`."""

    gateway: dict[str, str] = {}
    kind: dict[str, dict[str, str]] = {}
    device: dict[str, dict[str, str]] = {}


def _is_topic_level(text: str) -> bool:
    return bool(text) and text.isprintable() and not set(text) & set("+/#")


class NativeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[uplink.native]`: whether one message has the telemetry or the events of several devices, where the
    platform knows that: fewer messages, each sent when the journal has committed it."""

    several_streams: bool = False


class SparkplugOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[uplink.sparkplug]`: the group and the name of this edge node (the id of the site unless stated),
    and the host application without which nothing is sent (none unless stated)."""

    group: str = "linli"
    node: str = ""
    primary_host: str = ""

    CHECKS: ClassVar[Checks] = {
        "group": (_is_topic_level, "topic-level"),
        "node": (lambda text: not text or _is_topic_level(text), "topic-level"),
        "primary_host": (lambda text: not text or _is_topic_level(text), "topic-level"),
    }


class HomeAssistantOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[uplink.home_assistant]`: the discovery prefix, where Home Assistant has another one."""

    discovery_prefix: str = "homeassistant"

    CHECKS: ClassVar[Checks] = {"discovery_prefix": (_is_topic_level, "topic-level")}


class UplinkOptions(BrokerOptions, frozen=True, kw_only=True):
    """`[uplink]`, or `[uplink.…]` where there are several platforms: the platform's broker, and other
    addresses of it that are used in turn while the first does not answer or acknowledge; the dialect
    that it speaks (`native`, `sparkplug`, `home-assistant`, or a file of `config/dialects/`) with the
    identities that this needs. The commands it may give, none unless listed: signed with one of the
    `command_keys` (Ed25519 public keys in Base64, by id), except where the site trusts its broker for the
    action; a configuration with one of the `configuration_keys` among them, and never without. How a
    backlog is sent: at most `rate` points per second (0: as fast as it is acknowledged); telemetry older
    than `thin_after` seconds (0: never) is thinned to one record per device and `thin_to` seconds, for
    metered links. What it receives: the `lanes`, and the devices that match one of `devices` (`*` and `?`
    stand for any characters) or are of one of the `kinds`; everything unless stated.
    """

    title: str | dict[str, str] = ""
    fallback_urls: tuple[str, ...] = ()
    token_file: Path | None = None
    dialect: str = "native"
    identity: Identity = Identity()
    native: NativeOptions = NativeOptions()
    sparkplug: SparkplugOptions = SparkplugOptions()
    home_assistant: HomeAssistantOptions = HomeAssistantOptions()
    commands: tuple[str, ...] = ()
    command_keys: dict[str, str] = msgspec.field(default_factory=dict)
    configuration_keys: tuple[str, ...] = ()
    trust: dict[str, Literal["broker"]] = msgspec.field(default_factory=dict)
    rate: float = 0
    thin_after: float = 0
    thin_to: float = 60
    lanes: tuple[Literal["alarm", "event", "telemetry"], ...] = ()
    devices: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    CHECKS: ClassVar[Checks] = {
        "url": (_is_platform_url, "platform-url"),
        "command_keys": (lambda keys: all(map(_is_public_key, keys.values())), "command-key"),
        "trust": (lambda trust: CONFIGURE not in trust, "configure-trusted"),
        "fallback_urls": (lambda urls: all(map(_is_platform_url, urls)), "platform-url"),
        "rate": (lambda rate: rate >= 0, "not-negative"),
        "thin_after": (lambda seconds: seconds >= 0, "not-negative"),
        "thin_to": (lambda seconds: seconds > 0, "positive"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "token_file": (lambda its: not its.token_file or its.is_http, "token-mqtt"),
        "commands": (lambda its: not its.commands or not its.is_http, "commands-http"),
        "configuration_keys": (
            lambda its: its.command_keys.keys() >= set(its.configuration_keys),
            "configuration-key",
        ),
        "dialect": (
            lambda its: not its.is_http or its.dialect == NATIVE or its.dialect not in BUILT_IN,
            "dialect-http",
        ),
        "native": (lambda its: its.dialect == NATIVE or its.native == NativeOptions(), "dialect-other"),
        "sparkplug": (
            lambda its: its.dialect == SPARKPLUG or its.sparkplug == SparkplugOptions(),
            "dialect-other",
        ),
        "home_assistant": (
            lambda its: its.dialect == HOME_ASSISTANT or its.home_assistant == HomeAssistantOptions(),
            "dialect-other",
        ),
        "fallback_urls": (
            lambda its: len({url.partition(":")[0] for url in (its.url, *its.fallback_urls)}) == 1,
            "fallback-scheme",
        ),
    }

    def must_be_signed(self, action: str) -> bool:
        """Whether the platform's command for this action needs a signature."""
        return action not in MILD_ACTIONS and self.trust.get(action) != "broker"

    def unsignable_commands(self, has_signatures: bool) -> list[str]:
        """Those that it may give and cannot: they must be signed, and by whom is not known.
        `has_signatures`: whether its dialect has any."""
        keys = {True: self.configuration_keys, False: self.command_keys}
        return [
            action
            for action in self.commands
            if self.must_be_signed(action) and not (has_signatures and keys[action == CONFIGURE])
        ]

    @property
    def has_secret(self) -> bool:
        tables = (self.identity.gateway, *self.identity.kind.values(), *self.identity.device.values())
        has_own = self.token_file is not None or any("secret_file" in table for table in tables)
        return has_own or super().has_secret

    @property
    def is_http(self) -> bool:
        """Whether messages are posted, instead of published over MQTT."""
        return self.url.startswith("http")
