"""Why a broker cannot be used: one sentence, with its own mend, for each cause. Pure."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence

from gateway.model import LinkDown

from .broker import BrokerOptions
from .restrictions import hex_code

TLS_ALERT = 0x15
"""The first byte of a TLS alert (RFC 8446, 5.1): the answer of a TLS port to plain MQTT."""
_PLAIN_PORT_REASONS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE"}
)
_CERTIFICATE_KEYS = {
    9: "broker-certificate-early",
    10: "broker-certificate-expired",
    62: "broker-certificate-name",
    64: "broker-certificate-name",
}
"""By OpenSSL's X509_V_ERR (x509_vfy.h)."""
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
_REFUSAL_KEYS = {
    0x85: "broker-client-id",
    0x86: "broker-login",
    0x87: "broker-login",
    0x8A: "broker-banned",
    **dict.fromkeys((0x88, 0x89, 0x97, 0x9F), "broker-busy"),
    **dict.fromkeys((0x9C, 0x9D), "broker-moved"),
}
"""By the reason code of a CONNACK (MQTT 5, 3.2.2.2)."""
_END_KEYS = {
    **dict.fromkeys((0x88, 0x89, 0x8B, 0x97, 0x9F), "broker-busy"),
    0x8D: "broker-vanished",
    0x8E: "broker-taken-over",
    0x98: "broker-banned",
    **dict.fromkeys((0x9C, 0x9D), "broker-moved"),
}
"""By the reason code of a DISCONNECT (MQTT 5, 3.14.2.1)."""


def connection_error(error: Exception, options: BrokerOptions) -> LinkDown:
    """Why no connection could be made."""
    match error:
        case socket.gaierror():
            key = "broker-name-unknown"
        case ConnectionRefusedError():
            key = "broker-port-closed"
        case ssl.SSLCertVerificationError(verify_code=code):
            key = _CERTIFICATE_KEYS.get(code, "broker-ca-wrong" if options.ca_file else "broker-ca-needed")
        case ConnectionError() | ssl.SSLError() if options.has_tls and _is_plain_port(error):
            key = "broker-not-tls"
        case ssl.SSLError():
            key = "broker-tls"
        case TimeoutError():
            key = "broker-unreachable"
        case OSError(errno=number) if number in _UNREACHABLE:
            key = "broker-unreachable"
        case _:
            key = "broker-away"
    facts = _facts(options)
    if key in ("broker-away", "broker-tls"):
        facts["reason"] = error
    return LinkDown(key, **facts)


def _is_plain_port(error: Exception) -> bool:
    closed = ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError
    return isinstance(error, closed) or getattr(error, "reason", None) in _PLAIN_PORT_REASONS


def refusal_error(options: BrokerOptions, code: int) -> LinkDown:
    """The broker has answered CONNECT with a reason code."""
    key = _REFUSAL_KEYS.get(code, "broker-refused")
    if key == "broker-login" and not options.username:
        key = "broker-login-missing"
    return LinkDown(key, code=code, reason_code=hex_code(code), **_facts(options))


def end_error(options: BrokerOptions, code: int | None) -> LinkDown:
    """The connection has ended: with the reason code of a DISCONNECT, or without one."""
    facts = _facts(options)
    if code is None:
        return LinkDown("broker-lost", **facts)
    return LinkDown(
        _END_KEYS.get(code, "broker-disconnects"), code=code, reason_code=hex_code(code), **facts
    )


def unanswered_error(options: BrokerOptions, first_byte: int | None) -> LinkDown:
    """The broker has closed the connection before a CONNACK; `first_byte`: of what it sent instead."""
    if options.has_tls:
        key = "broker-closes-tls"
    elif first_byte == TLS_ALERT:
        key = "broker-only-tls"
    elif first_byte is None:
        key = "broker-closes"
    else:
        return not_mqtt_error(options)
    return LinkDown(key, **_facts(options))


def not_mqtt_error(options: BrokerOptions) -> LinkDown:
    """What the broker has sent is no MQTT."""
    return LinkDown("broker-not-mqtt", **_facts(options))


def most_specific_error(errors: Sequence[LinkDown]) -> LinkDown:
    """Of several attempts with different terms, the error that a person must know: a refused client id,
    else the last answer of the broker, else the first failure."""
    answers = [error for error in errors if "code" in error.facts]
    client_id = [error for error in answers if error.facts["code"] == 0x85]
    return (*client_id, *answers[-1:], *errors)[0]


def _facts(options: BrokerOptions) -> dict[str, object]:
    return {
        "url": options.url,
        "host": options.host,
        "port": options.port,
        "username": options.username,
        "client_id": options.client_id,
        "ca_file": options.ca_file,
    }
