"""E-mail by SMTP, encrypted, through aiosmtplib."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from gateway.model import Checks, Stamp, is_host
from gateway.wire.secret import read_secret
from gateway.wire.trust import trust_context

from ..channel import AlarmMessage, Channel, Contact, DeliveryFailed, is_email

MAX_BODY_BYTES = 64_000


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`security`: `tls` from the first byte (port 465) or `starttls` (587); unencrypted is not possible."""

    host: str
    sender: str
    username: str = ""
    password_file: Path | None = None
    security: Literal["tls", "starttls"] = "tls"
    port: int = 0
    """0: the usual port for that security."""
    ca_file: Path | None = None

    CHECKS: ClassVar[Checks] = {
        "host": (is_host, "channel-host"),
        "sender": (is_email, "channel-email"),
        "port": (lambda number: 0 <= number < 65_536, "port-range"),
    }


async def send(options: Options, message: AlarmMessage, contacts: Sequence[Contact], at: Stamp) -> None:
    import aiosmtplib  # noqa: PLC0415  only this channel needs it

    password = read_secret(options.password_file) if options.password_file else None
    trust = await asyncio.to_thread(trust_context, options.ca_file)
    tls = options.security == "tls"
    try:
        await aiosmtplib.send(
            compose_email(options, message, contacts, at),
            hostname=options.host,
            port=options.port or (465 if tls else 587),
            username=options.username or None,
            password=password,
            local_hostname="linli",
            timeout=15,
            use_tls=tls,
            start_tls=not tls,
            tls_context=trust,
        )
    except aiosmtplib.SMTPAuthenticationError as error:
        # The text of the server may repeat the credentials.
        raise DeliveryFailed("channel-login", host=options.host, code=error.code) from None
    except aiosmtplib.SMTPRecipientsRefused as error:
        code = error.recipients[0].code
        raise DeliveryFailed("channel-smtp", host=options.host, code=code) from None
    except aiosmtplib.SMTPResponseException as error:
        raise DeliveryFailed("channel-smtp", host=options.host, code=error.code) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise DeliveryFailed("channel-away", host=options.host, reason=error) from None


def compose_email(
    options: Options, message: AlarmMessage, contacts: Sequence[Contact], at: Stamp
) -> EmailMessage:
    """The e-mail. If it is sent twice it has the same id, so that mail programs show it once."""
    email = EmailMessage(policy=SMTP)
    body = message.render(MAX_BODY_BYTES)
    to = [contact.email for contact in contacts]
    email["From"] = formataddr(("Linli Gateway", options.sender))
    email["To"] = ", ".join(to)
    email["Subject"] = " ".join(message.headline.split())
    email["Date"] = format_datetime(datetime.fromtimestamp(at.wall_ms / 1000, UTC))
    digest = hashlib.sha256("\n".join((body, *to)).encode()).hexdigest()[:32]
    email["Message-ID"] = f"<{digest}@{options.sender.partition('@')[2]}>"
    email["Auto-Submitted"] = "auto-generated"
    email.set_content(body)
    return email


CHANNEL = Channel(options=Options, send=send, address_field="email")
