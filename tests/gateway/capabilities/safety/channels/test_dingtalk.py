from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import msgspec
import pytest

from gateway.capabilities.safety.channels import DeliveryFailed
from gateway.capabilities.safety.channels.dingtalk import CHANNEL, Options
from tests.gateway.capabilities.safety.channels.conftest import AT, FIRE, LI, WANG, Web, secret

SIGN = "SEC0123456789abcdef"


async def test_a_robot_is_told_and_the_signature_is_what_openssl_says(web: Web, tmp_path: Path) -> None:
    options = Options(
        url=web.url, secret_file=secret(tmp_path, "token123"), sign_file=secret(tmp_path, SIGN, "sign")
    )
    await CHANNEL.send(options, FIRE, [WANG, LI], AT)
    [request] = web.requests
    assert request.query["access_token"] == "token123"
    assert request.query["timestamp"] == str(AT.wall_ms)
    independent = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", SIGN, "-binary"],
        input=f"{AT.wall_ms}\n{SIGN}".encode(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert request.query["sign"] == base64.b64encode(independent).decode()
    body = msgspec.json.decode(request.body)
    assert body["at"] == {"atMobiles": ["13800138000", "13900139000"], "isAtAll": False}
    assert body["text"]["content"].endswith("\n@13800138000 @13900139000")


async def test_a_wrong_signature_is_told(web: Web, tmp_path: Path) -> None:
    web.body = b'{"errcode":310000,"errmsg":"sign not match"}'
    options = Options(
        url=web.url, secret_file=secret(tmp_path, "token123"), sign_file=secret(tmp_path, SIGN, "sign")
    )
    with pytest.raises(DeliveryFailed) as failed:
        await CHANNEL.send(options, FIRE, [], AT)
    assert failed.value.facts["code"] == 310000
    assert SIGN not in repr(failed.value)
