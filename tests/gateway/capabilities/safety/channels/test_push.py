"""Web Push on the wire: a foreign push service checks the signature and decrypts."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.capabilities.safety import https_post
from gateway.capabilities.safety.channels import AlarmMessage, Contact, DeliveryFailed
from gateway.capabilities.safety.channels.push import (
    CHANNEL,
    DEFAULT_PAUSE_S,
    MAX_PAUSE_S,
    Options,
    PhoneService,
    retry_after_s,
)
from gateway.capabilities.safety.phones import Phone, Phones, decoded
from gateway.capabilities.safety.web_push import PushKey, encrypted, key_file
from gateway.model import Role, Stamp
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from tests.gateway.capabilities.safety.channels.conftest import AT
from tests.gateway.push_service import PushService

FANG = Contact(name="wang", title={}, account=" 王芳")


def message(news: str = "raised", number: int = 1) -> AlarmMessage:
    alarms = ({"notice": f"smoke/1|phones|wang|{number}", "alarm": "smoke/smoke/1", "news": news},)
    texts = {
        "zh": ("【火警】大厅烟感", "报警，尚无人确认。"),
        "en": ("[Fire] Hall smoke", "Alarm, nobody has acknowledged it."),
    }
    translations = {
        lang: AlarmMessage(headline=head, paragraphs=(text,), omitted_sentence="", alarms=alarms)
        for lang, (head, text) in texts.items()
    }
    return msgspec.structs.replace(translations["zh"], translations=translations)


def later(seconds: float) -> Stamp:
    return msgspec.structs.replace(
        AT, mono_ns=AT.mono_ns + int(seconds * 1e9), wall_ms=AT.wall_ms + int(seconds * 1000)
    )


class Rig:
    """A person with phones at a push service of the site's own."""

    def __init__(self, folder: Path, certificate: Path) -> None:
        self.access = folder / "access.key"
        self.push = PushService(certificate, certificate.with_name("key.pem"))
        write_people(people_file(self.access), {"王芳": Person(Role.DUTY, hash_password("long enough"))})
        self.options = Options(email="it@example.cn", own_service=self.push.origin, ca_file=certificate)
        self.service = PhoneService(self.options, self.access)
        self.phones = Phones(self.access)

    def phone(self, path: str, lang: str = "zh") -> Phone:
        phone = Phone(
            endpoint=self.push.origin + path, public_key=self.push.keys["p256dh"],
            auth_secret=self.push.keys["auth"], server_key=PushKey(self.access).public, person="王芳",
            lang=lang, agent="", added_ms=len(path),
        )  # fmt: skip
        self.phones.add(phone)
        return phone

    async def send(self, message: AlarmMessage, at: Stamp = AT) -> None:
        await CHANNEL.send(self.service, message, [FANG], at)


@pytest.fixture
def rig(tmp_path: Path, certificate: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, certificate)
    yield rig
    rig.push.close()


async def test_a_phone_rings_in_its_own_language(rig: Rig) -> None:
    rig.phone("/201/zh")
    rig.phone("/201/en/", "en")
    await rig.send(message())
    rig.push.wait(lambda: len(rig.push.heard) == 2)
    by_lang = {each["lang"]: each for each in rig.push.texts()}
    assert by_lang["zh"] == {
        "title": "【火警】大厅烟感", "body": "报警，尚无人确认。", "tag": "smoke/smoke/1", "lang": "zh",
        "loud": True, "url": "/#alarms",
    }  # fmt: skip
    assert by_lang["en"]["title"] == "[Fire] Hall smoke"
    heard = rig.push.heard[0]
    assert heard["claims"] == {
        "aud": rig.push.origin, "exp": AT.wall_ms // 1000 + 43_200, "sub": "mailto:it@example.cn",
        "signed": True, "algorithm": "ES256", "key": PushKey(rig.access).public,
    }  # fmt: skip
    assert heard["headers"]["urgency"] == "high"
    assert heard["headers"]["ttl"] == "3600"
    assert heard["headers"]["content-encoding"] == "aes128gcm"
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,32}", heard["headers"]["topic"])


async def test_the_end_of_an_alarm_is_quiet_and_takes_its_place(rig: Rig) -> None:
    rig.phone("/201/a")
    for number, news in enumerate(("raised", "acknowledged", "closed")):
        await rig.send(message(news, number))
    rig.push.wait(lambda: len(rig.push.heard) == 3)
    heads = [each["headers"] for each in rig.push.heard]
    assert [text["loud"] for text in rig.push.texts()] == [True, False, False]
    assert {text["tag"] for text in rig.push.texts()} == {"smoke/smoke/1"}
    assert [head["urgency"] for head in heads] == ["high", "normal", "normal"]
    assert len({head["topic"] for head in heads}) == 1
    assert int(heads[2]["ttl"]) > int(heads[0]["ttl"])


@pytest.mark.parametrize("status", [404, 410])
async def test_a_phone_that_is_gone_is_removed(rig: Rig, status: int) -> None:
    rig.phone(f"/{status}/a")
    other = rig.phone("/201/bb")
    with pytest.raises(DeliveryFailed, match="push-gone"):
        await rig.send(message())
    assert rig.phones.of("王芳") == [other]
    await rig.send(message())
    assert [each["status"] for each in rig.push.heard].count(201) == 1, "it has rung already"


