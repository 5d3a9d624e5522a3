from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.config import Mistake, Mistakes, load_profile, load_site, profile_folders
from gateway.model import Role
from gateway.words import LANGUAGES, words

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
DEMO = (ROOT / "config" / "demo.toml").read_text("utf-8")
PROFILES = sorted((ROOT / "config" / "profiles").glob("*/*.toml"))

SMALL = """\
schema = "linli/site/1"

[site]
id = "demo"
title = "Demo"

[bus.hall]
driver = "modbus"
url = "tcp://127.0.0.1:502"

[device.smoke]
profile = "smoke/generic-rs485"
bus = "hall"
unit = 1
"""


def mistakes(file: Path, text: str) -> list[Mistake]:
    file.write_text(text, "utf-8")
    with pytest.raises(Mistakes) as refused:
        load_site(file)
    assert {mistake.file for mistake in refused.value.mistakes} == {file}
    return refused.value.mistakes


def test_the_examples_are_well(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SMALL)
    assert list(load_site(tmp_path / "site.toml").devices) == ["smoke"]
    for file in sorted((ROOT / "config").glob("*.toml")):
        assert load_site(file).devices


@pytest.mark.parametrize(
    ("before", "after", "line", "key"),
    [
        ('schema = "linli/site/1"', 'schema = "linli/site/2"', 1, "schema"),
        ('schema = "linli/site/1"', "", 1, "schema"),
        ("[site]", "[sites]", 1, "key-missing"),
        ('id = "demo"', "", 3, "key-missing"),
        ('id = "demo"', 'id = "De mo"', 4, "name-form"),
        ('id = "demo"', "id = 1", 4, "value-text"),
        ('title = "Demo"', 'title = ""', 5, "title-empty"),
        ('title = "Demo"', 'title = "Demo"\ntimezone = "Asia/Shangai"', 6, "timezone-unknown"),
        ('title = "Demo"', 'title = "Demo"\nlanguage = "fr"', 6, "language-unknown"),
        ('title = "Demo"', 'title = "Demo"\nzone = "x"', 6, "key-unknown"),
        ('title = "Demo"', 'title = "Demo"\n\n[metrics]\nport = 70000', 8, "port-range"),
        ('title = "Demo"', 'title = "Demo"\n\n[dashboard]\nport = 0', 8, "port-range"),
        ('title = "Demo"', 'title = "Demo"\n\n[journal]\nwindow = 60.0', 8, "window-range"),
        ('title = "Demo"', 'title = "Demo"\n\n[uplink]\nurl = "ftp://x"', 8, "platform-url"),
        ('title = "Demo"', 'title = "Demo"\n\n[uplink]\nurl = ["mqtts://h:8883"]', 8, "value-text"),
        ('title = "Demo"', 'title = "Demo"\n\n[uplink]\nurl = "mqtt://[::1"', 8, "platform-url"),
        ('title = "Demo"', 'title = "Demo"\n\n[uplink]\nurl = "mqtt://h:99999"', 8, "platform-url"),
        ('title = "Demo"', 'title = "Demo"\n\n[uplink]\nurl = "mqtt://u:p@h"', 8, "platform-url"),
        ('title = "Demo"', 'title = "Demo"\n\n[uplink]', 7, "key-missing"),
        ('driver = "modbus"', "", 7, "key-missing"),
        ('driver = "modbus"', 'driver = "modbuz"', 8, "driver-unknown"),
        ('driver = "modbus"', 'driver = "__init__"', 8, "driver-unknown"),
        ('driver = "modbus"', "driver = 1", 8, "driver-unknown"),
        ("tcp://127.0.0.1:502", "udp://127.0.0.1", 9, "modbus-url"),
        ("tcp://127.0.0.1:502", "tcp://[", 9, "modbus-url"),
        ("[device.smoke]", "[device.Smoke]", 11, "name-form"),
        ("[device.smoke]", "[device.smoke.1]", 11, "name-dotted"),
        ("[device.smoke]", "[device.safety]", 11, "name-reserved"),
        ("[device.smoke]", "[[device.smoke]]", 11, "table-expected"),
        ("smoke/generic-rs485", "smoke/generic-rs486", 12, "profile-unknown"),
        ("smoke/generic-rs485", "../../etc/passwd", 12, "profile-unknown"),
        ("smoke/generic-rs485", "x" * 5000, 12, "profile-unknown"),
        ('bus = "hall"', 'bus = "halle"', 13, "bus-unknown"),
        ("unit = 1", "unit = 256", 14, "modbus-unit"),
        ("unit = 1", 'unit = "1"', 14, "value-integer"),
        ("unit = 1", "", 11, "key-missing"),
        ("unit = 1", "unit = 1\nevery = 0", 15, "every-range"),
        ("unit = 1", "unit = 1\nunti = 2", 15, "key-unknown"),
        (
            "unit = 1",
            'unit = 1\n[bus.again]\ndriver = "modbus"\nurl = "tcp://127.0.0.1:502"',
            15,
            "bus-twice",
        ),
        (
            "unit = 1",
            'unit = 1\n[device.two]\nprofile = "smoke/generic-rs485"\nbus = "hall"\nunit = 1',
            15,
            "address-twice",
        ),
        ("unit = 1", 'unit = 1\n[bus.lock]\ndriver = "lockboard"\nport = 3', 17, "value-text"),
        ("unit = 1", "unit = ", 14, "toml-value-missing"),
        ("tcp://127.0.0.1:502", "tcp://127.0.0.1:502/1", 9, "modbus-url"),
        ("tcp://127.0.0.1:502", "tcp://127.0.0.1:502?unit=1", 9, "modbus-url"),
        ("tcp://127.0.0.1:502", "tcp://me@127.0.0.1:502", 9, "modbus-url"),
        ("tcp://127.0.0.1:502", "rtu:ttyUSB0", 9, "port-form"),
        ("tcp://127.0.0.1:502", "rtu:dev/ttyUSB0", 9, "port-form"),
        ("tcp://127.0.0.1:502", "rtu://dev/ttyUSB0", 9, "port-form"),
        ("tcp://127.0.0.1:502", r"rtu:\\dev\\ttyUSB0", 9, "port-form"),
        ('title = "Demo"', 'title = "Demo"\n\n[uplink]\nurl = "mqtt://h/linli"', 8, "platform-url"),
        ('title = "Demo"', 'title = "Demo"\n\n[uplink]\nurl = "mqtt://h?x=1"', 8, "platform-url"),
        ('title = "Demo"', 'title = "Demo"\n\n[uplink]\nurl = "mqtt://me@h"', 8, "platform-url"),
        (
            'title = "Demo"',
            'title = "Demo"\n\n[uplink]\nurl = "mqtt://h"\npassword_file = "/x"',
            7,
            "password-alone",
        ),
        ('title = "Demo"', 'title = "Demo"\n\n[journal]\npath = ""', 8, "path-form"),
        ('title = "Demo"', "title = 'Demo'\n\n[journal]\npath = 'D:\\linli\\journal.db'", 8, "path-form"),
        ('title = "Demo"', 'title = "Demo"\n\n[journal]\npath = "~/journal.db"', 8, "path-form"),
        ('title = "Demo"', 'title = "Demo"\n\n[journal]\npath = "$HOME/journal.db"', 8, "path-form"),
        ('title = "Demo"', 'title = "Demo"\n\n[journal]\npath = "file:///journal.db"', 8, "path-form"),
        ('title = "Demo"', f'title = "Demo"\n\n[control]\nsocket = "/{"x" * 107}"', 8, "socket-long"),
        ("unit = 1", "unit = " + "1" * 5000, 1, "toml-limits"),
        ("unit = 1", "unit = " + "[" * 5000, 1, "toml-limits"),
        ('id = "demo"', 'id = "de\u2028mo"', 4, "character-invisible"),
        ('bus = "hall"', 'bus = "ha\u200bll"', 13, "character-invisible"),
        ('bus = "hall"', 'bus = "hall\u00a0"', 13, "character-invisible"),
        ("smoke/generic-rs485", "smoke/generic\u2010rs485", 12, "character-lookalike"),
        ('schema = "linli/site/1"', 'schema = "linli/site/1\ufeff"', 1, "character-invisible"),
        ('"tcp://127.0.0.1:502"', '" tcp://127.0.0.1:502"', 9, "value-spaces"),
        ('"tcp://127.0.0.1:502"', '"rtu:COM3"', 9, "port-windows"),
        ('id = "demo"', 'id = "ｄemo"', 4, "character-lookalike"),
        ("127.0.0.1:502", "127。0.0.1:502", 9, "character-lookalike"),
        ("127.0.0.1:502", "127.0.0.1：502", 9, "character-lookalike"),
        ("127.0.0.1:502", "127.0.0.1:502\u200b", 9, "character-invisible"),
        ("[device.smoke]", '["device.smoke"]', 11, "key-quoted"),
        ("[device.smoke]", '[device."大厅"]', 11, "name-form"),
        ("[device.smoke]", "[Device.smoke]", 11, "key-unknown"),
        ("unit = 1", "unit = 1\nevry = 5", 15, "key-unknown"),
        ("[device.smoke]", "[device]", 11, "table-unnamed"),
        ("127.0.0.1:502", "192.168.1.300:502", 9, "modbus-url"),
        ("127.0.0.1:502", "my host:502", 9, "modbus-url"),
        ("127.0.0.1:502", "127.0.0.1:70000", 9, "modbus-url"),
        ("127.0.0.1:502", "127.0.0.1:abc", 9, "modbus-url"),
        ("unit = 1", 'unit = 1\n[metrics]\nhost = "http://0.0.0.0"', 16, "host-form"),
        ("unit = 1", 'unit = 1\n[dashboard]\nhost = "0．0．0．0"', 16, "character-lookalike"),
        (
            "unit = 1",
            'unit = 1\n[bus.f]\ndriver = "gb26875"\nlisten = "10.0.0.300:9000"',
            17,
            "gb26875-listen",
        ),
        ("unit = 1", 'unit = 1\n[bus.m]\ndriver = "mqtt_json"\nurl = "mqtt://my broker"', 17, "mqtt-url"),
        ("[device.smoke]", "[[device]]", 11, "table-unnamed"),
        ('title = "Demo"', 'title = { cn = "Demo" }', 5, "language-unknown"),
        ('title = "Demo"', 'title = { zh = " " }', 5, "title-empty"),
        ("unit = 1", 'unit = 1\ntitle = "  "', 15, "title-empty"),
        ("unit = 1", "unit = 1\ntitle = {}", 15, "title-empty"),
        ("unit = 1", 'unit = 1\nroom = "  "', 15, "title-empty"),
        ("unit = 1", 'unit = 1\nroom = { fr = "Salle" }', 15, "language-unknown"),
        ("unit = 1", "unit = 1\nroom = 3", 15, "value-text"),
        ("unit = 1", 'unit = 1\n[journal]\npath = "C:\\temp\\new.db"', 16, "toml-backslash"),
        ("unit = 1", 'unit = 1\n[hours]\nmon-fri = "8:00-9:00"', 16, "hours-form"),
        ("unit = 1", 'unit = 1\n[hours]\nmon-fri = "08：00-09：00"', 16, "character-lookalike"),
        ("unit = 1", 'unit = 1\n[hours]\nmonday = "08:00-09:00"', 16, "hours-form"),
        ("unit = 1", "unit = 1\n[hours]\nmon = [8]", 16, "hours-form"),
        ("unit = 1", "unit = 1\n[hours]\nclosed = [2027]", 16, "hours-form"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, before: str, after: str, line: int, key: str
) -> None:
    assert before in SMALL
    found = mistakes(tmp_path / "site.toml", SMALL.replace(before, after))
    assert (line, key) in [(mistake.line, mistake.key) for mistake in found]
    for language in LANGUAGES:
        for mistake in found:
            said = mistake.text(language)
            assert said.startswith(f"{tmp_path / 'site.toml'}:{mistake.line}: ")
            assert f"error.{mistake.key}" in words(language)
            assert " ? " not in said


BROKERS = """
[uplink]
url = "mqtt://broker"
client_id = "{uplink}"

[bus.zigbee]
driver = "mqtt_json"
url = "mqtt://broker:1883"
"""


UPLINKS = """
[uplink.community]
url = "mqtt://a:1883"

[uplink.fire]
title = { zh = "消防平台", en = "Fire service" }
url = "mqtt://b:1883"
"""
SPARKPLUG = 'dialect = "sparkplug"\n[uplink.fire.sparkplug]\n'


def test_several_platforms(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(SMALL + UPLINKS + 'lanes = ["alarm"]\n')
    site = load_site(file)
    assert [*site.uplinks] == ["community", "fire"]
    assert site.uplinks["fire"].lanes == ("alarm",)


@pytest.mark.parametrize(
    ("text", "key", "where"),
    [
        ('lanes = ["alarms"]\n', "value-choice", "uplink.fire.lanes.1"),
        ('kinds = ["smoke-detector"]\n', "uplink-kinds", "uplink.fire.kinds"),
        ('devices = ["nobody-*"]\n', "uplink-devices", "uplink.fire.devices"),
        ('commands = ["fly"]\n', "action-nobody", "uplink.fire.commands"),
        ('dialect = "sparkplugs"\n', "dialect-unknown", "uplink.fire.dialect"),
        ('[uplink.fire.sparkplug]\ngroup = "a"\n', "dialect-other", "uplink.fire.sparkplug"),
        (SPARKPLUG + 'group = "a/b"\n', "topic-level", "uplink.fire.sparkplug.group"),
        (SPARKPLUG + 'primary = "a"\n', "key-unknown-within", "uplink.fire.sparkplug"),
        (
            'dialect = "home-assistant"\n[uplink.fire.home_assistant]\ndiscovery_prefix = "+"\n',
            "topic-level",
            "uplink.fire.home_assistant.discovery_prefix",
        ),
        (
            '[uplink.fire.home_assistant]\ndiscovery_prefix = "a"\n',
            "dialect-other",
            "uplink.fire.home_assistant",
        ),
        ('[uplink]\nurl = "mqtt://c:1883"\n', "uplink-unnamed", "uplink.community"),
    ],
)
def test_what_is_wrong_with_one_of_several_platforms(
    tmp_path: Path, text: str, key: str, where: str
) -> None:
    file = tmp_path / "site.toml"
    found = mistakes(file, SMALL + UPLINKS + text)
    assert (key, where) in [(each.key, each.where) for each in found]


def test_a_field_broker_keeps_messages_for_a_client_id_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(SMALL + BROKERS.format(uplink="a"))
    site = load_site(file)
    assert (site.uplinks["uplink"].client_id, site.buses["zigbee"].options.client_id) == (
        "a",
        "linli-demo-zigbee",
    )
    text = SMALL + BROKERS.format(uplink="a") + 'client_id = "a"\n'
    (found,) = mistakes(file, text)
    assert (found.line, found.key) == (len(text.splitlines()), "client-id-twice")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("every = 0", ":15: device.smoke.every = 0: "),
        ('[uplink]\nurl = "mqtt://me:se@cr@h"', ':16: uplink.url = "mqtt://me:…@h": '),
        ("title = {}", ":15: device.smoke.title = {}: "),
        ('every = "5s"', '; this is "5s"'),
        ("every = 2026-12-01", "; this is 2026-12-01"),
        ('[hours]\nmon-fri = "8:00-9:00"', ':16: hours.mon-fri = "8:00-9:00": '),
        ("[roster.day]\ncontacts = []\nmon = 8", ":17: roster.day.mon = 8: "),
        ('[rule.a]\nhazard = "fire"\nwhen = [\n  { point = "smoke.smoke", is = true },\n'
         '  { point = "smoke.temperature", above = "50" },\n]', ":19: rule.a.when.2.above: "),
        ('[rule.a]\nhazard = "fire"\nwhen = [\n  { point = "smoke.smoke", iss = true },\n]',
         ":18: rule.a.when.1: "),
        ('[uplink]\nurl = "mqtt://h"\ncommands = [\n  "open",\n  3,\n]', ":19: uplink.commands.2: "),
    ],
)  # fmt: skip
def test_a_mistake_says_what_was_read_and_where(tmp_path: Path, typed: str, said: str) -> None:
    found = [mistake.text("en") for mistake in mistakes(tmp_path / "site.toml", f"{SMALL}{typed}\n")]
    assert any(said in sentence for sentence in found)
    assert not any(word in sentence for sentence in found for word in ("Error", "$", "`"))


@pytest.mark.parametrize("schema", ["linli/site/1", "linli/profile/1", "x"])
def test_a_file_of_another_kind_is_one_mistake(tmp_path: Path, schema: str) -> None:
    text = PROFILES[0].read_text("utf-8").replace("linli/profile/1", schema)
    (found,) = mistakes(tmp_path / "site.toml", text)
    assert (found.line, found.key) == (1, "schema")


def test_a_mistake_in_a_device_is_no_mistake_of_what_names_the_device(tmp_path: Path) -> None:
    text = SMALL.replace("unit = 1", 'unit = "1"') + (
        '[rule.a]\nhazard = "fire"\nwhen = [{ point = "smoke.smoke", is = true }]\n'
        '[output.b]\ndevice = "smoke"\non = "siren-on"\nhazards = ["fire"]\n'
        '[door.c]\ncounters = ["smoke"]\n'
        '[uplink]\nurl = "mqtt://h"\ncommands = ["open"]\n'
    )
    for written in (text, text.replace("[device.smoke]", "[[device]]"), text.replace(".smoke]", "]")):
        (found,) = mistakes(tmp_path / "site.toml", written)
        assert found.where.startswith("device")


def test_a_device_that_pushes_may_be_silent_longer_than_a_poll_unless_the_site_says(tmp_path: Path) -> None:
    text = f"""{SMALL}
[bus.fire]
driver = "gb26875"
listen = "127.0.0.1:9000"
[device.panel]
profile = "fire-panel/gb26875"
bus = "fire"
source = "06:05:04:03:02:01"
[bus.lora]
driver = "lorawan"
url = "mqtt://h"
[device.leak]
profile = "water/milesight-em300-zld"
bus = "lora"
dev_eui = "24E124713C480123"
"""
    (tmp_path / "site.toml").write_text(text)
    devices = load_site(tmp_path / "site.toml").devices
    assert {name: device.every for name, device in devices.items()} == {
        "smoke": 1.0, "panel": 120.0, "leak": 3600.0,
    }  # fmt: skip
    (tmp_path / "site.toml").write_text(text + "every = 600\n")
    assert load_site(tmp_path / "site.toml").devices["leak"].every == 600.0


def test_a_closed_day_may_be_a_date_of_toml(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(f"{SMALL}[hours]\nmon = '08:00-09:00'\nclosed = [2027-01-01]\n")
    hours = load_site(tmp_path / "site.toml").hours
    assert hours is not None
    assert hours.closed == {date(2027, 1, 1)}


def test_a_device_on_a_bus_of_another_driver_has_no_other_mistake(tmp_path: Path) -> None:
    bus = '[bus.lock]\ndriver = "lockboard"\ndialect = "cu16"\nport = "/dev/ttyS9"\n'
    (found,) = mistakes(tmp_path / "site.toml", SMALL.replace('bus = "hall"', 'bus = "lock"') + bus)
    assert (found.line, found.key) == (13, "driver-differs")


def test_the_nearest_action_or_kind_is_proposed(tmp_path: Path) -> None:
    typed = (
        '[uplink]\nurl = "mqtt://h"\ncommands = ["Reset"]\n[lot.a]\ntitle = "a"\nbays = { vistor = [] }\n'
    )
    found = mistakes(tmp_path / "site.toml", SMALL + typed)
    action, kind = sorted(found, key=lambda mistake: mistake.line)
    assert (action.key, action.facts["known"]) == ("action-nobody", "reset")
    assert (kind.key, kind.facts["read"]) == ("value-choice", '"vistor"')
    assert "visitor" in str(kind.facts["known"])


def test_a_name_in_a_list_is_looked_at_for_characters_that_only_look_right(tmp_path: Path) -> None:
    typed = '[rule.a]\nhazard = "fire"\nwhen = [{ point = "smoke。smoke", is = true }]\n'
    (found,) = mistakes(tmp_path / "site.toml", SMALL + typed)
    assert (found.key, found.facts["ascii"]) == ("character-lookalike", ".")


@pytest.mark.parametrize("table", ["[journal]\npath", "[dashboard]\naccess", "[needs]\nkey"])
def test_no_store_is_the_site_file_itself(tmp_path: Path, table: str) -> None:
    file = tmp_path / "site.toml"
    found = mistakes(file, f'{SMALL}{table} = "{tmp_path}/../{tmp_path.name}/site.toml"\n')
    assert [(mistake.key, mistake.line) for mistake in found] == [("file-configuration", 16)]


def test_an_output_that_nothing_can_reach_is_a_mistake(tmp_path: Path) -> None:
    """A siren that will not sound is to be noticed before there is a fire."""
    text = f"""{SMALL}
[bus.lora]
driver = "lorawan"
url = "mqtt://h"
topic = "v3/+/devices/+/up"
[device.gas]
profile = "gas/milesight-gs101"
bus = "lora"
dev_eui = "24E124713C480123"
[output.a]
device = "gas"
on = "close-valve"
off = "open-valve"
hazards = ["gas"]
"""
    found = mistakes(tmp_path / "site.toml", text)
    assert {mistake.key for mistake in found} == {"output-action"}
    (tmp_path / "site.toml").write_text(text.replace('topic = "v3/+/devices/+/up"\n', ""))
    assert load_site(tmp_path / "site.toml").devices["gas"].actions


def test_the_nearest_key_is_proposed_whoever_owns_it(tmp_path: Path) -> None:
    for typed, known in (("evry = 5", "every"), ("unt = 5", "unit"), ("Title = 'x'", "title")):
        found = mistakes(tmp_path / "site.toml", SMALL + typed)
        assert [m.facts["known"] for m in found if m.key == "key-unknown"] == [known]


def test_what_a_device_model_can_be_told_may_be_commanded(tmp_path: Path) -> None:
    uplink = """\
[uplink]
url = "mqtt://127.0.0.1"
client_id = "c"
commands = ["acknowledge", "siren-on"]
"""
    site = tmp_path / "site.toml"
    (wrong,) = mistakes(site, SMALL + uplink)
    assert (wrong.key, wrong.line, wrong.facts["action"]) == ("action-nobody", 18, "siren-on")
    site.write_text(SMALL.replace("smoke/generic-rs485", "io-module/generic-di2-do1") + uplink, "utf-8")
    actions = load_site(site).devices["smoke"].actions
    assert {name: action.role for name, action in actions.items()} == {
        "siren-on": Role.DUTY,
        "siren-off": Role.DUTY,
    }


def test_a_line_is_counted_as_editors_do(tmp_path: Path) -> None:
    text = SMALL.replace('title = "Demo"', 'title = "De\u2028mo"').replace("unit = 1", "unit = 256")
    (found,) = mistakes(tmp_path / "site.toml", text)
    assert (found.line, found.where) == (14, "device.smoke.unit")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = SMALL.replace('"demo"', '"De mo"').replace("tcp:", "udp:").replace("unit = 1", "unti = 1")
    found = [(m.line, m.where, m.key) for m in mistakes(tmp_path / "site.toml", text)]
    assert found == [
        (4, "site.id", "name-form"),
        (9, "bus.hall.url", "modbus-url"),
        (14, "device.smoke.unti", "key-unknown"),
        (11, "device.smoke", "key-missing"),
    ]
    text = SMALL.replace('"demo"', '"De mo"').replace("unit = 1", "unti = 1\nevery = 0")
    found = [(m.line, m.where, m.key) for m in mistakes(tmp_path / "site.toml", text)]
    assert found == [(4, "site.id", "name-form"), (15, "device.smoke.every", "every-range")]


@pytest.mark.parametrize("section", ["bus", "device", "site", "journal", "uplink", "metrics"])
@pytest.mark.parametrize("value", ["3", '"x"', "[]", "[1]", "true", "1979-05-27"])
def test_a_section_that_is_no_table(tmp_path: Path, section: str, value: str) -> None:
    text = re.sub(rf"\[{section}(\..*)?\]\n(.+\n)+", "", SMALL)
    text = text.replace("\n\n", f"\n{section} = {value}\n\n", 1)
    keys = {mistake.key for mistake in mistakes(tmp_path / "site.toml", text)}
    assert keys & {"table-expected", "table-unnamed"}


def test_files_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    for content, key in ((b"\xff\xfe\x00", "file-utf16"), (b"", "schema"), (b"\0" * 100, "file-zeros"),
                         (b"# x\n" * 400_000, "file-large")):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(Mistakes) as refused:
            load_site(file)
        assert refused.value.mistakes[0].key == key
    missing = (tmp_path / "absent.toml", file / "within.toml")
    paths = {tmp_path: "file-folder", Path("/dev/zero"): "file-large"} | dict.fromkeys(
        missing, "file-missing"
    )
    for path, key in paths.items():
        with pytest.raises(Mistakes) as refused:
            load_site(path)
        assert refused.value.mistakes[0].key == key


def test_a_wrong_profile_is_told_once_in_its_own_file(tmp_path: Path) -> None:
    own = tmp_path / "profiles" / "smoke" / "mine.toml"
    own.parent.mkdir(parents=True)
    text = (ROOT / "config/profiles/smoke/generic-rs485.toml").read_text("utf-8")
    own.write_text(text.replace('kind = "smoke"', 'kind = "smoek"'), "utf-8")
    site = tmp_path / "site.toml"
    two = SMALL + SMALL[SMALL.index("[device.smoke]") :].replace("[device.smoke]", "[device.two]")
    site.write_text(two.replace("generic-rs485", "mine").replace("unit = 1", "unit = 2", 1))
    with pytest.raises(Mistakes) as refused:
        load_site(site)
    assert [(m.file, m.line, m.key) for m in refused.value.mistakes] == [(own, 2, "kind-unknown")]
    assert profile_folders(site)[0] == own.parent.parent


def test_a_table_of_a_profile_that_is_misspelt_is_known(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    text = (ROOT / "config/profiles/smoke/generic-rs485.toml").read_text("utf-8")
    file.write_text(text.replace("[points.", "[point."), "utf-8")
    with pytest.raises(Mistakes) as refused:
        load_profile(file)
    told = [(mistake.key, mistake.facts.get("known")) for mistake in refused.value.mistakes]
    assert ("key-unknown", "points") in told


VALUES = (
    '""', "-1", "1e999", "nan", "[]", "{}", "true", '"\\u0000"', "1979-05-27", '"../x"', '"mqtt://["',
    "[[1]]", "{ a = 1 }", "99999999999999999999",
)  # fmt: skip


def load_or_refuse(load: Callable[[Path], T], file: Path, text: str) -> T | None:
    """What a file holds. If it is refused, each mistake has its line and its words; anything else that is
    raised fails the test."""
    file.write_text(text, "utf-8", errors="replace", newline="")
    try:
        return load(file)
    except Mistakes as refused:
        mistakes = refused.mistakes
    assert mistakes
    for mistake in mistakes:
        assert 1 <= mistake.line <= text.count("\n") + text.count("\r") + 1
        assert all(mistake.text(language) for language in LANGUAGES)
    return None


@st.composite
def damaged(draw: st.DrawFn, texts: list[str]) -> str:
    """A file with some lines cut, doubled, exchanged or overwritten."""
    lines = draw(st.sampled_from(texts)).split("\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition("=")[0]
        value = st.sampled_from(VALUES)
        other = draw(
            st.just("")
            | st.sampled_from(lines)
            | st.text(max_size=20)
            | st.builds(lambda v, key=key: f"{key}= {v}", value)
            | st.builds(lambda n, line=lines[at]: line[:n], st.integers(0, 40))
        )
        lines[at] = other
    return "\n".join(lines)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged([DEMO, SMALL]))
@example(DEMO)
@example(SMALL)
def test_a_damaged_site_is_read_whole_or_refused(tmp_path: Path, text: str) -> None:
    site = load_or_refuse(load_site, tmp_path / "site.toml", text)
    if site is None:
        assert text not in (DEMO, SMALL)
        return
    written = tomllib.loads((tmp_path / "site.toml").read_text("utf-8"))
    assert site.devices.keys() == written.get("device", {}).keys()
    assert site.buses.keys() == written.get("bus", {}).keys()
    assert site.centre.id == written["site"]["id"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged([file.read_text("utf-8") for file in PROFILES]))
@example(PROFILES[0].read_text("utf-8"))
def test_a_damaged_profile_is_read_whole_or_refused(tmp_path: Path, text: str) -> None:
    profile = load_or_refuse(load_profile, tmp_path / "profile.toml", text)
    if profile is None:
        assert text != PROFILES[0].read_text("utf-8")
        return
    written = tomllib.loads((tmp_path / "profile.toml").read_text("utf-8"))
    assert {name.partition(".")[0] for name in profile.points} == {
        name.partition(".")[0] for name in written["points"]
    }
    assert profile.actions.keys() == written.get("actions", {}).keys()
    assert len(profile.examples) == len(written.get("examples", []))
