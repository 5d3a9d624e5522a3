"""E-mail against a real SMTP server."""

from __future__ import annotations

import asyncio
import email
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.policy import default
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from gateway.capabilities.safety.channels import DeliveryFailed
from gateway.capabilities.safety.channels.smtp import CHANNEL, Options
from gateway.words import translate
from tests.gateway.capabilities.safety.channels.conftest import AT, FIRE, SECRET, WANG, secret


class Box:
    """What the server was given, and what it says to a recipient."""

    def __init__(self) -> None:
        self.letters: list[Envelope] = []
        self.says = "250 OK"

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.says.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.says

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.letters.append(envelope)
        return "250 OK"


def login(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
) -> AuthResult:
    right = data.login == b"linli" and data.password == SECRET.encode()
    return AuthResult(success=right, handled=right)


@asynccontextmanager
async def serving(box: Box, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    """A server, with TLS from the first byte if `tls` is given."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(box, loop=loop, authenticator=login, **options), "localhost", 0, ssl=tls
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def options(tmp_path: Path, certificate: Path) -> Callable[..., Options]:
    def build(port: int, **more: Any) -> Options:
        fields = {
            "host": "localhost", "port": port, "sender": "alarm@example.cn", "username": "linli",
            "password_file": secret(tmp_path), "ca_file": certificate,
        }  # fmt: skip
        return Options(**{**fields, **more})

    return build


async def test_a_letter_arrives_by_starttls_after_login(
    options: Callable[..., Options], server_tls: ssl.SSLContext
) -> None:
    box = Box()
    async with serving(box, tls_context=server_tls, require_starttls=True) as port:
        for _ in range(2):
            await CHANNEL.send(options(port, security="starttls"), FIRE, [WANG], AT)
    first, second = (
        email.message_from_bytes(letter.content or b"", policy=default) for letter in box.letters
    )
    assert box.letters[0].rcpt_tos == ["wang@example.cn"]
    assert first["Subject"] == "【火灾】大厅烟感"
    assert first.get_content() == "【火灾】大厅烟感\r\n报警，尚无人确认。\r\n"
    assert first["Message-ID"] == second["Message-ID"]


async def test_a_letter_arrives_by_tls(options: Callable[..., Options], server_tls: ssl.SSLContext) -> None:
    box = Box()
    async with serving(box, server_tls, auth_require_tls=False) as port:
        await CHANNEL.send(options(port), FIRE, [WANG], AT)
    assert len(box.letters) == 1


async def failure(options: Options) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as failed:
        await CHANNEL.send(options, FIRE, [WANG], AT)
    error = failed.value
    for language in ("zh", "en"):
        said = translate(language, f"error.{error.key}", **error.facts)
        assert SECRET not in said
        assert "?" not in said
    assert SECRET not in repr(error)
    return error


async def test_a_server_without_encryption_is_told_nothing(options: Callable[..., Options]) -> None:
    box = Box()
    async with serving(box, auth_require_tls=False) as port:
        assert (await failure(options(port, security="starttls"))).key == "channel-away"
        assert (await failure(options(port))).key == "channel-away"
    assert box.letters == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    options: Callable[..., Options], server_tls: ssl.SSLContext
) -> None:
    box = Box()
    async with serving(box, tls_context=server_tls) as port:
        error = await failure(options(port, security="starttls", ca_file=None))
    assert error.key == "channel-away"
    assert "certificate" in str(error.facts["reason"]).lower()


async def test_a_wrong_password_greylisting_and_nobody_there(
    options: Callable[..., Options], server_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    box = Box()
    async with serving(box, tls_context=server_tls) as port:
        right = options(port, security="starttls")
        box.says = "451 4.7.1 Greylisted, please try again later"
        error = await failure(right)
        assert (error.key, error.facts["code"]) == ("channel-smtp", 451)
        box.says = "250 OK"
        await CHANNEL.send(right, FIRE, [WANG], AT)
        wrong = msgspec.structs.replace(right, password_file=secret(tmp_path, "wrong", "wrong"))
        assert (await failure(wrong)).key == "channel-login"
    assert (await failure(right)).key == "channel-away"
    assert len(box.letters) == 1