async def test_a_service_that_is_busy_is_left_alone_for_a_while(rig: Rig) -> None:
    rig.phone("/429,201/a")
    with pytest.raises(DeliveryFailed, match="channel-status"):
        await rig.send(message())
    with pytest.raises(DeliveryFailed, match="channel-busy") as busy:
        await rig.send(message(), later(20))
    assert busy.value.facts["seconds"] == 10
    with pytest.raises(DeliveryFailed, match="channel-busy"):
        await rig.send(message(), later(29))
    await rig.send(message(), later(31))
    rig.push.wait(lambda: len(rig.push.heard) == 2)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("", DEFAULT_PAUSE_S),
        ("0", 0),
        ("86400", MAX_PAUSE_S),
        ("-5", MAX_PAUSE_S),
        ("Wed, 21 Oct 2026 07:28:00 GMT", MAX_PAUSE_S),
        ("9" * 400, MAX_PAUSE_S),
        ("٣", MAX_PAUSE_S),
    ],
)
def test_the_pause_is_bounded(said: str, seconds: float) -> None:
    assert retry_after_s({"retry-after": said} if said else {}) == seconds


async def test_one_phone_that_fails_does_not_make_the_other_ring_again(rig: Rig) -> None:
    rig.phone("/201/a")
    rig.phone("/400,201/bb")
    with pytest.raises(DeliveryFailed, match="channel-status"):
        await rig.send(message())
    await rig.send(message(), later(5))
    rig.push.wait(lambda: len(rig.push.heard) == 3)
    assert [each["url"] for each in rig.push.heard].count("/201/a") == 1
    await rig.send(message(number=2), later(600))
    rig.push.wait(lambda: len(rig.push.heard) == 5)


async def test_a_phone_of_somebody_who_may_not_log_in_any_more_is_silent(rig: Rig) -> None:
    rig.phone("/201/a")
    write_people(people_file(rig.access), {})
    with pytest.raises(DeliveryFailed, match="push-nobody"):
        await rig.send(message())
    people_file(rig.access).write_text("rubbish")
    await rig.send(message())
    rig.push.wait(lambda: len(rig.push.heard) == 1)


async def test_a_subscription_for_an_earlier_key_is_removed(rig: Rig) -> None:
    rig.phone("/201/a")
    key_file(rig.access).unlink()
    with pytest.raises(DeliveryFailed, match="push-gone"):
        await rig.send(message())
    assert rig.push.heard == []
    assert rig.phones.of("王芳") == []


async def test_a_name_that_leads_into_the_local_network_is_not_followed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's name may have any address, and another one at each question."""
    port = rig.push.origin.rpartition(":")[2]
    phone = rig.phone("/201/a")
    rig.phones.remove(phone)
    rig.phones.add(msgspec.structs.replace(phone, endpoint="https://push.example.com/201/a"))

    async def asked(host: str, _port: int, **_: object) -> list[tuple[object, ...]]:
        assert host == "push.example.com"
        return [(0, 0, 0, "", ("93.184.216.34", 443)), (0, 0, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", asked)
    with pytest.raises(DeliveryFailed, match="channel-local"):
        await rig.send(message())
    assert rig.push.heard == []


@pytest.mark.parametrize(
    ("address", "is_internet"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
        ("2001:0:1::1", False),
        ("2001:db8::1", False),
        ("ff02::1", False),
    ],
)
def test_addresses_of_the_internet(address: str, is_internet: bool) -> None:
    assert https_post.is_internet_address(address) is is_internet


async def test_it_connects_to_the_address_that_was_checked_and_verifies_the_name(rig: Rig) -> None:
    """With the certificate of the name, though the address is another's."""
    ca_file, endpoint = rig.options.ca_file, f"{rig.push.origin}/201/x"
    other = endpoint.replace("localhost", "push.example.com")
    with pytest.raises(DeliveryFailed, match="channel-away") as failed:
        await https_post.post(other, b"", ca_file=ca_file, address="127.0.0.1")
    assert "certificate-name" in str(failed.value.facts["reason"])
    body = encrypted(b"{}", decoded(rig.push.keys["p256dh"], 65), decoded(rig.push.keys["auth"], 16))
    head = PushKey(rig.access).authorization(endpoint, "it@example.cn", 0)
    answer = await https_post.post(endpoint, body, headers=head, ca_file=ca_file, address="127.0.0.1")
    assert answer.status == 201
    rig.push.wait(lambda: [each["claims"]["signed"] for each in rig.push.heard] == [True])


async def test_a_service_that_does_not_answer_takes_no_longer_than_it_may(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.capabilities.safety.channels.push.PUSH_TIMEOUT_S", 1.0)
    rig.phone("/0/hangs")
    rig.phone("/201/b")
    began = time.monotonic()
    with pytest.raises(DeliveryFailed, match="channel-slow"):
        await rig.send(message())
    assert time.monotonic() - began < 10
    rig.push.wait(lambda: {each["status"] for each in rig.push.heard} == {0, 201})
