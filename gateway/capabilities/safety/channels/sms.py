"""Short messages through a modem on a serial port: AT commands of 3GPP TS 27.005, PDUs of TS 23.040."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

import msgspec

from gateway.model import LINE_CHECKS, Checks, ReadFailed, Stamp
from gateway.wire.serialport import SerialPort, open_port

from ..channel import AlarmMessage, Channel, Contact, DeliveryFailed

SINGLE_MESSAGE_UNITS, PART_UNITS = 70, 67
"""The length of a single message, and of each part of a longer one, in UTF-16 code units (TS 23.040,
9.2.3.24.1)."""
MAX_PARTS = 4
ESCAPE, CTRL_Z = b"\x1b", b"\x1a"
MODEM_TIMEOUT_S, NETWORK_TIMEOUT_S = 5.0, 60.0
"""How long an answer of the modem, and one of the network, may take."""
MESSAGE_TYPE_SUBMIT, USER_DATA_HEADER = 0x01, 0x40
"""Bits of the first octet (TS 23.040, 9.2.3.1 and 9.2.3.23)."""
UCS2_CODING = 0x08
_ERROR_RESULT = re.compile(r"\+CM([SE]) ERROR: *(\d+)")
_SENTENCE_BY_ERROR = {
    "E10": "sms-no-sim", "S310": "sms-no-sim",
    "E11": "sms-pin", "S311": "sms-pin",
    "E12": "sms-pin", "S316": "sms-pin",
    "E30": "sms-no-network", "S331": "sms-no-network", "S332": "sms-no-network",
}  # fmt: skip


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`port` such as /dev/serial/by-id/…; the SIM card must not require a PIN."""

    port: str
    baud: int = 115_200

    CHECKS: ClassVar[Checks] = {"port": (bool, "channel-port"), "baud": LINE_CHECKS["baud"]}


async def send(options: Options, message: AlarmMessage, contacts: Sequence[Contact], at: Stamp) -> None:
    text = message.render(MAX_PARTS * PART_UNITS, lambda part: len(part.encode("utf-16-be")) // 2)
    async with open_port(options.port, options.baud) as port:
        await _initialise_modem(port)
        for contact in contacts:
            for length, pdu in encode_submit_pdus(contact.phone, text):
                await _submit_pdu(port, length, pdu)


def encode_submit_pdus(phone: str, text: str) -> Iterator[tuple[int, str]]:
    """SMS-SUBMIT PDUs in hex, each with its length for AT+CMGS; the service centre is that of the SIM."""
    parts = _split_text(text)
    # The same text gets the same reference: when parts are sent again, they complete those that arrived.
    reference = zlib.crc32(f"{phone} {text}".encode()) & 0xFF
    for number, part in enumerate(parts, 1):
        header = bytes((5, 0, 3, reference, len(parts), number)) if len(parts) > 1 else b""
        data = header + part
        first = MESSAGE_TYPE_SUBMIT | (USER_DATA_HEADER if header else 0)
        tpdu = bytes((first, 0)) + _encode_address(phone) + bytes((0, UCS2_CODING, len(data))) + data
        yield len(tpdu), "00" + tpdu.hex().upper()


def _split_text(text: str) -> list[bytes]:
    """The text in UCS2, split between characters."""
    if len(text.encode("utf-16-be")) <= 2 * SINGLE_MESSAGE_UNITS:
        return [text.encode("utf-16-be")]
    parts = [b""]
    for character in text:
        code = character.encode("utf-16-be")
        if len(parts[-1]) + len(code) > 2 * PART_UNITS:
            parts.append(b"")
        parts[-1] += code
    return parts


def _encode_address(phone: str) -> bytes:
    """Length, type of number, and the digits in swapped half-bytes (TS 23.040, 9.1.2.5)."""
    number_type, digits = (0x91, phone[1:]) if phone.startswith("+") else (0x81, phone)
    padded = digits + "F" * (len(digits) % 2)
    swapped = "".join(padded[i + 1] + padded[i] for i in range(0, len(padded), 2))
    return bytes((len(digits), number_type)) + bytes.fromhex(swapped)


async def _initialise_modem(port: SerialPort) -> None:
    """Leave an unfinished message, switch echo off, set numeric errors and PDU mode, check the SIM."""
    port.write(ESCAPE)
    for command in ("AT", "ATE0", "AT+CMEE=1"):
        await _send_command(port, command)
    answer = await _send_command(port, "AT+CPIN?")
    if "READY" not in answer:
        raise DeliveryFailed("sms-pin")
    await _send_command(port, "AT+CMGF=0")


async def _send_command(port: SerialPort, command: str) -> str:
    port.send(command.encode() + b"\r")
    return await port.receive(_parse_result, MODEM_TIMEOUT_S)


async def _submit_pdu(port: SerialPort, length: int, pdu: str) -> None:
    port.send(f"AT+CMGS={length}\r".encode())
    await port.receive(_parse_prompt, MODEM_TIMEOUT_S)
    port.send(pdu.encode() + CTRL_Z)
    answer = await port.receive(_parse_result, NETWORK_TIMEOUT_S)
    if "+CMGS:" not in answer:
        raise ReadFailed("garbage", bytes=len(answer))


def _parse_result(data: bytes) -> str | None:
    """The answer up to a final result code, with unsolicited lines in between; None while it is incomplete.

    Raises `DeliveryFailed` for an error code.
    """
    text = data.decode("ascii", "replace")
    for line in re.findall(r"([^\r\n]+)\r", text):
        if refused := _ERROR_RESULT.fullmatch(line.strip()):
            cause = _SENTENCE_BY_ERROR.get(refused[1] + refused[2], "sms-refused")
            raise DeliveryFailed(cause, code=f"CM{refused[1]} {refused[2]}")
        if line.strip() == "ERROR":
            raise DeliveryFailed("sms-refused", code="ERROR")
        if line.strip() == "OK":
            return text
    return None


def _parse_prompt(data: bytes) -> str | None:
    """The answer up to the prompt for a PDU; None while there is no prompt."""
    _parse_result(data)
    text = data.decode("ascii", "replace")
    return text if re.search(r"(^|[\r\n])> ?", text) else None


CHANNEL = Channel(options=Options, send=send, address_field="phone", timeout_s=300.0)
