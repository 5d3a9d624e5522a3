"""Certificates, judged by OpenSSL, and those that OpenSSL has made."""

from __future__ import annotations

import datetime
import ipaddress
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config.options import DashboardOptions
from gateway.model import ConfigError
from gateway.web.certificates import (
    LIFETIME,
    RENEWAL,
    LocalAuthority,
    Pair,
    check_pair,
    days_left,
    own_addresses,
    serving_findings,
)

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
LAN = [ipaddress.ip_address(each) for each in ("192.168.1.20", "fd00::20")]


def openssl(*arguments: str | Path, data: bytes = b"") -> str:
    """What it answers; fails as it does."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()


def verified(authority: LocalAuthority, *how: str, when: datetime.datetime = NOW) -> bool:
    """Whether OpenSSL accepts the certificate for a host or address."""
    trusted = authority.pair.certificate.with_name("trusted.pem")
    trusted.write_text(openssl("x509", "-inform", "DER", data=authority.certificate()))
    at = str(int(when.timestamp()))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", at, *how]
    answer = subprocess.run(
        [*command, "-CAfile", trusted, authority.pair.certificate],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.returncode == 0


@pytest.fixture
def authority(tmp_path: Path) -> LocalAuthority:
    return LocalAuthority(tmp_path / "access.key")


def test_the_first_start_makes_an_authority_and_a_certificate_for_the_machine(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    assert authority.renew("linli-pi", LAN, NOW)
    for host in ("localhost", "linli-pi", "linli-pi.local"):
        assert verified(authority, "-verify_hostname", host)
    for address in ("127.0.0.1", "::1", "192.168.1.20", "fd00::20"):
        assert verified(authority, "-verify_ip", address)
    assert not verified(authority, "-verify_hostname", "bank.example")
    assert not verified(authority, "-verify_ip", "192.168.1.21")
    files = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob("local-*")}
    assert files == {"local-ca.pem": 0o600, "local-certificate.pem": 0o600}
    shown = openssl(
        "x509", "-inform", "DER", "-noout", "-fingerprint", "-sha256", data=authority.certificate()
    )
    assert shown.strip().endswith(authority.fingerprint())
    assert b"PRIVATE" not in authority.certificate()


def test_a_certificate_is_renewed_before_it_ends_and_when_the_machine_has_moved(
    authority: LocalAuthority,
) -> None:
    authority.renew("linli-pi", LAN, NOW)
    trusted = authority.certificate()
    assert not authority.renew("linli-pi", LAN[::-1], NOW)
    assert not authority.renew("linli-pi", LAN, NOW + LIFETIME - RENEWAL - DAY)
    assert authority.renew("linli-pi", LAN, NOW + LIFETIME - RENEWAL + DAY)
    assert verified(authority, "-verify_ip", "192.168.1.20", when=NOW + LIFETIME + 200 * DAY)
    assert authority.renew("linli-pi", [ipaddress.ip_address("10.0.0.7")], NOW)
    assert verified(authority, "-verify_ip", "10.0.0.7")
    assert authority.renew("linli-pi", LAN, NOW - 3000 * DAY), "the clock was wrong"
    assert authority.renew("linli-pi", LAN, NOW)
    assert verified(authority, "-verify_ip", "192.168.1.20")
    assert authority.certificate() == trusted, "nobody has to trust another one"


@pytest.mark.parametrize(
    "host", ["renamed", "Linli-PI", "bank.example", "a_b", "邻里", "", "-", "x" * 64, "a.local", "*"]
)
def test_whatever_the_machine_is_called_its_certificate_is_good(
    authority: LocalAuthority, host: str
) -> None:
    authority.renew("linli-pi", LAN, NOW)
    authority.renew(host, [*LAN, ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address("fe80::1")], NOW)
    assert verified(authority, "-verify_hostname", "localhost")
    assert verified(authority, "-verify_ip", "192.168.1.20")
    assert not authority.renew(host, LAN, NOW)


@pytest.mark.parametrize("host", ["a_b", "邻里", "", "bank.example"])
def test_an_authority_is_made_on_any_machine(authority: LocalAuthority, host: str) -> None:
    authority.renew(host, LAN, NOW)
    assert verified(authority, "-verify_ip", "192.168.1.20")


def test_what_was_spoilt_is_made_anew(authority: LocalAuthority) -> None:
    authority.renew("linli-pi", LAN, NOW)
    authority.pair.certificate.write_text("half of it")
    assert authority.renew("linli-pi", LAN, NOW)
    authority.pair.certificate.with_name("local-ca.pem").unlink()
    assert authority.renew("linli-pi", LAN, NOW)
    assert verified(authority, "-verify_hostname", "localhost")


def test_the_addresses_of_this_machine_are_found() -> None:
    assert ipaddress.ip_address("127.0.0.1") in own_addresses()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """The owner's own, by OpenSSL."""
    made = Pair(tmp_path / "own.pem", tmp_path / "own.key")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", "/CN=centre.example",
            "-keyout", made.key, "-out", made.certificate)  # fmt: skip
    made.key.chmod(0o600)
    return made


