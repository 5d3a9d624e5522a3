"""The command line says in the reader's language what is wrong with it."""

from __future__ import annotations

import re

import pytest

from gateway import cli
from gateway.cli import commands
from gateway.terminal.names import nearest_name, unknown_name

MISTAKES = {
    (): ("请写一个命令", "name a command"),
    ("chekc",): ("您要的可能是 check", "did you mean check?"),
    ("Doctor",): ("您要的可能是 doctor", "did you mean doctor?"),
    ("qqqq",): ("没有“qqqq”这个命令；可用：run", "there is no command 'qqqq'; available: run"),
    ("doctor", "--jsn"): ("您要的可能是 --json", "did you mean --json?"),
    ("doctor", "extra"): ("多余的内容：extra", "not expected here: extra"),
    ("read",): ("还缺少：device", "missing: device"),
    ("ledger", "--day"): ("--day 后面要写一个值", "--day needs a value"),
    ("rules", "--days", "many"): ("--days 应为数字，不是 'many'", "--days must be a number, not 'many'"),
    ("drills", "--year", "x"): ("年份写作 2026", "write a year as 2026"),
    ("drills", "--year", "99999"): ("年份写作 2026", "write a year as 2026"),
    ("drills", "--year", "-1"): ("年份写作 2026", "write a year as 2026"),
    ("testlog", "--month", "9999-12"): ("月份写作 2026-11", "write a month as 2026-11"),
    ("testlog", "--month", "0001-01"): ("月份写作 2026-11", "write a month as 2026-11"),
    ("testlog", "--month", "13"): ("月份写作 2026-11", "write a month as 2026-11"),
    ("scan", "tcp", "h", "--units", "abc"): ("由小到大", "from low to high"),
    ("scan", "tcp", "h", "--units", "5-2"): ("这里写的是 5-2", "this is 5-2"),
    ("scan", "tcp", "h", "--units", "1-300"): ("在 0 至 255 之间", "between 0 and 255"),
    ("scan", "tcp", "h", "--units", ","): ("由小到大", "from low to high"),
    ("scan", "tcp", "h", "--seconds", "nan"): ("不超过 3600 的秒数", "3600 at most"),
    ("scan", "tcp", "h", "--timeout", "0"): ("这里写的是 0", "this is 0"),
    ("count-visitors", "x.mp4", "--view", "oblique", "--line", "a,b,c,d"): ("--line", "--line"),
    ("scan", "seriel"): ("您要的可能是 serial", "did you mean serial?"),
    ("doctor", "--json=1"): ("后面不写值", "takes no value"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.items(), ids=" ".join)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_mistyped_command_line_is_told_in_the_readers_language(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: tuple[str, str],
    language: str,
) -> None:
    monkeypatch.setenv("LINLI_LANG", language)
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said[language == "en"] in told
    if language == "zh":
        assert not re.search("usage|argument|error|choose|required|invalid|_parse", told)


@pytest.mark.parametrize("command", ["", *sorted(commands())])
def test_the_help_is_in_chinese(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("LINLI_LANG", "zh")
    with pytest.raises(SystemExit) as ended:
        cli.main([*filter(None, [command]), "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("用法：")
    assert not re.search("usage|show (this|program)|optional|positional", told)


def test_a_language_that_does_not_exist_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLI_LANG", "fr")
    with pytest.raises(SystemExit):
        cli.main([])
    assert "LINLI_LANG=fr" in capsys.readouterr().err


def test_options_may_stand_anywhere() -> None:
    parser = cli._parser("do")
    for arguments in (
        ["do", "locker-1", "open", "lock=3", "--yes", "--config", "x"],
        ["do", "--config", "x", "locker-1", "--yes", "open", "lock=3"],
    ):
        options = parser.parse_args(arguments)
        assert (options.device, options.action, options.args) == ("locker-1", "open", ["lock=3"])
        assert (str(options.config), options.yes) == ("x", True)


def test_what_was_meant() -> None:
    devices = ["smoke-hall", "smoke-kitchen", "gas-kitchen", "door-east"]
    assert nearest_name("smoke_hal", devices) == "smoke-hall"
    assert nearest_name("DOOR-EAST", devices) == "door-east"
    assert nearest_name("烟感", devices) == ""
    assert unknown_name("device", "烟感", devices).facts["known"] == ", ".join(devices)
    assert unknown_name("device", "x", []).facts["known"] == "–"
