from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.capabilities.safety.channels import AlarmMessage, DeliveryFailed
from gateway.capabilities.safety.channels.wecom import CHANNEL, MAX_TEXT_BYTES, Options
from gateway.words import translate
from tests.gateway.capabilities.safety.channels.conftest import AT, FIRE, LI, SECRET, WANG, Web, secret


async def test_a_robot_is_told_and_calls_people(web: Web, tmp_path: Path) -> None:
    await CHANNEL.send(Options(url=web.url, secret_file=secret(tmp_path)), FIRE, [WANG, LI], AT)
    [request] = web.requests
    assert request.query == {"key": SECRET}
    assert request.headers["content-type"] == "application/json"
    assert msgspec.json.decode(request.body) == {
        "msgtype": "text",
        "text": {
            "content": "【火灾】大厅烟感\n报警，尚无人确认。",
            "mentioned_list": ["lilei"],
            "mentioned_mobile_list": ["13800138000"],
        },
    }


async def test_a_long_message_is_cut_between_alarms(web: Web, tmp_path: Path) -> None:
    storm = AlarmMessage(
        headline="300 条",
        paragraphs=tuple(f"第 {n} 号烟感报警" for n in range(300)),
        omitted_sentence="另有 {count} 条",
    )
    await CHANNEL.send(Options(url=web.url, secret_file=secret(tmp_path)), storm, [], AT)
    content = msgspec.json.decode(web.requests[0].body)["text"]["content"]
    lines = content.split("\n")
    assert MAX_TEXT_BYTES - 60 < len(content.encode()) <= MAX_TEXT_BYTES
    assert lines[-1] == f"另有 {300 - (len(lines) - 2)} 条"


@pytest.mark.parametrize(
    ("status", "body", "key"),
    [
        ("200 OK", b'{"errcode":93000,"errmsg":"invalid webhook url Tr0ub4dor3SECRET"}', "channel-robot"),
        ("200 OK", b'{"errcode":45009,"errmsg":"api freq out of limit"}', "channel-robot"),
        ("200 OK", b"<html>", "channel-answer"),
        ("200 OK", b'{"ok":true}', "channel-answer"),
        ("502 Bad Gateway", b"", "channel-status"),
        ("302 Found", b"", "channel-status"),
    ],
)
async def test_what_is_no_receipt_is_a_failure_that_tells_no_secret(
    web: Web, tmp_path: Path, status: str, body: bytes, key: str
) -> None:
    web.status, web.body = status, body
    with pytest.raises(DeliveryFailed) as failed:
        await CHANNEL.send(Options(url=web.url, secret_file=secret(tmp_path)), FIRE, [], AT)
    assert failed.value.key == key
    for language in ("zh", "en"):
        said = translate(language, f"error.{key}", **failed.value.facts)
        assert "?" not in said
        assert SECRET not in said
    assert SECRET not in repr(failed.value)
    assert failed.value.__cause__ is None


async def test_nobody_there_and_a_file_that_holds_the_whole_address(web: Web, tmp_path: Path) -> None:
    await web.close()
    options = Options(url=web.url, secret_file=secret(tmp_path))
    with pytest.raises(DeliveryFailed, match="channel-away") as failed:
        await CHANNEL.send(options, FIRE, [], AT)
    assert SECRET not in repr(failed.value)
    secret(tmp_path, f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={SECRET}")
    with pytest.raises(DeliveryFailed, match="channel-secret") as failed:
        await CHANNEL.send(options, FIRE, [], AT)
    assert SECRET not in repr(failed.value)
