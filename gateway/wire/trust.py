"""Whose certificates a TLS connection accepts."""

from __future__ import annotations

import ssl
from pathlib import Path

from gateway.model import LinkDown


def trust_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies the server's certificate: by the CA in the file, or by those of the system without one.

    Reads files: call it in a thread. Raises `LinkDown`: missing, unreadable, or not in PEM format.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except FileNotFoundError as error:
        raise LinkDown("ca-missing", file=ca_file) from error
    except ssl.SSLError as error:
        raise LinkDown("ca-invalid", file=ca_file) from error
    except OSError as error:
        raise LinkDown("ca-unreadable", file=ca_file, reason=error) from error
