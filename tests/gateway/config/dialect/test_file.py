"""Every mistake in a dialect file is found, with its line and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Mistakes
from gateway.config.dialect.file import load_dialect

FILE = """\
schema = "linli/dialect/1"
title = "Acme"
source = "Acme MQTT interface 2.1"

[identity.gateway]
id = ""
secret = ""
[identity.device]
id = "{device.name}"

[names]
unlisted = "skip"
[names.points]
temperature = "T"

[maps.level]
fire = 1
"*" = 2

[sign.token]
function = "hmac_sha256"
key = "{gateway.secret}"
text = "{gateway.id}{now:s}"

[login]
username = "{gateway.id}"
password = "{sign.token}"

[[telemetry]]
topic = "up/{gateway.id}"
payload = '''
{
  "time": "{now:%Y%m%d}",
  "devices": [
    { "$each": "device", "id": "{device.id}", "data": "{values}" }
  ]
}
'''

[[alarm]]
topic = "alarm/{device.id}"
reply_id = "{message.id}"
when = { change = "raised" }
payload = '{ "level": "{data.hazard:level}", "no": "{message.id}" }'

[[event]]
topic = "event/{gateway.id}"
payload = '{ "kind": "{record.kind}", "data": "{data}" }'

[[reply]]
topic = "alarm/{device.id}/ack"
id = "{/no}"
accepted = { "/code" = 0 }

