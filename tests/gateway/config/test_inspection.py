from __future__ import annotations

import base64
from pathlib import Path

import pytest

from gateway.config import Mistake, Mistakes, inspect_site, load_site

HEAD = """\
schema = "linli/site/1"
[site]
id = "demo"
title = "Demo"
"""


def inspected(file: Path, text: str) -> list[Mistake]:
    file.write_text(HEAD + text, "utf-8")
    return inspect_site(file, load_site(file))


@pytest.mark.parametrize(
    ("text", "line", "where", "other"),
    [
        ("[metrics]\nport = 8080", 1, "dashboard.port", "metrics.port"),
        ('[bus.a]\ndriver = "gb26875"\nlisten = "0.0.0.0:9109"', 5, "bus.a", "metrics.port"),
        ('[bus.a]\ndriver = "gb26875"\nlisten = "[::]:8080"', 5, "bus.a", "dashboard.port"),
        (
            '[bus.a]\ndriver = "gb26875"\nlisten = "127.0.0.1:9000"\n'
            '[bus.b]\ndriver = "http_push"\nlisten = "0.0.0.0:9000"\nsecret_file = "SECRET"',
            8,
            "bus.b",
            "bus.a",
        ),
        (
            '[bus.a]\ndriver = "modbus"\nurl = "rtu:PORT"\n'
            '[bus.b]\ndriver = "lockboard"\ndialect = "cu16"\nport = "LINK"',
            8,
            "bus.b",
            "bus.a",
        ),
        (
            '[bus.a]\ndriver = "modbus"\nurl = "tcp://10.0.0.9:502"\n'
            '[bus.b]\ndriver = "modbus"\nurl = "tcp://10.0.0.9:502"\ntimeout = 2.0',
            8,
            "bus.b",
            "bus.a",
        ),
    ],
)
def test_a_port_that_is_used_twice(tmp_path: Path, text: str, line: int, where: str, other: str) -> None:
    port, link, secret = (tmp_path / name for name in ("ttyUSB0", "usb-FTDI", "secret"))
    port.touch()
    link.symlink_to(port)
    secret.write_text("correct horse battery", "utf-8")
    secret.chmod(0o600)
    for name, path in (("PORT", port), ("LINK", link), ("SECRET", secret)):
        text = text.replace(name, str(path))
    (found,) = inspected(tmp_path / "site.toml", text)
    assert (found.line, found.where, found.key, found.facts["other"]) == (line, where, "port-twice", other)


def test_ports_that_only_resemble_each_other(tmp_path: Path) -> None:
    text = (
        '[bus.a]\ndriver = "gb26875"\nlisten = "127.0.0.1:9000"\n'
        '[bus.b]\ndriver = "gb26875"\nlisten = "127.0.0.2:9000"\n'
        '[bus.c]\ndriver = "modbus"\nurl = "tcp://127.0.0.1:9000"\n'
        '[bus.d]\ndriver = "modbus"\nurl = "tcp://0.0.0.0:9000"\n'
        '[bus.e]\ndriver = "mqtt_json"\nurl = "mqtt://127.0.0.1:9000"\n'
        '[bus.f]\ndriver = "lorawan"\nurl = "mqtt://127.0.0.1:9000"\n'
    )
    assert inspected(tmp_path / "site.toml", text) == []


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (found,) = inspected(tmp_path / "site.toml", f'[journal]\npath = "{tmp_path}"\n')
    assert (found.line, found.key) == (6, "store-folder")


def test_a_folder_in_place_of_a_secret(tmp_path: Path) -> None:
    bus = f'[bus.a]\ndriver = "http_push"\nlisten = "127.0.0.1:9000"\nsecret_file = "{tmp_path}"\n'
    (found,) = inspected(tmp_path / "site.toml", f'[journal]\npath = "{tmp_path}/a.db"\n{bus}')
    assert (found.line, found.key) == (10, "secret-unreadable")


