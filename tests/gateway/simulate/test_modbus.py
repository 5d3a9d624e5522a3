from __future__ import annotations

import re
import socket
import struct
import subprocess
import time

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulate.devices import RegisterTables
from gateway.simulate.modbus import build_response, crc16
from tests.gateway.simulate.conftest import Simulator, ask

TABLES: RegisterTables = {2: [True] + [False] * 8 + [True], 3: [1, 0x1234, 0xFFFF]}


def test_worked_checksums() -> None:
    for frame in ("010300000008440C", "500300340001C845", "500302070B067F"):
        raw = bytes.fromhex(frame)
        assert crc16(raw[:-2]) == raw[-2:]


def test_reading() -> None:
    assert build_response(TABLES, bytes.fromhex("0300010002")) == bytes.fromhex("03041234FFFF")
    assert build_response(TABLES, bytes.fromhex("020000000A")) == bytes.fromhex("02020102")


def test_what_cannot_be_read_is_refused() -> None:
    for request, refusal in {
        "0300030001": "8302",  # no such register
        "0300020002": "8302",  # one too many
        "0400000001": "8402",  # no such table
        "0300000000": "8303",  # none
        "030000007E": "8303",  # more than fit
        "030000": "8303",  # half a request
        "0600000001": "8601",  # not a read
        "2B0E0100": "AB01",
    }.items():
        assert build_response(TABLES, bytes.fromhex(request)).hex().upper() == refusal


@given(st.binary(min_size=1, max_size=253))
def test_any_request_has_an_answer(request: bytes) -> None:
    assert build_response(TABLES, request)[0] & 0x7F == request[0] & 0x7F


def mbpoll(*options: str) -> tuple[list[int], str]:
    """The values that Debian's Modbus master reads, as unsigned numbers, and its complaints."""
    done = subprocess.run(
        ["mbpoll", "-q", "-1", "-0", "-o", "2", *options],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    return [int(n) for n in re.findall(r"^\[\d+\]:\s+(\d+)", done.stdout, re.M)], done.stderr


def tcp(sim: Simulator, *options: str) -> tuple[list[int], str]:
    return mbpoll("-m", "tcp", "-p", str(sim.modbus), *options, "127.0.0.1")


def rtu(sim: Simulator, *options: str) -> tuple[list[int], str]:
    return mbpoll("-m", "rtu", "-b", "9600", "-P", "none", *options, str(sim.rs485))


def test_a_foreign_master_reads_the_tcp_units(sim: Simulator) -> None:
    before = sim.state()
    values, _ = tcp(sim, "-a", "1", "-r", "0", "-c", "5", "-t", "4")
    assert abs(values[0] << 16 | values[1]) - before["doors"]["1"]["entered"] in range(5)
    assert abs(values[2] << 16 | values[3]) - before["doors"]["1"]["left"] in range(5)
    assert values[4] == 0

    sim.do("bay?bay=3&occupied=1")
    assert tcp(sim, "-a", "13", "-r", "0", "-t", "1")[0] == [1]
    distance, battery = tcp(sim, "-a", "13", "-r", "0", "-c", "2", "-t", "3")[0]
    assert (distance < 900, battery) == (True, before["bays"]["3"]["battery"])

    sim.do("gas?lel=40")
    values, _ = tcp(sim, "-a", "21", "-r", "0", "-c", "8", "-t", "4")
    assert (values[:3], values[6:]) == ([400, 1, 1], [25, 50])
    sim.do("clear")


def test_a_foreign_master_is_refused_what_is_not_there(sim: Simulator) -> None:
    assert "Illegal data address" in tcp(sim, "-a", "1", "-r", "5", "-t", "4")[1]
    assert "Target device failed to respond" in tcp(sim, "-a", "99", "-r", "0", "-t", "4")[1]
    assert "Illegal data address" in rtu(sim, "-a", "1", "-r", "4", "-t", "4")[1]
    assert "timed out" in rtu(sim, "-a", "9", "-r", "0", "-t", "4")[1]


def test_a_foreign_master_reads_the_serial_units(sim: Simulator) -> None:
    sim.do("smoke?unit=2&on=1")
    quiet, _ = rtu(sim, "-a", "1", "-r", "0", "-c", "4", "-t", "4")
    smoke, _ = rtu(sim, "-a", "2", "-r", "0", "-c", "4", "-t", "4")
    assert (quiet[0], smoke[0], quiet[3]) == (0, 1, 2950)
    assert smoke[1] > 500 > 20 > quiet[1]
    sim.do("residual?ma=350")
    monitor, _ = rtu(sim, "-a", "4", "-r", "0", "-c", "6", "-t", "4")
    assert (monitor[0], monitor[5]) == (350, 1)
    sim.do("clear")


def request(transaction: int, unit: int, pdu: str = "0300000001") -> bytes:
    body = bytes((unit,)) + bytes.fromhex(pdu)
    return struct.pack(">HHH", transaction, 0, len(body)) + body


def test_requests_in_pieces_and_together(sim: Simulator) -> None:
    with socket.create_connection(("127.0.0.1", sim.modbus), timeout=3) as wire:
        both = request(1, 1) + request(2, 2)
        for byte in both[:9]:
            wire.sendall(bytes((byte,)))
        wire.sendall(both[9:])
        reply = b""
        while len(reply) < 22:
            reply += wire.recv(64)
        assert (reply[:2], reply[6], reply[11:13], reply[17]) == (b"\0\1", 1, b"\0\2", 2)
        wire.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert wire.recv(64) == b"", "what is not Modbus is hung up on"


def test_a_late_reply_carries_the_number_of_its_own_request(sim: Simulator) -> None:
    sim.do("slow?wire=tcp&unit=1&ms=300")
    with socket.create_connection(("127.0.0.1", sim.modbus), timeout=3) as wire:
        wire.sendall(request(7, 1))
        wire.sendall(request(8, 21))
        first, second = wire.recv(11), wire.recv(11)
    assert (first[1], first[6]) == (8, 21)
    assert (second[1], second[6]) == (7, 1)
    sim.do("clear")


def test_a_dead_unit_is_silent_and_its_neighbours_are_not(sim: Simulator) -> None:
    sim.do("dead?wire=tcp&unit=1&on=1")
    with socket.create_connection(("127.0.0.1", sim.modbus), timeout=3) as wire:
        wire.sendall(request(1, 1) + request(2, 2))
        assert wire.recv(64)[1] == 2
    sim.do("dead?wire=rtu&unit=2&on=1")
    assert ask(sim.rs485, bytes.fromhex("020300000001"), 7, seconds=0.5) == b""
    assert len(ask(sim.rs485, bytes.fromhex("010300000001"), 7)) == 7
    sim.do("clear")
    assert len(ask(sim.rs485, bytes.fromhex("020300000001"), 7)) == 7


def test_a_bad_line_spoils_every_reply(sim: Simulator) -> None:
    whole = ask(sim.rs485, bytes.fromhex("010300000001"), 7)
    sim.do("garbage?wire=rtu&on=1")
    for _ in range(3):
        reply = ask(sim.rs485, bytes.fromhex("010300000001"), 64, seconds=0.3)
        assert reply
        assert reply != whole
    sim.do("garbage?wire=rtu&on=0")
    assert ask(sim.rs485, bytes.fromhex("010300000001"), 7) == whole


def test_the_line_is_as_slow_as_its_bytes(sim: Simulator) -> None:
    began = time.monotonic()
    ask(sim.rs485, bytes.fromhex("010300000004"), 13, seconds=3)
    assert time.monotonic() - began > (8 + 13) * 10 / 9600
