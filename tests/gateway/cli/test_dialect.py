"""`linli dialect`: what is wrong with a file, and what the records of the newest day become in it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway import cli
from gateway.base.clock import SystemClock
from gateway.cli import EX_CONFIG
from gateway.journal import Journal
from gateway.model import Fact, Lane, Sample, Stamp

SITE = """\
schema = "linli/site/1"
[site]
id = "centre"
title = "Centre"
[journal]
path = "{folder}/journal.db"
[uplink]
url = "mqtt://127.0.0.1:1883"
dialect = "{dialect}"
[uplink.identity.gateway]
id = "GW01"
secret_file = "{folder}/secret"
[bus.line]
driver = "modbus"
url = "tcp://127.0.0.1:502"
[device.hall]
profile = "smoke/generic-rs485"
bus = "line"
unit = 3
"""
OWN = """\
schema = "linli/dialect/1"
title = "Acme"
source = "Acme interface 1"
[identity.gateway]
id = ""
secret = ""
[login]
client_id = "{gateway.id}"
username = "{gateway.secret}"
[[opening]]
topic = "up/{gateway.id}/login"
payload = '{ "token": "{gateway.secret}" }'
[[telemetry]]
topic = "up/{gateway.id}/{device.name}"
json_schema = "acme.schema.json"
payload = '{ "t": "{record.time}", "values": "{values}" }'
[[alarm]]
topic = "alarm/{gateway.id}"
payload = '{ "hazard": "{data.hazard}" }'
"""
SCHEMA = {"type": "object", "properties": {"values": {"additionalProperties": {"type": "number"}}}}


class Yesterday(SystemClock):
    """Some days ago."""

    def __init__(self, days: int) -> None:
        super().__init__()
        self._days = days

    def now(self) -> Stamp:
        at = super().now()
        return Stamp(at.wall_ms - self._days * 86_400_000, at.mono_ns, at.boot, at.clock)


async def write_journal(path: Path) -> None:
    """Two days; the older one must not be shown."""
    async with Journal.open(path, SystemClock(), 10) as journal:
        for days, value in ((3, 1.5), (1, 21.5), (1, 22.5)):
            now = Yesterday(days).now()
            journal.append_sample(Sample("hall", now, {"temperature": value}))
            journal.append("", [Fact(Lane.ALARM, "hall", "alarm", now, {"hazard": "fire"})], {})
            journal.append("", [Fact(Lane.EVENT, "hall", "link", now, {"online": True})], {})
        await journal.commit()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "site.toml"
    file.write_text(SITE.format(folder=tmp_path, dialect="acme"))
    (tmp_path / "dialects").mkdir()
    (tmp_path / "dialects" / "acme.toml").write_text(OWN)
    (tmp_path / "dialects" / "acme.schema.json").write_text(json.dumps(SCHEMA))
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("top-secret")
    return file


@pytest.mark.parametrize(
    ("lang", "said"), [("en", "records have no message"), ("zh", "条记录在平台上没有")]
)
def test_the_newest_day_is_shown_as_the_platform_would_have_seen_it(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lang: str, said: str
) -> None:
    monkeypatch.setenv("LINLI_LANG", lang)
    asyncio.run(write_journal(site.parent / "journal.db"))
    assert cli.main(["check", str(site)]) == 0
    assert cli.main(["dialect", "try", "acme", "--config", str(site)]) == 0
    shown = capsys.readouterr().out
    assert "up/GW01/hall" in shown
    assert '"temperature": 21.5' in shown
    assert '"temperature": 22.5' in shown
    assert "1.5\n" not in shown.replace("21.5\n", "")
    assert shown.count('"hazard": "fire"') == 2
    assert said in shown
    assert '"token": "…"' in shown
    assert "top-secret" not in shown
    assert "acme.schema.json" in shown


def test_what_does_not_conform_to_the_schema_is_told(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLI_LANG", "en")
    asyncio.run(write_journal(site.parent / "journal.db"))
    strict = {**SCHEMA, "required": ["device"]}
    (site.parent / "dialects" / "acme.schema.json").write_text(json.dumps(strict))
    assert cli.main(["dialect", "try", "acme", "--config", str(site)]) == 1
    told = capsys.readouterr().err
    assert 'up/GW01/hall: / does not conform to acme.schema.json ({"required": ["device"]})' in told


def test_a_change_that_breaks_an_example_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLI_LANG", "en")
    file = tmp_path / "acme.toml"
    records = 'records = [{ device = "hall", values = { t = 1 } }]\n'
    message = """messages = [{ topic = "up/gw/hall", payload = '{ "t": 0, "values": { "t": 2 } }' }]\n"""
    site = '[example]\nnow = 1970-01-01T00:00:00Z\ngateway = { id = "gw" }\n[example.devices.hall]\n'
    file.write_text(f'{OWN}{site}kind = "heat"\n[[examples]]\n{records}{message}')
    assert cli.main(["dialect", "check", str(file)]) == EX_CONFIG
    told = capsys.readouterr().err
    line = file.read_text().count("\n") - 1
    assert told.startswith(f"{file}:{line - 1}: examples: example 1: messages.1.payload is ")
    assert '{"t": 0, "values": {"t": 1}} instead of {"t": 0, "values": {"t": 2}}' in told
    file.write_text(file.read_text().replace('"t": 2', '"t": 1'))
    assert cli.main(["dialect", "check", str(file)]) == 0
    assert cli.main(["check", str(file)]) == 0
    assert capsys.readouterr().out.count("OK (2 messages, 0 commands, 1 examples)") == 2


def test_an_identity_that_is_missing_is_found_by_check(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLI_LANG", "en")
    (site.parent / "secret").unlink()
    site.write_text(site.read_text().replace('id = "GW01"', 'idd = "GW01"'))
    assert cli.main(["check", str(site)]) == EX_CONFIG
    told = capsys.readouterr().err
    assert ": uplink.identity.gateway.idd: unknown key; did you mean: id" in told
    assert ": uplink.identity.gateway: the dialect needs 'id': add it to [uplink.identity.gateway]" in told
    site.write_text(site.read_text().replace("idd", "id"))
    assert cli.main(["check", str(site)]) == EX_CONFIG
    assert f"{site.parent}/secret" in capsys.readouterr().err
