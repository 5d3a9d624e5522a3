"""Whose certificates a TLS connection accepts."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.model import LinkDown

from .secret import is_open_to_others


def trust_context(
    ca_file: Path | None, certificate_file: Path | None = None, private_key_file: Path | None = None
) -> ssl.SSLContext:
    """Verifies the server's certificate: by the CA in the file, or by those of the system without one; and
    shows the server one's own, where there is one (mutual TLS).

    Reads files: call it in a thread. Raises `LinkDown`: missing, unreadable, or not in PEM format.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    except FileNotFoundError as error:
        raise LinkDown("ca-missing", file=ca_file) from error
    except ssl.SSLError as error:
        raise LinkDown("ca-invalid", file=ca_file) from error
    except OSError as error:
        raise LinkDown("ca-unreadable", file=ca_file, reason=error) from error
    if certificate_file and private_key_file:
        _load_own(context, certificate_file, private_key_file)
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for file in (certificate, key):
        try:
            file.read_bytes()
        except FileNotFoundError as error:
            raise LinkDown("own-certificate-missing", file=file) from error
        except OSError as error:
            raise LinkDown("own-certificate-unreadable", file=file, reason=error) from error
    if is_open_to_others(key):
        raise LinkDown("secret-open", file=key)
    try:
        # Without this a key with a passphrase would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        is_pair = getattr(error, "reason", "") != "KEY_VALUES_MISMATCH"
        name = "own-certificate-invalid" if is_pair else "own-certificate-differs"
        raise LinkDown(name, file=certificate, private_key=key) from error


def seconds_until_end(certificate: Path, now_s: float) -> float:
    """How long a certificate is valid still. Raises `OSError` or `ValueError`."""
    from cryptography import x509  # noqa: PLC0415  large, and seldom needed

    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return ends.timestamp() - now_s


def certificate_end_s(certificate: Mapping[str, Any] | None) -> float | None:
    """Unix time until which the certificate of a connection is valid, from `SSLSocket.getpeercert`."""
    ends = certificate.get("notAfter") if certificate else None
    return ssl.cert_time_to_seconds(ends) if ends else None
