"""The running gateway with its broker: what leaves it and what it leaves on the disk."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.base import control
from gateway.model import GatewayError
from tests.gateway.conftest import Centre, linli
from tests.gateway.simulate.conftest import eventually

SAID = {"name": "欧阳小凡", "phone": "13912345678", "address": "7 幢 2301", "text": "楼上漏水到我家"}
NOTE = "已约水电工老赵"


def ask(centre: Centre, name: str, /, **request: Any) -> dict[str, Any]:
    return asyncio.run(control.call_daemon(centre.daemon.socket, name, **request))


def update(centre: Centre, number: str, action: str, note: str = "", **args: Any) -> None:
    asked = {"action": f"need-{action}", "args": {"id": number, **args}, "note": note, "by": "李强"}
    ask(centre, "need-update", **asked)


def events(centre: Centre, kind: str, number: str) -> list[dict[str, Any]]:
    found = centre.witness.find("gateway", "event", id=number)
    return [entry["data"] for entry in found if entry["kind"] == kind]


def on_the_disk(folder: Path) -> bytes:
    return b"".join(
        file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != "needs.key"
    )


def test_a_need_leaves_the_gateway_without_a_word_of_what_was_said(running: Centre) -> None:
    asked = {**SAID, "category": "repair", "channel": "desk", "by": "王芳"}
    number = ask(running, "need-register", **asked)["id"]
    update(running, number, "accept", note=NOTE)
    update(running, number, "refer", note="物业会联系" + SAID["phone"], to="property")
    said = ask(running, "need-particulars", id=number, by="王芳")
    assert said["text"] == SAID["text"]
    update(running, number, "close", outcome="partly", satisfaction=4)
    (closed,) = eventually(lambda: events(running, "need-closed", number))
    assert (closed["category"], closed["outcome"], closed["satisfaction"]) == ("repair", "partly", 4)
    (looked,) = eventually(lambda: events(running, "need-looked", number))
    assert looked["by"] == "王芳"
    eventually(lambda: running.witness.find("needs", "telemetry", quality="good"))
    folder = running.daemon.folder
    for word in (*SAID.values(), NOTE, "物业会联系"):
        for encoded in (word.encode(), word.encode("utf-16-le"), word.encode("unicode-escape")):
            assert encoded not in on_the_disk(folder), word
    assert stat.S_IMODE((folder / "needs.db").stat().st_mode) == 0o600
    update(running, number, "erase")
    eventually(lambda: events(running, "need-erased", number))
    with pytest.raises(GatewayError, match="need-erased"):
        ask(running, "need-particulars", id=number, by="王芳")
    listed = linli("needs", "--csv", "--config", running.daemon.site)
    assert listed.returncode == 0, listed.stderr
    line = next(line for line in listed.stdout.splitlines() if line.startswith(number))
    assert "Repairs,Desk,Closed" in line
    needs_table = linli("needs", "--config", running.daemon.site, lang="zh")
    assert "报修" in needs_table.stdout


def test_the_platform_may_not_touch_needs_unless_the_site_says_so(running: Centre) -> None:
    asked = {**SAID, "category": "advice", "channel": "desk", "by": "王芳"}
    number = ask(running, "need-register", **asked)["id"]
    for n, action in enumerate(("need-look", "need-erase", "need-close")):
        running.command(f"need-no-{n}", "gateway", action, id=number, outcome="met")
        assert running.reply(f"need-no-{n}")["detail"] == "not-allowed"
    update(running, number, "erase")
