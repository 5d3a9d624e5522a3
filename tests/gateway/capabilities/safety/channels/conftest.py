"""The other ends of the channels, on loopback."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from gateway.capabilities.safety.channels import AlarmMessage, Contact
from gateway.model import ClockQuality, Stamp

AT = Stamp(1_795_252_000_123, 5, "boot", ClockQuality.SYNCED)
WANG = Contact(
    name="wang", title={"zh": "王", "en": "Wang"}, phone="+8613800138000", email="wang@example.cn"
)
LI = Contact(
    name="li", title={"zh": "李", "en": "Li"}, phone="13900139000", email="li@example.cn", wecom="lilei"
)
FIRE = AlarmMessage(
    headline="【火灾】大厅烟感",
    paragraphs=("报警，尚无人确认。",),
    omitted_sentence="另有 {count} 条",
    alarms=({"alarm": "a"},),
)
SECRET = "Tr0ub4dor3SECRET"


def secret(folder: Path, text: str = SECRET, name: str = "secret") -> Path:
    file = folder / name
    file.write_text(text + "\n")
    file.chmod(0o600)
    return file


class Request(msgspec.Struct):
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Web:
    """An HTTP server that writes down what it is told and answers as it is bid."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = "200 OK"
        self.body = b'{"errcode":0,"errmsg":"ok"}'
        self.delay = 0.0
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self, trust: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=trust)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if trust else ''}://localhost:{port}/send"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *lines = head.split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (each.partition(":") for each in lines) if k}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            url = urlsplit(line.split(" ")[1])
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            self.requests.append(Request(url.path, query, headers, body))
            await asyncio.sleep(self.delay)
            head = (
                f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + self.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def close(self) -> None:
        if self._server:
            self._server.close()
            await self._server.wait_closed()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    it = Web()
    await it.start()
    yield it
    await it.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of localhost; `key.pem` lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem",
         "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem"


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context
