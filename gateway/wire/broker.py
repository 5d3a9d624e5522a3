"""Where an MQTT broker is and how to log in: the keys of a TOML table, without the library."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from gateway.model import Checks, Device, has_user, is_server_url

from .secret import read_secret
from .trust import trust_context

T = TypeVar("T")


class BrokerLogin(NamedTuple):
    """With what one connection logs in, where that is worked out anew each time. What is empty is as the
    options say."""

    client_id: str = ""
    username: str = ""
    password: str = ""


_PORTS = {"mqtt": 1883, "mqtts": 8883, "http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Whether it is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_public(host: str) -> bool:
    """Whether it is reached over the internet, as far as its name or address tells: names of local networks
    are single words, or end as RFC 6762 (3), RFC 8375 and ICANN (2024, `internal`) reserve, or in `lan`."""
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_private
    except ValueError:
        name = host.lower().rstrip(".")
        return "." in name and not name.endswith((".local", ".home.arpa", ".internal", ".lan"))


def with_default_client_id(options: T, site: str, bus: str) -> T:
    """The options of a bus; a broker's with a client id, by which it keeps messages for this gateway."""
    if isinstance(options, BrokerOptions) and not options.client_id:
        return msgspec.structs.replace(options, client_id=f"linli-{site}-{bus}")
    return options


def as_guest(options: T) -> T:
    """The options for a connection beside the gateway's own: with the same client id it would end that one,
    and receive what waits for it."""
    return msgspec.structs.replace(options, client_id="") if isinstance(options, BrokerOptions) else options


def bus_of(devices: tuple[Device, ...]) -> str:
    """The bus of these devices, as the site file names it; empty without a device."""
    return f"bus.{devices[0].bus}" if devices else ""


class BrokerOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: mqtt://host:1883, or mqtts://host:8883 with the broker's certificate verified; the files of
    the gateway's own certificate and its key, in PEM format, where the broker asks for it. `unencrypted`
    where a password is to go without TLS within a network of the centre's own."""

    url: str
    username: str = ""
    password_file: Path | None = None
    client_id: str = ""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    private_key_file: Path | None = None
    unencrypted: bool = False

    CHECKS: ClassVar[Checks] = {"url": (lambda url: is_server_url(url, "mqtt", "mqtts"), "mqtt-url")}
    STRUCT_CHECKS: ClassVar[Checks] = {
        "username": (has_user, "password-alone"),
        "certificate_file": (
            lambda its: bool(its.certificate_file) == bool(its.private_key_file), "certificate-alone"
        ),
    }  # fmt: skip

    @property
    def connection_key(self) -> tuple[Any, ...]:
        """What makes it another broker, or another account there."""
        return tuple(getattr(self, field) for field in BrokerOptions.__struct_fields__)

    @property
    def has_tls(self) -> bool:
        return urlsplit(self.url).scheme in ("mqtts", "https")

    @property
    def has_secret(self) -> bool:
        """Whether the gateway proves with a secret who it is."""
        return self.password_file is not None

    @property
    def exposure(self) -> str:
        """Who else can read the secret, as a key of `error` in `words/`; empty: nobody, or whom the site
        trusts."""
        if self.has_tls or not self.has_secret or is_loopback(self.host):
            return ""
        if is_public(self.host):
            return "secret-public"
        return "" if self.unencrypted else "secret-unencrypted"

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        url = urlsplit(self.url)
        return url.port or _PORTS[url.scheme]

    def read_password(self) -> str | None:
        """Read for each connection, so that a new password needs no restart. Raises `LinkDown`."""
        return read_secret(self.password_file) if self.password_file else None

    def tls_context(self) -> ssl.SSLContext | None:
        """Verifies the broker's certificate, and shows the gateway's; None without TLS. Read for each
        connection, so that a new certificate needs no restart. Raises `LinkDown`."""
        if not self.has_tls:
            return None
        return trust_context(self.ca_file, self.certificate_file, self.private_key_file)
