from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import cli
from gateway.base import control
from gateway.base.clock import SystemClock
from gateway.capabilities.safety.commands.alarms import short_ids
from gateway.capabilities.safety.services.alarms import Alarm, AlarmState
from gateway.model import Hazard
from tests.gateway.conftest import Centre, linli
from tests.gateway.simulate.conftest import eventually

DEMO = Path(__file__).parents[5] / "config" / "demo.toml"


def test_short_ids_tell_alarms_apart_and_stay() -> None:
    ids = [f"smoke-{n}/smoke/18a{n:x}" for n in range(600)]
    found = short_ids(ids)
    assert len(set(found.values())) == 600
    assert min(map(len, found.values())) == max(map(len, found.values())) > 4
    assert short_ids(ids[:1])[ids[0]] == found[ids[0]][:4]
    assert short_ids([]) == {}


def test_an_alarm_is_listed_acknowledged_and_reset(
    running: Centre, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = str(running.daemon.site)

    def alarms(*more: str, lang: str = "zh") -> tuple[int, str]:
        monkeypatch.setenv("LINLI_LANG", lang)
        code = cli.main(["alarms", *more, "--config", site])
        told = capsys.readouterr()
        return code, told.out + told.err

    assert cli.main(["do", "gateway", "drill", "hazard=fire", "--yes", "--config", site]) == 0
    capsys.readouterr()
    (drill,) = eventually(lambda: [a for a in json.loads(alarms("--json")[1]) if a["mode"] == "drill"])
    code, told = alarms()
    assert code == 0
    assert f"{drill['short']}  火警" in told
    assert "演练" in told
    assert "Fire" in alarms(lang="en")[1]
    for typed, said in (("ffff0", "没有编号为“ffff0”的报警"), ("", "请写明报警编号")):
        code, told = alarms("ack", *([typed] if typed else []))
        assert code == 1
        assert said in told
    assert alarms("ackn", drill["short"]) == (1, "没有“ackn”这个动作；您要的可能是 ack\n")
    assert alarms("ack", drill["short"], "--by", "王芳")[0] == 0
    (seen,) = [a for a in json.loads(alarms("--json")[1]) if a["id"] == drill["id"]]
    assert (seen["state"], seen["acknowledged_by"]) == ("acknowledged", "王芳")
    code, told = alarms("ack", drill["short"])
    assert code == 1
    assert "已由 王芳 确认" in told
    code, told = alarms("reset", drill["short"], "--by", "王芳", lang="en")
    assert code == 0
    assert "Reset the alarm: done" in told
    assert drill["id"] not in {a["id"] for a in json.loads(alarms("--json")[1])}


@pytest.mark.parametrize(
    ("point", "place", "where", "told"),
    [
        ("overload.4", "", "", "main (main, 过载 4)"),
        ("fire", "1-2-3", "三楼 走廊", "main (main, 火警 三楼 走廊 1-2-3)"),
        ("own-rule", "", "", "main (main, own-rule)"),
    ],
)
def test_an_alarm_is_listed_with_its_number_and_its_place(
    point: str,
    place: str,
    where: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at = SystemClock().now()
    alarm = Alarm(
        id=f"main/{point}/1", device="main", point=point, hazard=Hazard.FIRE, place=place, where=where,
        state=AlarmState.ACTIVE, raised=at, title={"zh": "main", "en": "main"},
    )  # fmt: skip

    async def answer(*_: object) -> dict[str, Any]:
        return {"alarms": [msgspec.to_builtins(alarm)]}

    monkeypatch.setattr(control, "call_daemon", answer)
    monkeypatch.setenv("LINLI_LANG", "zh")
    assert cli.main(["alarms", "--config", str(DEMO)]) == 0
    assert f" {told} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lang", "said"), [("zh", "本机没有运行网关"), ("en", "the gateway is not running")]
)
def test_without_a_gateway_that_is_said(tmp_path: Path, running: Centre, lang: str, said: str) -> None:
    text = running.daemon.site.read_text("utf-8")
    site = tmp_path / "site.toml"
    site.write_text(text.replace(str(running.daemon.folder), str(tmp_path)), "utf-8")
    done = linli("alarms", "--config", site, lang=lang)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Errno" not in done.stderr
