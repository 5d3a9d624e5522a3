"""Which phones ring, and where their messages may go."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from gateway.capabilities.safety.phones import (
    MAX_PHONES_PER_PERSON,
    Phone,
    Phones,
    decoded,
    is_permitted_endpoint,
)
from gateway.model import GatewayError

PHONE = Phone(
    endpoint="https://push.example.com/abc", public_key="k", auth_secret="a", server_key="s", person="王芳",
    lang="zh", agent="Firefox", added_ms=1,
)  # fmt: skip


def phone(number: int, person: str = "王芳") -> Phone:
    return msgspec.structs.replace(
        PHONE, endpoint=f"https://push.example.com/{number}", person=person, added_ms=number
    )


def test_each_person_has_their_own(tmp_path: Path) -> None:
    phones = Phones(tmp_path / "access.key")
    assert phones.of("王芳") == []
    for each in (phone(2), phone(1), phone(3, "李强")):
        phones.add(each)
    assert phones.of("王芳") == [phone(1), phone(2)]
    phones.remove(phone(1))
    phones.remove(phone(1))
    assert phones.of("王芳") == [phone(2)]
    folder = tmp_path / "phones"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_whoever_turns_it_on_last_has_the_phone(tmp_path: Path) -> None:
    phones = Phones(tmp_path / "access.key")
    phones.add(phone(1))
    phones.add(phone(1, "李强"))
    assert (phones.of("王芳"), phones.of("李强")) == ([], [phone(1, "李强")])


def test_there_are_not_too_many(tmp_path: Path) -> None:
    phones = Phones(tmp_path / "access.key")
    for number in range(MAX_PHONES_PER_PERSON):
        phones.add(phone(number))
    phones.add(phone(0))
    phones.add(phone(99, "李强"))
    with pytest.raises(GatewayError, match="phones-many"):
        phones.add(phone(77))


def test_a_damaged_file_is_no_phone_and_hides_no_other(tmp_path: Path) -> None:
    phones = Phones(tmp_path / "access.key")
    phones.add(phone(1))
    for name, text in {"0" * 32: "{", "1" * 32: '{"person":"王芳"}', "readme": "x"}.items():
        (tmp_path / "phones" / f"{name}.json").write_text(text)
    assert phones.of("王芳") == [phone(1)]


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/abc:APA91b-_x",
        "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
        "https://web.push.apple.com/QGx",
        "https://wns2-by3p.notify.windows.com/w/?token=BQY%3d",
        "https://push.example.com:443/x",
        "https://push.lan:8443/x",
    ],
)
def test_push_services_are_permitted(endpoint: str) -> None:
    assert is_permitted_endpoint(endpoint, "https://push.lan:8443")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://push.example.com/x",
        "https://127.0.0.1/x",
        "https://10.0.0.1/x",
        "https://[::1]/x",
        "https://[fd00::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://0177.0.0.1/x",
        "https://127.1/x",
        "https://localhost/x",
        "https://router/x",
        "https://printer.local/x",
        "https://a.b.lan/x",
        "https://push.example.com:22/x",
        "https://push.example.com:99999/x",
        "https://user:word@push.example.com/x",
        "https://push.lan:8443@evil.example/x",
        "https://push.lan:8444/x",
        "https://push.example.com/x#y",
        "https://push.example.com\\@10.0.0.1/x",
        "https://push.example.com/\r\nHost: x",
        "https://推送.example/x",
        "https:///x",
        "https://[/x",
        "ftp://push.example.com/x",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "",
        "https://push.example.com/" + "x" * 1000,
    ],
)
def test_other_addresses_are_not(endpoint: str) -> None:
    assert not is_permitted_endpoint(endpoint, "https://push.lan:8443")
    assert not is_permitted_endpoint(endpoint)


@pytest.mark.parametrize("text", ["AAAA", "AAAAAAA", "A===", "AAA+", "AA A", "甲", "AA"])
def test_what_is_no_key_is_refused(text: str) -> None:
    assert decoded("AAA_", 3) == b"\0\0?"
    with pytest.raises(ValueError, match=r"."):
        decoded(text, 4)