def test_a_token_that_can_be_guessed(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("\ufeffshort\r\n", "utf-8")
    secret.chmod(0o600)
    bus = f'[bus.a]\ndriver = "http_push"\nlisten = "127.0.0.1:9000"\nsecret_file = "{secret}"\n'
    (found,) = inspected(tmp_path / "site.toml", bus)
    assert (found.line, found.key, found.facts["least"]) == (8, "secret-short", 12)


def test_a_file_that_is_used_twice(tmp_path: Path) -> None:
    text = f'[journal]\npath = "{tmp_path}/a.db"\n[dashboard]\naccess = "{tmp_path}/a.db"\n'
    (found,) = inspected(tmp_path / "site.toml", text)
    assert (found.line, found.key) == (8, "file-twice")


def test_a_store_in_place_of_a_secret(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("correct horse battery", "utf-8")
    secret.chmod(0o600)
    bus = f'[bus.a]\ndriver = "http_push"\nlisten = "127.0.0.1:9000"\nsecret_file = "{secret}"\n'
    (found,) = inspected(tmp_path / "site.toml", f'{bus}[dashboard]\naccess = "{secret}"\n')
    assert (found.line, found.key) == (10, "file-twice")


@pytest.mark.parametrize(
    ("content", "mode", "key"),
    [
        (None, 0, "secret-missing"),
        (b"word\n", 0o644, "secret-open"),
        (b"\n", 0o600, "secret-empty"),
    ],
)
def test_a_secret_that_nobody_can_use_or_everybody_can_read(
    tmp_path: Path, content: bytes | None, mode: int, key: str
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
        secret.chmod(mode)
    text = f'[bus.a]\ndriver = "http_push"\nlisten = "127.0.0.1:9000"\nsecret_file = "{secret}"'
    (found,) = inspected(tmp_path / "site.toml", text)
    assert (found.line, found.key, found.facts["file"]) == (8, key, str(secret))


@pytest.mark.parametrize(("content", "key"), [(None, "ca-missing"), ("no certificate", "ca-invalid")])
def test_a_certificate_that_is_missing_or_none(tmp_path: Path, content: str | None, key: str) -> None:
    if content:
        (tmp_path / "ca.pem").write_text(content, "ascii")
    text = f'[bus.a]\ndriver = "mqtt_json"\nurl = "mqtts://broker"\nca_file = "{tmp_path}/ca.pem"'
    (found,) = inspected(tmp_path / "site.toml", text)
    assert (found.line, found.key, found.facts["file"]) == (8, key, str(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("url", "more", "key"),
    [
        ("mqtt://127.0.0.1", "", ""),
        ("mqtt://[::1]:1883", "", ""),
        ("mqtt://localhost", "", ""),
        ("mqtts://mq.example.cn", "", ""),
        ("mqtt://192.168.1.20", "", "secret-unencrypted"),
        ("mqtt://broker", "", "secret-unencrypted"),
        ("mqtt://nas.local", "", "secret-unencrypted"),
        ("mqtt://192.168.1.20", "unencrypted = true\n", ""),
        ("mqtt://mq.example.cn", "", "secret-public"),
        ("mqtt://47.98.1.2", "unencrypted = true\n", "secret-public"),
        ("mqtt://mqlan", 'fallback_urls = ["mqtt://mq.example.cn"]\nunencrypted = true\n', "secret-public"),
    ],
)
@pytest.mark.parametrize("table", ["[uplink]\n", '[bus.a]\ndriver = "mqtt_json"\n', "[uplink.x]\n"])
def test_a_password_that_others_can_read(tmp_path: Path, table: str, url: str, more: str, key: str) -> None:
    if "fallback_urls" in more and "bus" in table:
        more = more.partition("\n")[2]
        key = ""
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery", "utf-8")
    secret.chmod(0o600)
    login = f'url = "{url}"\nusername = "u"\npassword_file = "{secret}"\n'
    found = inspected(tmp_path / "site.toml", table + login + more)
    assert [mistake.key for mistake in found] == ([key] if key else [])
    # Without a password there is nothing to read.
    assert inspected(tmp_path / "site.toml", f'{table}url = "{url}"\n{more}') == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[uplink]\nurl = "http://api.example.cn"\ntoken_file = "SECRET"', "secret-public"),
        ('[uplink]\nurl = "http://10.1.2.3"\ntoken_file = "SECRET"', "secret-unencrypted"),
        ('[uplink]\nurl = "http://10.1.2.3"\ntoken_file = "SECRET"\nunencrypted = true', ""),
        ('[uplink]\nurl = "https://api.example.cn"\ntoken_file = "SECRET"', ""),
        (
            '[uplink]\nurl = "mqtt://mq.example.cn"\ndialect = "jetlinks"\n[uplink.identity.gateway]\n'
            'product_id = "p"\ndevice_id = "d"\nsecure_id = "s"\nsecret_file = "SECRET"',
            "secret-public",
        ),
        (
            '[bus.a]\ndriver = "http_pull"\nurl = "http://192.168.1.20"\nusername = "u"\n'
            'password_file = "SECRET"',
            "",
        ),
        (
            '[bus.a]\ndriver = "http_pull"\nurl = "http://camera.example.cn"\nusername = "u"\n'
            'password_file = "SECRET"',
            "secret-public",
        ),
    ],
)
def test_a_secret_of_another_kind_that_others_can_read(tmp_path: Path, text: str, key: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery", "utf-8")
    secret.chmod(0o600)
    found = inspected(tmp_path / "site.toml", text.replace("SECRET", str(secret)))
    assert [mistake.key for mistake in found] == ([key] if key else [])


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ('commands = ["open"]', "action-unsigned"),
        ('commands = ["configure"]', "configure-unsigned"),
        ('commands = ["configure"]\ncommand_keys = { a = "KEY" }', "configure-unsigned"),
        ('commands = ["configure"]\ncommand_keys = { a = "KEY" }\nconfiguration_keys = ["a"]', ""),
        ('commands = ["set-threshold"]\ncommand_keys = { a = "KEY" }', ""),
        ('commands = ["read-now", "diagnose"]', ""),
        (
            'dialect = "sparkplug"\ncommands = ["configure"]\ncommand_keys = { a = "KEY" }\n'
            'configuration_keys = ["a"]',
            "configure-unsigned",
        ),
        ('trust = { configure = "broker" }', "configure-trusted"),
        ('configuration_keys = ["a"]', "configuration-key"),
    ],
)
def test_commands_that_cannot_be_signed(tmp_path: Path, keys: str, wrong: str) -> None:
    key = base64.b64encode(bytes(32)).decode()
    device = (
        '\n[bus.l]\ndriver = "lockboard"\ndialect = "cu16"\nport = "/dev/x"\n'
        '[device.locker]\nprofile = "parcel-locker/kerong-cu16"\nbus = "l"\nboard = 0\n'
    )
    text = f'[uplink]\nurl = "mqtt://x"\n{keys.replace("KEY", key)}{device}'
    try:
        found = inspected(tmp_path / "site.toml", text)
    except Mistakes as mistakes:
        found = mistakes.mistakes
    assert [mistake.key for mistake in found] == ([wrong] if wrong else [])


def test_a_certificate_of_the_gateway_that_is_missing(tmp_path: Path) -> None:
    text = f"""[uplink.a]
url = "mqtts://broker"
certificate_file = "{tmp_path}/own.pem"
private_key_file = "{tmp_path}/own.key"
"""
    (found,) = inspected(tmp_path / "site.toml", text)
    assert (found.line, found.key, found.facts["file"]) == (
        7,
        "own-certificate-missing",
        str(tmp_path / "own.pem"),
    )


def test_a_credential_of_the_service_is_not_there_yet(tmp_path: Path) -> None:
    secret = "/run/credentials/linli.service/token"
    text = f'[bus.a]\ndriver = "http_push"\nlisten = "127.0.0.1:9000"\nsecret_file = "{secret}"'
    assert inspected(tmp_path / "site.toml", text) == []


def test_a_site_answers_for_the_examples_of_its_own_models(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "config/profiles/smoke/generic-rs485.toml"
    own = tmp_path / "profiles/smoke"
    own.mkdir(parents=True)
    text = shipped.read_text("utf-8")
    (own / "wrong.toml").write_text(text.replace("smoke = true", "smoke = false"), "utf-8")
    (own / "bare.toml").write_text(text.partition("[[examples]]")[0], "utf-8")
    (own / "unused.toml").write_text(text.partition("[[examples]]")[0], "utf-8")
    site = '[bus.a]\ndriver = "modbus"\nurl = "tcp://10.0.0.9:502"\n' + "".join(
        f'[device.{name}]\nprofile = "smoke/{name}"\nbus = "a"\nunit = {unit}\n'
        for unit, name in enumerate(("wrong", "bare", "generic-rs485"), 1)
    )
    found = {(each.file, each.key) for each in inspected(tmp_path / "site.toml", site)}
    assert found == {
        (own / "wrong.toml", "example-differs"),
        (own / "wrong.toml", "alarm-unshown"),
        (own / "bare.toml", "examples-missing"),
    }
