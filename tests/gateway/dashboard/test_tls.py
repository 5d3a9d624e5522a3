"""The dashboard over TLS, on the wire."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.dashboard.http_protocol import MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS
from gateway.dashboard.tls import ServerTls
from gateway.model import ConfigError
from tests.gateway.dashboard_fixtures import KEY, House, Served


@pytest.fixture
def served(house: House) -> Iterator[Served]:
    """With an authority of its own."""
    house.furnish()
    served = Served(msgspec.structs.replace(house.settings, local_ca=True))
    yield served
    served.end()


def ask(
    served: Served, path: str, context: ssl.SSLContext, cookie: str = "", method: str = "GET"
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request of a browser that trusts whatever the context does."""
    connection = http.client.HTTPSConnection("127.0.0.1", served.port, timeout=10, context=context)
    with contextlib.closing(connection):
        headers = {"origin": served.url, "cookie": cookie}
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def distrustful() -> ssl.SSLContext:
    """Of somebody who has clicked the warning away."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def trusting(served: Served) -> ssl.SSLContext:
    """Of somebody who has done what the page says."""
    status, headers, certificate = ask(served, "/trust/linli-ca.crt", distrustful())
    assert (status, headers["content-type"]) == (200, "application/x-x509-ca-cert")
    return ssl.create_default_context(cadata=certificate)


def test_a_device_that_trusts_the_authority_is_served_without_a_warning(served: Served) -> None:
    assert served.url.startswith("https://")
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(served, "/", ssl.create_default_context())
    context = trusting(served)
    status, headers, _ = ask(served, f"/?key={KEY}&name=Wang", context)
    assert status == 303
    assert "secure" in headers["set-cookie"].lower()
    assert "strict-transport-security" not in headers
    cookie = headers["set-cookie"].partition(";")[0]
    status, _, body = ask(served, "/", context, cookie)
    assert (status, "滨江邻里中心" in body.decode()) == (200, True)
    assert ask(served, "/", context)[0] == 401


@pytest.mark.parametrize(("lang", "said"), [("zh", "证书信任设置"), ("en", "Certificate Trust Settings")])
def test_the_page_explains_how_to_trust_it(served: Served, lang: str, said: str) -> None:
    status, _, body = ask(served, f"/trust?lang={lang}", distrustful())
    page = body.decode()
    assert status == 200
    assert said in page
    certificate = ask(served, "/trust/linli-ca.crt", distrustful())[2]
    shown = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-noout", "-fingerprint", "-sha256"],
        input=certificate, capture_output=True, check=True,
    )  # fmt: skip
    assert shown.stdout.decode().strip().partition("=")[2] in page
    assert "/trust" in ask(served, "/", distrustful())[2].decode(), "the login leads there"


@pytest.mark.parametrize(
    ("path", "host", "status", "location"),
    [
        ("/", "127.0.0.1:8080", 308, "https://127.0.0.1:8080/"),
        (
            "/visits?day=2026-11-01&lang=zh",
            "linli.local",
            308,
            "https://linli.local/visits?day=2026-11-01&lang=zh",
        ),
        ("//evil.example", "[fd00::20]:8080", 308, "https://[fd00::20]:8080//evil.example"),
        ("/a%0d%0ab", "x", 308, "https://x/a%0D%0Ab"),
        ("/", "evil.example/@x", 400, None),
        ("/", "a b", 400, None),
    ],
)
def test_an_address_of_before_leads_to_the_encrypted_one(
    served: Served, path: str, host: str, status: int, location: str | None
) -> None:
    plain = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    with contextlib.closing(plain):
        plain.request("GET", path, headers={"host": host, "cookie": "linli-session=x"})
        answer = plain.getresponse()
        assert (answer.status, answer.headers["location"]) == (status, location)
        assert "set-cookie" not in answer.headers
        assert answer.read() == b""


def test_what_is_no_handshake_gets_nowhere(served: Served) -> None:
    context = trusting(served)
    for rubbish in (b"\x16\x03", b"\x16" * 5000, b"\0" * 100, b"\x80\x2e\x01", b"SSH-2.0-x\r\n"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
            client.sendall(rubbish)
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                assert b" 200 " not in client.recv(100)
    assert ask(served, "/", context)[0] == 401
    served.end()
    assert not [line for line in served.said if "Traceback" in line or "Exception" in line]


def test_handshakes_that_never_end_shut_nobody_out(served: Served) -> None:
    context = trusting(served)
    cookie = ask(served, f"/?key={KEY}", context)[1]["set-cookie"].partition(";")[0]
    with contextlib.ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=5))
            for _ in range(MAX_CONNECTIONS + 50)
        ]
        for number, client in enumerate(crowd):
            with contextlib.suppress(ConnectionError):
                client.sendall(b"\x16\x03\x01" if number % 2 else b"")
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                if ask(served, "/", context, cookie)[0] == 200:
                    break
            assert time.monotonic() < until
        with contextlib.suppress(ConnectionError):
            assert crowd[0].recv(1) == b"", "the oldest was disconnected"
        still_open = 0
        for client in crowd:
            client.setblocking(False)
            try:
                still_open += client.recv(1) != b""
            except BlockingIOError:
                still_open += 1
            except ConnectionError:
                pass
        assert still_open <= MAX_CONNECTIONS_PER_ADDRESS
    assert ask(served, "/", context, cookie)[0] == 200


def test_a_request_that_comes_with_the_handshake_is_answered(served: Served) -> None:
    """As much as there can be in one packet, many times."""
    context = trusting(served)
    for _ in range(30):
        with (
            socket.create_connection(("127.0.0.1", served.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            client.sendall(b"GET /favicon.ico HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert client.recv(15).startswith(b"HTTP/1.1 200")


def test_streams_and_commands_work_as_before(house: House, served: Served) -> None:
    context = trusting(served)
    cookie = ask(served, f"/?key={KEY}", context)[1]["set-cookie"].partition(";")[0]
    connection = http.client.HTTPSConnection("127.0.0.1", served.port, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/events", headers={"cookie": cookie})
        assert connection.getresponse().readline() == b"retry: 2000\n"
        other = http.client.HTTPSConnection("127.0.0.1", served.port, timeout=10, context=context)
        with contextlib.closing(other):
            wish = json.dumps({"action": "do", "device": "gas", "name": "close-valve"})
            other.request("POST", "/command", wish, {"cookie": cookie, "origin": served.url})
            assert other.getresponse().status == 200
        began = time.monotonic()
        served.end()
        assert time.monotonic() - began < 4
    assert [each["action"] for each in house.commands] == ["close-valve"]


def own(folder: Path, name: str, days: int = 90) -> tuple[Path, Path]:
    """A certificate for that name, and its key, by OpenSSL."""
    certificate, key = folder / "own.pem", folder / "own.key"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
        "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key


async def test_another_own_certificate_is_used_without_a_restart_and_a_bad_one_is_not(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = own(tmp_path, "first.example")
    tls = ServerTls(
        msgspec.structs.replace(house.settings, certificate_file=certificate, private_key_file=key)
    )

    def shown() -> bytes:
        """What a client is shown, without a wire between them."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = tls.context.wrap_bio(to_server, to_client, server_side=True)
        peer = distrustful().wrap_bio(to_client, to_server, server_hostname="x")
        for _ in range(4):
            for each in (peer, server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    each.do_handshake()
        return peer.getpeercert(binary_form=True) or b""

    assert b"first.example" in shown()
    own(tmp_path, "second.example")
    await tls.follow()
    assert b"second.example" in shown()
    key.chmod(0o644)
    for _ in range(3):
        await tls.follow()
    assert b"second.example" in shown()
    assert len([each for each in caplog.records if "certificate-refused" in each.getMessage()]) == 1
    key.unlink()
    with pytest.raises(ConfigError, match="private-key-unreadable"):
        ServerTls(
            msgspec.structs.replace(house.settings, certificate_file=certificate, private_key_file=key)
        )
