"""Certificates of the dashboard: the owner's own, or those of a local authority that the gateway makes.

The local authority is confined by name constraints (RFC 5280, 4.2.1.10) to private addresses and local
names: whoever steals its key cannot pose as a bank.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.base.files import create_durably, write_durably
from gateway.base.log import error_text
from gateway.model import ConfigError
from gateway.wire.secret import is_open_to_others

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

AUTHORITY_BEGIN = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
AUTHORITY_END = datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)
"""Fixed, as the clock of a new machine may be wrong."""
LIFETIME = datetime.timedelta(days=397)
"""Of a server's certificate; Apple's systems take none of more than 825 days."""
RENEWAL = datetime.timedelta(days=60)
"""Before its end."""
WARNING_DAYS = 30
"""Before the end of the owner's own certificate."""
LOCAL_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
         "::1/128", "fc00::/7"),
    )
)  # fmt: skip
"""Where the certificates of the local authority are valid."""
LOCAL_DOMAINS = ("local", "localhost", "lan", "home.arpa", "internal")
DNS_NAME_PATTERN = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


class Pair(NamedTuple):
    """The PEM files of a certificate and its key; they may be one file."""

    certificate: Path
    key: Path


def days_left(certificate: Path, now: datetime.datetime) -> int:
    """Whole days until it ends; negative if it has ended. Raises `ConfigError`: missing, unreadable or not
    a certificate."""
    return (_read_certificate(certificate).not_valid_after_utc - now).days


def check_pair(pair: Pair) -> None:
    """Raises `ConfigError`: missing, unreadable, not PEM, a key that others can read or that needs a
    password, or the key of another certificate."""
    certificate = _read_certificate(pair.certificate)
    key = _read_key(pair.key)
    if key.public_key() != certificate.public_key():
        raise ConfigError("certificate-differs", certificate=pair.certificate, key=pair.key)


def _read_certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except OSError as error:
        raise ConfigError("certificate-unreadable", file=file, reason=error) from error
    except ValueError as error:
        raise ConfigError("certificate-invalid", file=file) from error


def _read_key(file: Path) -> PrivateKeyTypes:
    try:
        if is_open_to_others(file):
            raise ConfigError("private-key-open", file=file)
        return serialization.load_pem_private_key(file.read_bytes(), None)
    except OSError as error:
        raise ConfigError("private-key-unreadable", file=file, reason=error) from error
    except TypeError as error:
        raise ConfigError("private-key-locked", file=file) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError("private-key-invalid", file=file) from error


class LocalAuthority:
    """The files of the local authority and of the certificate that it has issued, each with its key."""

    def __init__(self, access_key: Path) -> None:
        folder = access_key.parent
        self._authority = folder / "local-ca.pem"
        self._server = folder / "local-certificate.pem"

    @property
    def pair(self) -> Pair:
        """What the dashboard serves with."""
        return Pair(self._server, self._server)

    def certificate(self) -> bytes:
        """The authority's certificate, without its key, in DER: what people are to trust. Raises
        `ConfigError`."""
        return _read_certificate(self._authority).public_bytes(serialization.Encoding.DER)

    def fingerprint(self) -> str:
        """SHA-256 of that, as devices show it. Raises `ConfigError`."""
        digest = _read_certificate(self._authority).fingerprint(hashes.SHA256())
        return digest.hex(":").upper()

    def renew(self, host: str, addresses: Iterable[IpAddress], now: datetime.datetime) -> bool:
        """Make the authority if there is none, and issue a certificate if there is none, it ends soon, or
        the name or addresses of the machine have changed. Returns whether it did. Raises `ConfigError`."""
        try:
            if not self._authority.exists():
                create_durably(self._authority, _new_authority(host))
            names = self._permitted(subject_names(host, addresses))
            if self._is_good(names, now):
                return False
            write_durably(self._server, self._issued(names, now))
        except OSError as error:
            raise ConfigError("certificate-unwritten", file=self._server, reason=error) from error
        return True

    def _permitted(self, names: Iterable[x509.GeneralName]) -> list[x509.GeneralName]:
        """Those that the authority may certify: the machine may have been renamed since it was made. One
        name beyond them would spoil the certificate for all."""
        extensions = _read_certificate(self._authority).extensions
        constraints = extensions.get_extension_for_class(x509.NameConstraints).value
        domains = [
            each.value for each in constraints.permitted_subtrees or () if isinstance(each, x509.DNSName)
        ]
        return [
            name
            for name in names
            if not isinstance(name, x509.DNSName)
            or any(name.value == domain or name.value.endswith(f".{domain}") for domain in domains)
        ]

    def _is_good(self, names: list[x509.GeneralName], now: datetime.datetime) -> bool:
        try:
            check_pair(self.pair)
            server, authority = _read_certificate(self._server), _read_certificate(self._authority)
            server.verify_directly_issued_by(authority)
        except (ConfigError, ValueError, TypeError, InvalidSignature):
            return False
        own = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            list(own) == names and server.not_valid_before_utc <= now < server.not_valid_after_utc - RENEWAL
        )

    def _issued(self, names: list[x509.GeneralName], now: datetime.datetime) -> bytes:
        authority, authority_key = _read_certificate(self._authority), _read_key(self._authority)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name("邻里网关 Linli Gateway"))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
        )
        return _pem(builder.sign(authority_key, hashes.SHA256()), key)