[[command]]
topic = "down/{gateway.id}"
id = "{/id}"
action = "{/cmd}"
device = { id = "{/dev}" }
args = "/args"
lifetime = 20
[command.actions]
OPEN = "open"
[command.reply]
topic = "down/{gateway.id}/ack"
payload = '{ "id": "{/id}", "result": "{command.status}" }'
"""


def test_a_right_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "acme.toml"
    file.write_text(FILE)
    dialect = load_dialect(file)
    assert (dialect.name, dialect.title) == ("acme", "Acme")
    (telemetry,) = dialect.telemetry
    assert (telemetry.device_level, telemetry.record_level, telemetry.one_record) == (False, True, False)
    (alarm,) = dialect.alarm
    assert (alarm.device_level, alarm.one_record) == (True, True)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('"data": "{values}"', '"data": "{valeus}"', 35, "did you mean 'values'"),
        ('"{device.id}", "data"', '"{device.idd}", "data"', 35, "did you mean 'device.id'"),
        ('"id": "{device.id}",', '"id": "{gateway.secret}",', 35, "no placeholder 'gateway.secret'"),
        ("{now:%Y%m%d}", "{now:unix}", 33, "'unix' is no format for the placeholder 'now'"),
        ('"{now:%Y%m%d}",', '"{now:%Y%m%d}"', 34, "not valid JSON at character 3"),
        ('"$each": "device"', '"$each": "devices"', 35, "it must be one of: device, record, value"),
        ('"data": "{values}"', '"data": { "$each": "value" }', 35, "write '$each value'"),
        ('"data": "{values}"', '"$each value": 1', 35, "must be an object"),
        ('"data": "{values}"', '"data": "{value}"', 31, "belongs within $each value"),
        ('"data": "{values}"', '"all": [{"$each": "device"}]', 31, "cannot stand within $each device"),
        ('"data": "{values}"', '"data": "{values"', 35, "braces"),
        ("{data.hazard:level}", "{data.hazrd:level}", 44, "did you mean 'data.hazard'"),
        ("{data.hazard:level}", "{data.hazard:levl}", 44, "'levl' is no format"),
        ('change = "raised"', 'chnge = "raised"', 43, "a record has no 'chnge'"),
        ('topic = "event/{gateway.id}"', 'topic = "event/+"', 47, "must not be empty, nor contain"),
        ('topic = "event/{gateway.id}"', 'topik = "event/{gateway.id}"', 47, "did you mean: topic"),
        ('topic = "event/{gateway.id}"', 'topic = "event/{site}/{record.knd}"', 47, "record.kind"),
        ('OPEN = "open"', 'OPEN = "opne"', 63, "no device can perform 'opne'; available: open"),
        ("lifetime = 20\n", "", 55, "needs an expiry"),
        ("lifetime = 20\n", "lifetime = 7200\n", 61, "between 0 and 3600"),
        ('id = "{/id}"\n', "", 55, "needs an id"),
        ('device = { id = "{/dev}" }', 'device = { idd = "{/dev}" }', 59, "did you mean: name, id"),
        ('args = "/args"', 'args = "args"', 60, "no JSON pointer"),
        ('accepted = { "/code" = 0 }', 'accepted = { "code" = 0 }', 53, "no JSON pointer"),
        ('secret = ""', 'secret = "abc"', 7, "must not be written here"),
        ('id = ""', 'Id = ""', 6, "cannot be a key"),
        ('key = "{gateway.secret}"\n', "", 20, "needs a key"),
        ('"hmac_sha256"', '"hmac_sha3"', 21, "hmac_sha1, hmac_sha256"),
        ('temperature = "T"', "temperature = 5", 13, "must be text"),
        ('temperature = "T"', 'temperature = "T"\nheat = "T"', 15, "is that of the point 'temperature'"),
        ('"data": "{values}"', '"data": ' + 900 * "[" + 900 * "]", 32, "not valid JSON"),
        ("[[event]]", "[event]", 46, "write [[event]]"),
        ("fire = 1", "fire = [1]", 16, "our value = the platform's value"),
        ("[maps.level]", "[mpas.level]", 16, "did you mean: maps"),
        (
            'topic = "alarm/{device.id}/ack"',
            'topic = "alarm/{device.no}/ack"',
            51,
            "did you mean 'device.id'",
        ),
        ('source = "Acme MQTT interface 2.1"', 'source = " "', 3, "source"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in FILE
    file = tmp_path / "acme.toml"
    file.write_text(FILE.replace(old, new, 1))
    with pytest.raises(Mistakes) as wrong:
        load_dialect(file)
    texts = [mistake.text("en") for mistake in wrong.value.mistakes]
    assert [text for text in texts if text.startswith(f"{file}:{line}: ") and said in text], texts
    assert all(mistake.text("zh") for mistake in wrong.value.mistakes)


def test_a_reply_that_nothing_recognises_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "acme.toml"
    begin, end = FILE.index("[[reply]]"), FILE.index("[[command]]")
    file.write_text(FILE[:begin] + FILE[end:])
    with pytest.raises(Mistakes) as wrong:
        load_dialect(file)
    assert [(mistake.key, mistake.line) for mistake in wrong.value.mistakes] == [("reply-missing", 42)]


def test_a_file_extends_another_one(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "acme.toml").write_text(FILE)
    own = tmp_path / "own.toml"
    header = 'schema = "linli/dialect/1"\ntitle = "Ours"\nsource = "contract"\n'
    own.write_text(
        header + 'extends = "acme"\n[names.kinds.smoke]\nsmoke = { name = "S", words = { true = 9 } }\n'
    )
    dialect = load_dialect(own, [tmp_path, shipped])
    assert dialect.title == "Ours"
    assert dialect.names.find("smoke", "temperature").name == "T"  # type: ignore[union-attr]
    assert dialect.names.find("smoke", "smoke").words == {"true": 9}  # type: ignore[union-attr]
    assert dialect.names.find("heat", "smoke") is None
    assert len(dialect.alarm) == 1
    assert set(dialect.texts) == {"own", "acme"}
    own.write_text(header + 'extends = "acm"\n')
    with pytest.raises(Mistakes) as wrong:
        load_dialect(own, [tmp_path, shipped])
    assert wrong.value.mistakes[0].text("en").endswith("there is no dialect 'acm'; did you mean: acme")


@pytest.mark.parametrize(
    ("point", "name"),
    [("door.3", "Door3"), ("item.12", "Item_12"), ("temperature", "T"), ("door", "Door*"), ("x", None)],
)
def test_copies_of_a_point_have_the_name_of_their_stem(
    tmp_path: Path, point: str, name: str | None
) -> None:
    file = tmp_path / "acme.toml"
    file.write_text(
        FILE.replace('temperature = "T"', 'temperature = "T"\ndoor = "Door*"\nitem = "Item"').replace(
            'unlisted = "skip"', 'unlisted = "skip"\ndot = "_"'
        )
    )
    found = load_dialect(file).names.find("parcel-locker", point)
    assert (found and found.name) == name


def test_a_topic_may_name_a_value(tmp_path: Path) -> None:
    """One message for each value: `dev/temperature` with a bare number."""
    file = tmp_path / "acme.toml"
    begin, end = FILE.index("[[telemetry]]"), FILE.index("[[alarm]]")
    each = '[[telemetry]]\ntopic = "dev/{device.name}/{value.name}"\npayload = \'"{value}"\'\n'
    file.write_text(FILE[:begin] + each + FILE[end:])
    (rule,) = load_dialect(file).telemetry
    assert (rule.one_value, rule.max_values, rule.one_record) == (True, 1, True)
