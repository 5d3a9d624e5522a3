"""Short messages through a modem on a serial port: AT commands of 3GPP TS 27.005, PDUs of TS 23.040."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

import msgspec

from gateway.model import Checks, ReadFailed, Stamp
from gateway.wire.serialport import SerialPort, open_port

from .channel import Channel, Person, Text, Undelivered

SINGLE, PART = 70, 67
"""UTF-16 units of a message alone, and of each part of a longer one (TS 23.040, 9.2.3.24.1)."""
PARTS = 4
ESCAPE, END = b"\x1b", b"\x1a"
SOON, LATE = 5.0, 60.0
"""Seconds for an answer of the modem, and for one of the network."""
SUBMIT, WITH_HEADER = 0x01, 0x40
UCS2 = 0x08
_REFUSED = re.compile(r"\+CM([SE]) ERROR: *(\d+)")
_CAUSES = {
    "E10": "sms-no-sim", "S310": "sms-no-sim",
    "E11": "sms-pin", "S311": "sms-pin",
    "E12": "sms-pin", "S316": "sms-pin",
    "E30": "sms-no-network", "S331": "sms-no-network", "S332": "sms-no-network",
}  # fmt: skip


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`port` such as /dev/serial/by-id/…; the SIM card asks for no PIN."""

    port: str
    baud: int = 115_200

    CHECKS: ClassVar[Checks] = {"port": (bool, "channel-port"), "baud": (lambda b: b > 0, "positive")}


async def send(options: Options, text: Text, people: Sequence[Person], at: Stamp) -> None:
    said = text.within(PARTS * PART, lambda t: len(t.encode("utf-16-be")) // 2)
    async with open_port(options.port, options.baud) as port:
        await _prepare(port)
        for person in people:
            for length, pdu in submit(person.phone, said):
                await _send(port, length, pdu)


def submit(phone: str, text: str) -> Iterator[tuple[int, str]]:
    """SMS-SUBMIT PDUs in hex, by the SIM's own service centre, each with its length for AT+CMGS."""
    parts = _parts(text)
    # The same text has the same reference: parts that are sent again complete what has arrived.
    reference = zlib.crc32(f"{phone} {text}".encode()) & 0xFF
    for number, part in enumerate(parts, 1):
        header = bytes((5, 0, 3, reference, len(parts), number)) if len(parts) > 1 else b""
        data = header + part
        first = SUBMIT | (WITH_HEADER if header else 0)
        tpdu = bytes((first, 0)) + _address(phone) + bytes((0, UCS2, len(data))) + data
        yield len(tpdu), "00" + tpdu.hex().upper()


def _parts(text: str) -> list[bytes]:
    """The text in UCS2, cut between characters."""
    if len(text.encode("utf-16-be")) <= 2 * SINGLE:
        return [text.encode("utf-16-be")]
    parts = [b""]
    for letter in text:
        code = letter.encode("utf-16-be")
        if len(parts[-1]) + len(code) > 2 * PART:
            parts.append(b"")
        parts[-1] += code
    return parts


def _address(phone: str) -> bytes:
    """Type of number, and its digits in swapped half-bytes (TS 23.040, 9.1.2.5)."""
    kind, digits = (0x91, phone[1:]) if phone.startswith("+") else (0x81, phone)
    padded = digits + "F" * (len(digits) % 2)
    swapped = "".join(padded[i + 1] + padded[i] for i in range(0, len(padded), 2))
    return bytes((len(digits), kind)) + bytes.fromhex(swapped)


async def _prepare(port: SerialPort) -> None:
    """Out of a message that somebody did not finish, no echo, PDU mode, numbered errors, SIM ready."""
    port.write(ESCAPE)
    for command in ("AT", "ATE0", "AT+CMEE=1"):
        await _ask(port, command)
    said = await _ask(port, "AT+CPIN?")
    if "READY" not in said:
        raise Undelivered("sms-pin")
    await _ask(port, "AT+CMGF=0")


async def _ask(port: SerialPort, command: str) -> str:
    port.send(command.encode() + b"\r")
    return await port.receive(_answer, SOON)


async def _send(port: SerialPort, length: int, pdu: str) -> None:
    port.send(f"AT+CMGS={length}\r".encode())
    await port.receive(_prompt, SOON)
    port.send(pdu.encode() + END)
    said = await port.receive(_answer, LATE)
    if "+CMGS:" not in said:
        raise ReadFailed("garbage", bytes=len(said))


def _answer(data: bytes) -> str | None:
    """All that was said up to a final result code, whatever else the modem says in between; None while
    there is none. Raises `Undelivered` when it is an error."""
    text = data.decode("ascii", "replace")
    for line in re.findall(r"([^\r\n]+)\r", text):
        if refused := _REFUSED.fullmatch(line.strip()):
            cause = _CAUSES.get(refused[1] + refused[2], "sms-refused")
            raise Undelivered(cause, code=f"CM{refused[1]} {refused[2]}")
        if line.strip() == "ERROR":
            raise Undelivered("sms-refused", code="ERROR")
        if line.strip() == "OK":
            return text
    return None


def _prompt(data: bytes) -> str | None:
    _answer(data)
    text = data.decode("ascii", "replace")
    return text if re.search(r"(^|[\r\n])> ?", text) else None


CHANNEL = Channel(options=Options, send=send, needs="phone", limit=300.0)