def subject_names(host: str, addresses: Iterable[IpAddress]) -> list[x509.GeneralName]:
    """The names and addresses for which a certificate is issued: the machine's as far as they are local."""
    host = host.lower()
    names = ["localhost", *([host, f"{host.partition('.')[0]}.local"] if _is_local_name(host) else [])]
    local = {each for each in addresses if any(each in network for network in LOCAL_NETWORKS)}
    local |= {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    return [
        *(x509.DNSName(name) for name in dict.fromkeys(names)),
        *(x509.IPAddress(each) for each in sorted(local, key=lambda each: (each.version, int(each)))),
    ]


def _is_local_name(host: str) -> bool:
    """Whether it is a machine's name alone, or in a domain that nobody owns."""
    is_local = "." not in host or host.rpartition(".")[2] in {*LOCAL_DOMAINS, "arpa"}
    return bool(DNS_NAME_PATTERN.fullmatch(host)) and is_local


def _new_authority(host: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"邻里网关 Linli Gateway {host}"[:64])
    permitted = [
        *(x509.DNSName(domain) for domain in LOCAL_DOMAINS),
        *([x509.DNSName(host.lower())] if _is_local_name(host.lower()) else []),
        *(x509.IPAddress(network) for network in LOCAL_NETWORKS),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(AUTHORITY_BEGIN)
        .not_valid_after(AUTHORITY_END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pem(builder.sign(key, hashes.SHA256()), key)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=certificates, crl_sign=certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def own_addresses() -> list[IpAddress]:
    """The addresses of this machine; from `/proc`, as a confined service may not use netlink."""
    found: list[IpAddress] = []
    lines = _lines_of("/proc/net/fib_trie")
    # An address stands above the line that says that it is the machine's own.
    for above, line in itertools.pairwise(lines):
        if "32 host LOCAL" in line:
            found.append(ipaddress.ip_address(above.split()[-1]))
    found += (ipaddress.IPv6Address(int(line.split()[0], 16)) for line in _lines_of("/proc/net/if_inet6"))
    return list(dict.fromkeys(found))


def _lines_of(file: str) -> list[str]:
    try:
        return Path(file).read_text("ascii").splitlines()
    except OSError:
        return []


def own_host() -> str:
    """The name of this machine."""
    return socket.gethostname()


class Serving(Protocol):
    """How the pages are served: `[dashboard]`, or the settings made of it."""

    @property
    def host(self) -> str: ...
    @property
    def trusted_proxies(self) -> tuple[str, ...]: ...
    @property
    def certificate_file(self) -> Path | None: ...
    @property
    def private_key_file(self) -> Path | None: ...
    @property
    def local_ca(self) -> bool: ...
    @property
    def plain_http(self) -> bool: ...


def serving_findings(serving: Serving, now: datetime.datetime) -> list[tuple[str, dict[str, Any]]]:
    """What should be mended in how the pages are served though the dashboard starts with it: keys of
    `doctor` in the words, and facts."""
    if serving.certificate_file:
        file = serving.certificate_file
        try:
            days = days_left(file, now)
        except ConfigError as error:
            return [("certificate-unusable", {"reason": error_text(error.key, **error.facts)})]
        if days < 0:
            return [("certificate-ended", {"file": str(file), "days": -days})]
        return [("certificate-ending", {"file": str(file), "days": days})] if days < WARNING_DAYS else []
    is_explained = serving.local_ca or serving.plain_http or serving.trusted_proxies
    return [] if is_explained or _is_loopback(serving.host) else [("plain-http", {"host": serving.host})]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
