"""Short messages: PDUs by published vectors, and a modem on a pseudo-terminal."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capabilities.safety.channels import AlarmMessage, DeliveryFailed
from gateway.capabilities.safety.channels.sms import CHANNEL, MAX_PARTS, Options, encode_submit_pdus
from gateway.model import GatewayError, LinkDown
from tests.gateway.capabilities.safety.channels.conftest import AT, FIRE, LI, WANG


def test_a_pdu_of_a_makers_manual() -> None:
    """Neoway N11 V2 AT commands manual, page 131: "hello" in UCS2 to 13421839693 is 23 bytes long."""
    assert list(encode_submit_pdus("13421839693", "hello")) == [
        (23, "0001000B813124819396F300080A00680065006C006C006F")
    ]


def test_an_international_number() -> None:
    """TS 23.040, 9.1.2.5: type 145, digits in swapped half-bytes; 46708251358 as in its usual example."""
    [(_, pdu)] = encode_submit_pdus("+46708251358", "a")
    assert pdu == "0001000B916407281553F80008020061"


def read(pdu: str) -> tuple[str, bytes, str]:
    """An independent reading of a SUBMIT: number, header, text."""
    data = bytes.fromhex(pdu)
    assert data[0] == 0
    assert data[1] & 0x03 == 0x01
    digits, kind = data[3], data[4]
    end = 5 + (digits + 1) // 2
    number = "".join(f"{byte & 15:x}{byte >> 4:x}" for byte in data[5:end])[:digits]
    assert data[end : end + 2] == b"\x00\x08"
    length, body = data[end + 2], data[end + 3 :]
    assert length == len(body) <= 140
    header = body[: body[0] + 1] if data[1] & 0x40 else b""
    return ("+" if kind == 0x91 else "") + number, header, body[len(header) :].decode("utf-16-be")


@given(
    st.from_regex(r"\A\+?[0-9]{3,20}\Z"),
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=MAX_PARTS * 30),
)
def test_what_is_cut_is_whole_again(phone: str, text: str) -> None:
    pdus = [(length, pdu, *read(pdu)) for length, pdu in encode_submit_pdus(phone, text)]
    assert all(number == phone for _, _, number, _, _ in pdus)
    assert all(length == len(pdu) // 2 - 1 for length, pdu, *_ in pdus)
    assert "".join(said for *_, said in pdus) == text
    headers = [header for *_, header, _ in pdus]
    if len(pdus) == 1:
        assert headers == [b""]
    else:
        assert {header[:4] for header in headers} == {headers[0][:4]}
        assert [tuple(header[4:]) for header in headers] == [(len(pdus), n + 1) for n in range(len(pdus))]


class Modem:
    """A modem of which each property can be spoilt."""

    def __init__(self) -> None:
        self._near, self._far = os.openpty()
        tty.setraw(self._far)
        self.port = os.ttyname(self._far)
        self.echo = True
        self.pin = "+CPIN: READY"
        self.result = "+CMGS: 7\r\n\r\nOK"
        self.noise = ""
        self.mute = False
        self.sent: list[str] = []
        self.commands: list[str] = []
        self._typing = False
        self._buffer = ""
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self._near, self._hear)

    def _hear(self) -> None:
        for letter in os.read(self._near, 4096).decode("ascii"):
            self._take(letter)

    def _take(self, letter: str) -> None:
        if self.mute:
            return
        if letter == "\x1b":
            self._typing, self._buffer = False, ""
        elif self._typing and letter == "\x1a":
            self.sent.append(self._buffer)
            self._typing, self._buffer = False, ""
            self._say(f"{self.noise}\r\n{self.result}\r\n")
        elif letter == "\r" and not self._typing:
            self._obey(self._buffer)
            self._buffer = ""
        else:
            self._buffer += letter

    def _obey(self, command: str) -> None:
        self.commands.append(command)
        if self.echo:
            self._say(command + "\r")
        if command == "ATE0":
            self.echo = False
        if command.startswith("AT+CMGS="):
            self._typing = True
            self._say(f"{self.noise}\r\n> ")
        elif command == "AT+CPIN?":
            self._say(f"\r\n{self.pin}\r\n" + ("" if "ERROR" in self.pin else "\r\nOK\r\n"))
        else:
            self._say(f"{self.noise}\r\nOK\r\n")

    def _say(self, text: str) -> None:
        for half in (text[: len(text) // 2], text[len(text) // 2 :]):
            os.write(self._near, half.encode())

    def begin_a_message(self) -> None:
        """As if somebody had been killed in the middle of one."""
        self._typing, self._buffer = True, "0001"

    def close(self) -> None:
        self.loop.remove_reader(self._near)
        os.close(self._near)
        os.close(self._far)


@pytest.fixture
async def modem() -> AsyncIterator[Modem]:
    it = Modem()
    yield it
    it.close()


async def test_a_message_is_sent(modem: Modem) -> None:
    await CHANNEL.send(Options(port=modem.port), FIRE, [WANG, LI], AT)
    assert [read(pdu)[0] for pdu in modem.sent] == ["+8613800138000", "13900139000"]
    assert read(modem.sent[0])[2] == "【火灾】大厅烟感\n报警，尚无人确认。"
    assert "AT+CMGF=0" in modem.commands


async def test_a_long_message_goes_in_parts(modem: Modem) -> None:
    storm = AlarmMessage(
        headline="大量报警",
        paragraphs=tuple(f"第 {n} 号烟感" for n in range(99)),
        omitted_sentence="另有 {count} 条",
    )
    await CHANNEL.send(Options(port=modem.port), storm, [WANG], AT)
    assert len(modem.sent) == MAX_PARTS
    text = "".join(read(pdu)[2] for pdu in modem.sent)
    assert text.startswith("大量报警\n第 0 号烟感\n")
    assert text.endswith(" 条")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda modem: setattr(modem, "noise", '\r\n+CMTI: "SM",3\r\n\r\nRING\r\n'),
        lambda modem: modem.begin_a_message(),
        lambda modem: setattr(modem, "echo", False),
    ],
    ids=["unasked", "unfinished", "no-echo"],
)
async def test_what_a_modem_says_besides_does_no_harm(modem: Modem, spoil: Callable[[Modem], None]) -> None:
    spoil(modem)
    await CHANNEL.send(Options(port=modem.port), FIRE, [WANG], AT)
    assert len(modem.sent) == 1


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("pin", "+CPIN: SIM PIN", "sms-pin"),
        ("pin", "+CME ERROR: 10", "sms-no-sim"),
        ("result", "+CMS ERROR: 331", "sms-no-network"),
        ("result", "+CMS ERROR: 500", "sms-refused"),
        ("result", "ERROR", "sms-refused"),
        ("result", "OK", "garbage"),
    ],
)
async def test_what_goes_wrong_is_told(modem: Modem, field: str, value: str, key: str) -> None:
    setattr(modem, field, value)
    with pytest.raises(GatewayError) as failed:
        await CHANNEL.send(Options(port=modem.port), FIRE, [WANG], AT)
    assert failed.value.key == key


async def test_a_modem_that_is_gone_or_silent(modem: Modem, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LinkDown):
        await CHANNEL.send(Options(port="/dev/none"), FIRE, [WANG], AT)
    monkeypatch.setattr("gateway.capabilities.safety.channels.sms.MODEM_TIMEOUT_S", 0.05)
    modem.mute = True
    with pytest.raises(GatewayError, match="timeout"):
        await CHANNEL.send(Options(port=modem.port), FIRE, [WANG], AT)
    assert issubclass(DeliveryFailed, GatewayError)