def test_an_own_certificate_is_good(pair: Pair) -> None:
    check_pair(pair)
    assert days_left(pair.certificate, NOW) in (89, 90)


def _encrypt(pair: Pair) -> None:
    openssl("rsa", "-aes256", "-passout", "pass:x", "-in", pair.key, "-out", pair.key)


SPOILS: tuple[tuple[str, Callable[[Pair], object]], ...] = (
    ("certificate-unreadable", lambda pair: pair.certificate.unlink()),
    ("certificate-invalid", lambda pair: pair.certificate.write_text("-----BEGIN CERTIFICATE-----\nxx")),
    ("certificate-invalid", lambda pair: pair.certificate.write_bytes(b"\xff\0")),
    ("certificate-invalid", lambda pair: pair.key.replace(pair.certificate) and pair.key.touch(0o600)),
    ("private-key-unreadable", lambda pair: pair.key.unlink()),
    ("private-key-open", lambda pair: pair.key.chmod(0o640)),
    ("private-key-invalid", lambda pair: pair.key.write_text("")),
    ("private-key-invalid", lambda pair: pair.key.write_bytes(pair.certificate.read_bytes())),
    ("private-key-locked", _encrypt),
    ("certificate-differs", lambda pair: openssl("genrsa", "-out", pair.key, "2048")),
)


@pytest.mark.parametrize(("key", "spoil"), SPOILS)
def test_an_own_certificate_that_cannot_be_used_is_told(
    pair: Pair, key: str, spoil: Callable[[Pair], object]
) -> None:
    spoil(pair)
    with pytest.raises(ConfigError) as error:
        check_pair(pair)
    assert error.value.key == key


def test_what_should_be_mended_is_found(pair: Pair) -> None:
    own = DashboardOptions(host="0.0.0.0", certificate_file=pair.certificate, private_key_file=pair.key)
    for days, key in ((0, None), (59, None), (62, "certificate-ending"), (92, "certificate-ended")):
        found = [each for each, _ in serving_findings(own, NOW + days * DAY)]
        assert found == ([key] if key else []), days
    pair.certificate.unlink()
    assert [key for key, _ in serving_findings(own, NOW)] == ["certificate-unusable"]
    for options, is_plain in (
        (DashboardOptions(), False),
        (DashboardOptions(host="::1"), False),
        (DashboardOptions(host="localhost"), False),
        (DashboardOptions(host="0.0.0.0"), True),
        (DashboardOptions(host=""), True),
        (DashboardOptions(host="192.168.1.20"), True),
        (DashboardOptions(host="0.0.0.0", plain_http=True), False),
        (DashboardOptions(host="0.0.0.0", local_ca=True), False),
        (DashboardOptions(host="0.0.0.0", trusted_proxies=("127.0.0.1",)), False),
    ):
        assert [key for key, _ in serving_findings(options, NOW)] == ["plain-http"] * is_plain, options
