from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import msgspec
import pytest

from gateway.capabilities.safety.channels import DeliveryFailed
from gateway.capabilities.safety.channels.webhook import CHANNEL, Options
from gateway.capabilities.safety.https_post import is_safe_url
from tests.gateway.capabilities.safety.channels.conftest import AT, FIRE, SECRET, WANG, Web, secret


async def test_it_is_signed_over_time_and_body(web: Web, tmp_path: Path) -> None:
    web.status, web.body = "204 No Content", b""
    await CHANNEL.send(Options(url=web.url, secret_file=secret(tmp_path)), FIRE, [WANG], AT)
    [request] = web.requests
    assert msgspec.json.decode(request.body) == {
        "at": AT.wall_ms,
        "text": "【火灾】大厅烟感\n报警，尚无人确认。",
        "people": ["wang"],
        "alarms": [{"alarm": "a"}],
    }
    stamp = request.headers["x-linli-timestamp"]
    assert stamp == str(AT.wall_ms // 1000)
    independent = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", SECRET, "-r"],
        input=stamp.encode() + b"." + request.body, capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert request.headers["x-linli-signature"] == "sha256=" + independent.decode().split()[0]


async def test_the_certificate_is_verified(
    certificate: Path, server_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    web = Web()
    await web.start(server_tls)
    try:
        options = Options(url=web.url, secret_file=secret(tmp_path))
        with pytest.raises(DeliveryFailed, match="channel-away") as failed:
            await CHANNEL.send(options, FIRE, [], AT)
        assert "certificate" in str(failed.value.facts["reason"]).lower()
        assert web.requests == []
        await CHANNEL.send(msgspec.structs.replace(options, ca_file=certificate), FIRE, [], AT)
        assert len(web.requests) == 1
    finally:
        await web.close()


@pytest.mark.parametrize(
    ("url", "well"),
    [
        ("https://example.cn/hook", True),
        ("http://127.0.0.1:8000/hook", True),
        ("http://example.cn/hook", False),
        ("https://user:pass@example.cn/hook", False),
        ("https://example.cn/hook?key=1", False),
        ("ftp://example.cn", False),
        ("https://", False),
    ],
)
def test_what_is_secret_does_not_stand_in_the_url(url: str, well: bool) -> None:
    assert is_safe_url(url) is well
