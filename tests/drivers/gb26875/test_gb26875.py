from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gb26875 import (
    ANSWER,
    BITS,
    CONFIRM,
    CONTROL,
    DENY,
    DRIVER,
    FRAME,
    MOST_DATA,
    MOST_PARTS,
    OPERATIONS,
    REQUEST,
    SEND,
    STATES,
    Address,
    Field,
    FireListener,
    FirePoint,
    Options,
    Packet,
    Panel,
    Reading,
    connect,
    decode,
    example,
    split,
)
from gateway.clock import SystemClock
from gateway.codec import finish
from gateway.config import BusSpec
from gateway.engine import Engine
from gateway.journal import Journal, Reader
from gateway.model import AlarmSpec, Device, Hazard, Lane, LinkDown, ReadFailed, Sample
from gateway.services import services
from gateway.services.memory import Memory, memories
from gateway.supervise import BusTask

from ..conftest import Line

PUBLISHED = bytes.fromhex(
    "4040 0000 0101 180D11160A14 000000000000 060504030201 3000 02 02 01 01 03 00 D9000600 0200"
    "A3C1C7F8A3B1B2E3DFC8B2B8D7DFC0C8 000000000000000000000000000000 301213010814 68 2323"
)
CONFIRMED = bytes.fromhex("4040 0000 0101 180D11160A14 060504030201 000000000000 0000 03 84 2323")
DENIED = bytes.fromhex("4040 0000 0101 180D11160A14 060504030201 000000000000 0000 06 87 2323")
TIME = bytes.fromhex("301213010814")
A, B, STRANGER = bytes(6), bytes.fromhex("060504030201"), bytes.fromhex("FFFFFFFFFFFF")
NAMES: tuple[Field, ...] = (*BITS, "manual_alarm", "line_fault", "manual_mode", "reset")
FIRE, DISABLED = 1 << 1, 1 << 3


def packet(data: bytes, source: bytes = A, command: int = SEND, sequence: int = 0x1234) -> Packet:
    return Packet(
        sequence=sequence,
        version=b"\1\1",
        time=TIME,
        source=source,
        destination=bytes.fromhex("AABBCCDDEEFF"),
        command=command,
        data=data,
    )


def component(status: int, number: int = 1, text: str = "", system: int = 1, kind: int = 40) -> bytes:
    return (
        bytes((system, 1, kind))
        + number.to_bytes(4, "little")
        + status.to_bytes(2, "little")
        + text.encode("gb18030").ljust(31, b"\0")
        + TIME
    )


def components(*parts: bytes) -> bytes:
    return bytes((2, len(parts))) + b"".join(parts)


def operation(act: int, system: int = 1) -> bytes:
    return bytes((4, 1, system, 1, act, 7)) + TIME


def device(name: str = "panel", source: bytes = A) -> Device:
    points = {
        field: FirePoint(field=field, alarm=AlarmSpec(hazard=Hazard.FIRE) if field == "fire" else None)
        for field in NAMES
    }
    return Device(
        name=name,
        title={},
        kind="fire-panel",
        profile="",
        bus="fire",
        address=Address(source=source.hex(":").upper()),
        points={**points, "fire_where": FirePoint(field="where")},
        every=60.0,
    )


def told(*data: bytes) -> Reading:
    """What a panel holds after these data units."""
    panel = Panel()
    readings = [panel.take(packet(each, sequence=number)) for number, each in enumerate(data)]
    return readings[-1]


def test_the_published_packet() -> None:
    (found,), rest = split(PUBLISHED)
    assert rest == b""
    assert found.sound
    assert (found.source, found.destination, found.command) == (A, B, SEND)
    assert found.encode() == PUBLISHED
    values = decode(device().points, Panel().take(found))
    assert {name for name, value in values.items() if value is True} == {"fire"}
    assert values["fire_where"] == "1/3/0/217.0.6.0 Ａ区１层呷哺走廊"


TOLD: list[tuple[str, str, int, set[str]]] = [
    # Who sent it, the packet, its command, and what it holds: a maker's examples with a transcript of
    # the standard; open implementations' tests and captures.
    ("a heartbeat", "40400100 0101 203A091A090C 790300000000 385B01000000 0000 02 A7 2323", SEND, set()),
    (
        "smoke, zone 10, number 2",
        "40400100 0101 203A091A090C 790300000000 385B01000000 3000 02 02 01 01 01 28 0A000200 0200"
        + "20" * 30
        + "00 023A091A090C 46 2323",
        SEND,
        {"fire"},
    ),
    (
        "the device's mains are gone",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0900 02 15 01 08 023A091A090C 42 2323",
        SEND,
        {"power_fault"},
    ),
    (
        "somebody answers a duty check",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0A00 02 18 01 20 01 023A091A090C 5F 2323",
        SEND,
        set(),
    ),
    (
        "a version",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0400 02 19 01 01 01 C7 2323",
        SEND,
        set(),
    ),
    (
        "the device's time",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0800 02 1C 01 023A091A090C 40 2323",
        SEND,
        set(),
    ),
    (
        "an answer: the mains are gone",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0900 05 15 01 08 023A091A090C 45 2323",
        ANSWER,
        {"power_fault"},
    ),
    (
        "an answer: a version",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0400 05 19 01 01 01 CA 2323",
        ANSWER,
        set(),
    ),
    (
        "an answer: its time",
        "40400100 0101 203A091A090C 790300000000 385B01000000 0800 05 1C 01 023A091A090C 43 2323",
        ANSWER,
        set(),
    ),
    (
        "the centre wants to know its state",
        "40400100 0101 203A091A090C 385B01000000 790300000000 0300 04 51 01 00 FE 2323",
        REQUEST,
        set(),
    ),
    (
        "the centre checks for duty",
        "40400100 0101 203A091A090C 385B01000000 790300000000 0300 01 5B 01 0A 0F 2323",
        CONTROL,
        set(),
    ),
    (
        "the centre sets a clock",
        "40400100 0101 203A091A090C 385B01000000 790300000000 0800 01 5A 01 023A091A090C 7D 2323",
        CONTROL,
        set(),
    ),
    (
        "a captured smoke detector, with text behind the end of its text",
        "40401400 1000 0509091B0715 2C312C320000 784D07918E23 3000 02 02 01 01 01 2A 01000100 0200"
        "31BAC5BDD3BFDAB0E531BBD8C2B731BAC500BAC5D6F7BBFAF898CFA0000000 25110301060C 47 2323",
        SEND,
        {"fire"},
    ),
    (
        "a captured heartbeat of another version, with a byte that is no type",
        "4040F809 1000 081E09030316 000000000000 C0A801046D1D 0100 02 16 6C 2323",
        SEND,
        set(),
    ),
    (
        "a reset of the device",
        "40400300 0101 103B0C1B0C11 672B00000000 385B01000000 0A00 02 18 01 01 00 003B0C1B0C11 5F 2323",
        SEND,
        set(),
    ),
    ("an empty one", "40400000 0101 0C3B0C1B0C11 672B00000000 385B01000000 0000 02 B5 2323", SEND, set()),
    (
        "a version of the device",
        "40400000 0101 011E16080C15 800D00000000 000000000000 0400 02 19 01 01 00 0E 2323",
        SEND,
        set(),
    ),
    (
        "a type of a maker's own",
        "40400000 0101 0F220E190713 010000000000 FFFF00000000 1200 02 96 01 00035B01000000020000"
        "0F220E190713 F1 2323",
        SEND,
        set(),
    ),
]


@pytest.mark.parametrize(("told", "frame", "command", "holds"), TOLD, ids=[each[0] for each in TOLD])
def test_published_and_captured_packets(told: str, frame: str, command: int, holds: set[str]) -> None:
    data = bytes.fromhex(frame)
    (found,), rest = split(data)
    assert rest == b""
    assert (found.sound, found.command) == (True, command), told
    assert found.encode() == data
    assert Panel().take(found).holds == holds


packets = st.builds(
    Packet,
    sequence=st.integers(0, 0xFFFF),
    version=st.binary(min_size=2, max_size=2),
    time=st.binary(min_size=6, max_size=6),
    source=st.binary(min_size=6, max_size=6),
    destination=st.binary(min_size=6, max_size=6),
    command=st.integers(0, 255),
    data=st.binary(max_size=MOST_DATA),
)


@given(packets)
def test_what_is_encoded_is_decoded_again(sent: Packet) -> None:
    assert split(sent.encode()) == ([sent], b"")


@given(st.binary(max_size=300))
def test_splitting_never_raises_and_keeps_less_than_a_packet(noise: bytes) -> None:
    _, rest = split(noise)
    assert len(rest) < FRAME + MOST_DATA
    assert split(rest) == ([], rest)


@given(st.lists(st.binary(max_size=120), max_size=5), st.sampled_from([*STATES, *OPERATIONS, 8, 90, 255]))
def test_decoding_never_raises(bodies: list[bytes], kind: int) -> None:
    panel, points = Panel(), device().points
    for body in bodies:
        values = decode(points, panel.take(packet(bytes((kind, 1)) + body)))
        assert finish(points, values) == (values, {})


@pytest.mark.parametrize("cut", range(1, len(PUBLISHED)))
def test_a_packet_cut_at_any_byte_is_put_together(cut: int) -> None:
    stream, rest = PUBLISHED + PUBLISHED, b""
    found = []
    for piece in (stream[:cut], stream[cut : cut + 60], stream[cut + 60 :]):
        packets, rest = split(rest + piece)
        found += packets
    assert [each.encode() for each in found] == [PUBLISHED] * 2
    assert rest == b""


@pytest.mark.parametrize("place", range(len(PUBLISHED)))
@pytest.mark.parametrize("change", [0x01, 0x04, 0x40, 0xFF])
def test_a_packet_garbled_at_any_byte_is_not_taken_and_the_next_one_is(place: int, change: int) -> None:
    garbled = bytearray(PUBLISHED)
    garbled[place] ^= change
    found, _ = split(bytes(garbled) + PUBLISHED)
    assert [each.encode() for each in found if each.sound] == [PUBLISHED]


def test_what_only_looks_like_a_beginning_delays_nothing() -> None:
    beginning = b"@@" + bytes(22) + (1000).to_bytes(2, "little") + b"\2"
    for noise in (beginning, b"@", b"@@", b"@@@", b"##@@##", beginning * 3):
        found, rest = split(noise + PUBLISHED)
        assert [each.encode() for each in found] == [PUBLISHED]
        assert rest == b""


def test_more_than_1024_bytes_of_data_are_no_packet() -> None:
    assert len(split(packet(bytes(MOST_DATA)).encode())[0]) == 1
    assert split(packet(bytes(MOST_DATA + 1)).encode()) == ([], b"")


def test_two_detectors_in_fire_do_not_cancel_each_other() -> None:
    fire_1, fire_2 = components(component(FIRE, 1, "一楼")), components(component(FIRE, 2, "二楼"))
    quiet_1, quiet_2 = components(component(1, 1)), components(component(1, 2))
    assert told(fire_1, fire_2).where == "1/1/40/2.0.0.0 二楼"
    still = told(fire_1, fire_2, quiet_2)
    assert (still.holds, still.where) == ({"fire"}, "1/1/40/1.0.0.0 一楼")
    over = told(fire_1, fire_2, quiet_2, quiet_1)
    assert (over.holds, over.where) == (frozenset(), "")
    repeated = told(fire_1, fire_2, fire_1)
    assert repeated.where == "1/1/40/2.0.0.0 二楼", "a fire that is told again is not the newest"


@pytest.mark.parametrize("test_bit", [0, 1])
def test_every_bit_is_told_and_bit_0_decides_nothing(test_bit: int) -> None:
    for bit, name in enumerate(BITS, 1):
        assert told(components(component(1 << bit | test_bit))).holds == {name}
    assert told(components(component(test_bit | 0xFE00))).holds == frozenset()


def test_22_components_come_in_one_packet_and_one_cut_short_still_counts() -> None:
    many = [component(1, number) for number in range(21)] + [component(FIRE, 99, "锅炉房")]
    assert told(components(*many)).where == "1/1/40/99.0.0.0 锅炉房"
    for length in range(9, 46):
        assert told(components(*many)[: 2 + 21 * 46 + length]).holds == {"fire"}
    assert told(components(component(FIRE)[:8])).holds == frozenset()


def test_what_trails_behind_the_last_component_is_none_but_a_whole_one_counts() -> None:
    quiet = components(component(1))
    assert told(quiet + b"\xff" * 45).holds == frozenset()
    assert told(quiet + component(FIRE, 2)).holds == {"fire"}
    assert told(bytes((2, 0)) + component(FIRE)).holds == {"fire"}
    assert told(operation(1 << 6) + b"\1\1\4").holds == frozenset()


def test_components_and_systems_without_their_times() -> None:
    parts = component(1, 1)[:40] + component(FIRE, 2, "二楼")[:40] + component(1, 3)[:40]
    assert told(bytes((2, 3)) + parts).where == "1/1/40/2.0.0.0 二楼"
    systems = bytes((1, 2, 1, 1, 1, 0, 10, 1)) + FIRE.to_bytes(2, "little")
    assert told(systems).where == "10/1"


@pytest.mark.parametrize(
    ("description", "text"),
    [(b"\xff" * 31, "�" * 31), (b"a\nb\x1b[2J\x00rest", "ab[2J"), (b" \xc8\xfd ", "三")],
)
def test_any_description_becomes_plain_text(description: bytes, text: str) -> None:
    one = component(FIRE)
    where = told(components(one[:9] + description.ljust(31, b"\0") + TIME)).where
    assert where == f"1/1/40/1.0.0.0 {text}"


def test_a_reset_clears_its_own_system_but_no_disablement() -> None:
    start = components(component(FIRE | DISABLED, 1), component(FIRE, 2, system=10), component(1 << 2, 3))
    assert told(start).holds == {"fire", "fault", "disabled"}
    assert told(start, operation(1)).holds == {"fire", "disabled"}
    assert told(start, operation(1), operation(1, system=10)).holds == {"disabled"}


def test_a_cleared_alarm_leaves_the_faults_and_other_operations_change_nothing() -> None:
    start = components(component(FIRE, 1), component(1 << 2, 2))
    assert told(start, operation(1 << 2)).holds == {"fire", "fault", "manual_alarm"}
    assert told(start, operation(1 << 2), operation(1 << 3)).holds == {"fault"}
    for bit in (1, 4, 5, 6, 7):
        assert told(start, operation(1 << bit)).holds == {"fire", "fault"}


def test_a_reset_that_is_sent_again_does_not_clear_what_came_after_it() -> None:
    panel = Panel()
    reset = packet(operation(1), sequence=7)
    panel.take(reset)
    panel.take(packet(components(component(FIRE))))
    assert panel.take(reset).holds == {"fire"}
    assert panel.take(packet(operation(1), sequence=8)).holds == frozenset()


def system(status: int, number: int = 1) -> bytes:
    return bytes((1, 1, number, 1)) + status.to_bytes(2, "little") + TIME


def test_a_system_that_turns_to_reset_clears_what_it_held_and_staying_so_clears_nothing() -> None:
    fire, reset = components(component(FIRE), component(DISABLED, 2)), system(1 << 13)
    assert told(fire, reset).holds == {"disabled", "reset"}
    assert told(fire, reset, fire, reset).holds == {"fire", "disabled", "reset"}
    assert told(fire, reset, fire, operation(1), fire, reset).holds == {"fire", "disabled", "reset"}
    assert told(fire, reset, system(1), fire, reset).holds == {"disabled", "reset"}
    assert told(fire, system(1 << 13, number=10)).holds == {"fire", "disabled", "reset"}


def test_an_answer_with_operations_tells_of_the_past() -> None:
    panel = Panel()
    panel.take(packet(components(component(FIRE))))
    assert panel.take(packet(operation(1), command=ANSWER)).holds == {"fire"}


def test_a_panel_is_remembered_to_the_last_part() -> None:
    panel = Panel()
    for data in (components(component(FIRE, 1, "一楼"), component(FIRE, 2, "二楼")), system(1 << 13, 10)):
        before = panel.take(packet(data))
    again = Panel(before.memory)
    assert again.questions() == panel.questions()
    heartbeat = again.take(packet(b""))
    assert (heartbeat.holds, heartbeat.where) == (before.holds, "1/1/40/2.0.0.0 二楼")
    assert heartbeat.memory == before.memory, "what has not changed is not written again"
    assert again.take(packet(components(component(1, 2)))).where == "1/1/40/1.0.0.0 一楼"
    assert again.take(packet(operation(1))).holds == {"reset"}


@pytest.mark.parametrize(
    "memory", [b"", b"garbage", b"\x91\x91\xa3abc", msgspec.msgpack.encode({"parts": 1})]
)
def test_a_memory_that_cannot_be_read_is_none(memory: bytes) -> None:
    assert Panel(memory).take(packet(b"")).holds == frozenset()


def test_a_panel_is_asked_for_what_may_have_changed() -> None:
    panel = Panel()
    assert panel.questions() == [bytes((81, 1, 0))]
    panel.take(packet(components(*(component(DISABLED, number) for number in range(22)))))
    panel.take(packet(components(component(FIRE, 0x0A0B0C0D, system=10))))
    panel.take(packet(components(component(1, 5, system=11))))
    of_device, of_systems, *pages = panel.questions()
    assert of_device == bytes((81, 1, 0))
    assert of_systems == bytes((61, 3, 1, 1, 10, 1, 11, 1))
    assert [page[:2] for page in pages] == [bytes((62, 22)), bytes((62, 1))]
    assert pages[0][2:8] == bytes((10, 1, 0x0D, 0x0C, 0x0B, 0x0A)), "a fire is asked for first"


@given(st.lists(st.binary(min_size=46, max_size=46), min_size=1, max_size=300))
def test_no_question_is_too_long(parts: list[bytes]) -> None:
    panel = Panel()
    for part in parts:
        panel.take(packet(components(part)))
    for question in panel.questions():
        assert len(question) <= MOST_DATA
        assert question[1] == (len(question) - 2) // {61: 2, 62: 6, 81: 1}[question[0]]


def test_systems_and_the_device_itself_have_states_too() -> None:
    status = (FIRE | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 13).to_bytes(2, "little")
    whole = told(bytes((1, 1, 1, 3)) + status + TIME)
    assert whole.holds == {"fire", "power_fault", "line_fault", "manual_mode", "reset"}
    assert whole.where == "1/3"
    own = bytes((21, 1, 0b0100_1001)) + TIME
    assert told(own).holds == {"power_fault", "line_fault"}
    assert told(own, bytes((21, 1, 1)) + TIME).holds == frozenset()
    pressed, reset = bytes((24, 1, 4, 7)) + TIME, bytes((24, 1, 1, 7)) + TIME
    assert told(pressed).holds == {"manual_alarm"}
    fire = components(component(FIRE))
    assert told(fire, pressed, reset).holds == {"fire"}, "the device's reset is not the panel's"


@pytest.mark.parametrize("data", [b"", b"\2", bytes((8, 1, 1, 1)) + TIME, bytes((28, 1)) + TIME])
def test_what_tells_no_state_is_a_sign_of_life_with_what_is_held(data: bytes) -> None:
    assert told(components(component(FIRE)), data).holds == {"fire"}


def test_only_what_is_sent_or_answered_is_believed() -> None:
    fire = components(component(FIRE))
    believed = {c for c in range(8) if Panel().take(packet(fire, command=c)).holds}
    assert believed == {SEND, ANSWER}


def test_strangers_parts_do_not_fill_the_memory_and_push_out_no_fire() -> None:
    panel = Panel()
    panel.take(packet(components(component(FIRE, 0xFFFFFFFF, "仓库"))))
    for first in range(0, MOST_PARTS + 200, 20):
        faults = [component(1 << 2, number) for number in range(first, first + 20)]
        reading = panel.take(packet(components(*faults)))
    assert len(panel._parts) == MOST_PARTS
    assert reading.where.endswith("仓库")


@pytest.mark.parametrize(
    "fields",
    [{}, {"frames": []}, {"frames": ["40"]}, {"frames": ["zz"]}, {"frames": [PUBLISHED.hex() + "40"]},
     {"frames": [PUBLISHED.hex().replace("682323", "692323")]}],
)  # fmt: skip
def test_an_example_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        example(fields)


@pytest.mark.parametrize(
    ("listen", "good"),
    [("0.0.0.0:9000", True), ("[::]:9000", True), ("localhost:0", True), ("/dev/ttyUSB0", True),
     ("9000", False), (":9000", False), ("host:65536", False), ("::1:9000", False), ("", False)],
)  # fmt: skip
def test_where_to_listen(listen: str, good: bool) -> None:
    check, _ = Options.CHECKS["listen"]
    assert check(listen) is good


class Core:
    """Takes what the listener says, as the supervisor does."""

    def __init__(self, listener: FireListener) -> None:
        self.listener = listener
        self.heard: list[tuple[str, Any]] = []

    async def take(self) -> None:
        async for heard in self.listener.listen():
            self.heard.append(heard)

    def failures(self) -> list[str]:
        return [raw.key for _, raw in self.heard if isinstance(raw, ReadFailed)]


@contextlib.asynccontextmanager
async def serving(*devices: Device, listen: str = "127.0.0.1:0", **options: Any) -> AsyncIterator[Core]:
    options = {"ask": False, **options}
    async with connect(Options(listen=listen, **options), devices or (device(),)) as listener:
        core = Core(listener)
        task = asyncio.create_task(core.take())
        try:
            yield core
        finally:
            task.cancel()
            await asyncio.wait([task])


class Peer:
    """A transmission device's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes, length: int = FRAME) -> bytes:
        self.writer.write(data)
        async with asyncio.timeout(5):
            return await self.reader.readexactly(length)

    async def cut_off(self) -> bool:
        """Whether the connection ends without a word."""
        try:
            async with asyncio.timeout(5):
                return await self.reader.read() == b""
        except ConnectionResetError:
            return True


@contextlib.asynccontextmanager
async def calling(listener: FireListener | int) -> AsyncIterator[Peer]:
    port = listener if isinstance(listener, int) else listener.address and listener.address[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def test_a_sound_packet_is_confirmed_to_the_byte() -> None:
    async with serving() as core, calling(core.listener) as peer:
        assert await peer.ask(PUBLISHED) == CONFIRMED
        assert await peer.ask(PUBLISHED + PUBLISHED, 2 * FRAME) == CONFIRMED * 2
        peer.writer.write(b"noise@@" + PUBLISHED[:40])
        await asyncio.sleep(0.02)
        assert await peer.ask(PUBLISHED[40:]) == CONFIRMED
    assert [name for name, _ in core.heard] == ["panel"] * 4
    assert core.heard[0][1].holds == {"fire"}


async def test_a_wrong_sum_is_denied_and_changes_nothing() -> None:
    wrong = PUBLISHED[:-3] + b"\x69##"
    async with serving() as core, calling(core.listener) as peer:
        assert await peer.ask(wrong) == DENIED
        assert await peer.ask(PUBLISHED) == CONFIRMED
    assert core.failures() == ["gb26875-sum"]
    assert core.heard[1][1].holds == {"fire"}


@pytest.mark.parametrize(("command", "answer"), [(CONTROL, CONFIRM), (SEND, CONFIRM), (REQUEST, DENY)])
@pytest.mark.parametrize(
    "data", [bytes((91, 1, 5)), bytes((90, 1)) + TIME, bytes((8, 1, 1, 1)) + TIME, b""]
)
async def test_a_duty_check_and_every_other_packet_is_answered(
    command: int, answer: int, data: bytes
) -> None:
    sent = packet(data, command=command)
    async with serving() as core, calling(core.listener) as peer:
        (got,), rest = split(await peer.ask(sent.encode()))
    assert rest == b""
    assert got == msgspec.structs.replace(
        sent, command=answer, data=b"", source=sent.destination, destination=sent.source
    )
    assert [name for name, _ in core.heard] == ["panel"]


async def test_an_answer_is_never_answered_but_believed() -> None:
    fire = components(component(FIRE))
    async with serving() as core, calling(core.listener) as peer:
        for command in (CONFIRM, DENY, ANSWER):
            peer.writer.write(packet(fire, command=command).encode())
        assert await peer.ask(PUBLISHED) == CONFIRMED
    assert [bool(raw.holds) for _, raw in core.heard] == [False] * 2 + [True] * 2


@pytest.mark.parametrize("command", [0, 7, 77, 128, 255])
async def test_a_command_that_nobody_knows_is_denied_and_does_nothing(command: int) -> None:
    async with serving() as core, calling(core.listener) as peer:
        said = await peer.ask(packet(components(component(FIRE)), command=command).encode())
        assert split(said)[0][0].command == DENY
    assert [raw.holds for _, raw in core.heard] == [frozenset()]


@pytest.mark.parametrize("end", [b"#$", b"\0#", b"@@"])
async def test_a_wrong_end_is_denied_and_changes_nothing(end: bytes) -> None:
    async with serving() as core, calling(core.listener) as peer:
        assert await peer.ask(PUBLISHED[:-2] + end) == DENIED
        assert await peer.ask(PUBLISHED) == CONFIRMED
    assert core.failures() == ["gb26875-sum"]


def test_what_has_neither_a_right_sum_nor_a_right_end_is_no_packet() -> None:
    assert split(PUBLISHED[:-3] + b"\0#$") == ([], b"")


@pytest.mark.parametrize("inside", [b"@@", b"##", b"##@@", PUBLISHED[:40], b"@" * 31])
def test_marks_within_a_packet_are_not_its_own(inside: bytes) -> None:
    one = component(FIRE)
    data = components(one[:9] + inside[:31].ljust(31, b"\0") + TIME)
    sent = packet(data, source=b"@@##@@"), packet(components(component(1)))
    found, rest = split(b"".join(each.encode() for each in sent))
    assert (found, rest) == ([*sent], b"")


@pytest.mark.parametrize("command", [CONFIRM, ANSWER, DENY])
async def test_a_garbled_answer_is_not_denied(command: int) -> None:
    garbled = bytearray(packet(b"", command=command).encode())
    garbled[-3] ^= 1
    async with serving() as core, calling(core.listener) as peer:
        assert await peer.ask(garbled + PUBLISHED) == CONFIRMED
    assert core.failures() == ["gb26875-sum"]


async def test_a_sender_that_nobody_configured_is_denied() -> None:
    async with serving() as core, calling(core.listener) as peer:
        (got,), _ = split(await peer.ask(packet(components(component(FIRE)), STRANGER).encode()))
        assert got.command == DENY
        assert got.destination == STRANGER
    assert core.heard == []


async def test_a_packet_is_confirmed_only_once_the_core_has_taken_it() -> None:
    options = Options(listen="127.0.0.1:0", ask=False)
    async with connect(options, (device(),)) as listener, calling(listener) as peer:
        heard = aiter(listener.listen())
        peer.writer.write(PUBLISHED)
        async with asyncio.timeout(5):
            name, _ = await anext(heard)
        assert name == "panel"
        answer = asyncio.create_task(peer.reader.readexactly(FRAME))
        await asyncio.wait([answer], timeout=0.1)
        assert not answer.done()
        going_on = asyncio.ensure_future(anext(heard))
        assert await asyncio.wait_for(answer, 5) == CONFIRMED
        going_on.cancel()
        await asyncio.wait([going_on])


async def test_two_peers_at_once_hold_their_own_states() -> None:
    devices = device("a", A), device("b", B)
    fire, quiet = components(component(FIRE)), components(component(1))
    async with (
        serving(*devices) as core,
        calling(core.listener) as first,
        calling(core.listener) as second,
    ):
        await asyncio.gather(first.ask(packet(fire, A).encode()), second.ask(packet(quiet, B).encode()))
        first.writer.write(packet(fire, A).encode()[:30])  # A peer in mid-packet holds up nobody.
        await second.ask(packet(quiet, B).encode())
    assert [raw.holds for name, raw in core.heard if name == "a"] == [{"fire"}]
    assert [raw.holds for name, raw in core.heard if name == "b"] == [frozenset()] * 2


async def test_a_reconnected_device_still_holds_what_it_told() -> None:
    async with serving() as core:
        async with calling(core.listener) as peer:
            await peer.ask(PUBLISHED)
        async with calling(core.listener) as peer:
            await peer.ask(packet(bytes((28, 1)) + TIME).encode())
    assert core.heard[-1][1].holds == {"fire"}


async def test_a_device_is_asked_once_a_connection_for_what_happened_while_nobody_listened() -> None:
    async with serving(ask=True) as core:
        async with calling(core.listener) as peer:
            said = await peer.ask(PUBLISHED, FRAME + FRAME + 3 + FRAME + 4 + FRAME + 8)
            (confirmed, *questions), rest = split(said)
            assert (confirmed.encode(), rest) == (CONFIRMED, b"")
            assert [each.data for each in questions] == [
                bytes((81, 1, 0)),
                bytes((61, 1, 1, 3)),
                bytes((62, 1, 1, 3)) + bytes.fromhex("D9000600"),
            ]
            assert {(each.command, each.source, each.destination) for each in questions} == {
                (REQUEST, B, A)
            }
            assert len({each.sequence for each in questions}) == 3
            # The panel was reset meanwhile: the component is well.
            component_217 = bytes.fromhex("010300D90006000100") + bytes(31) + TIME
            peer.writer.write(packet(components(component_217), command=ANSWER).encode())
            peer.writer.write(packet(b"", command=DENY, sequence=questions[0].sequence).encode())
            assert await peer.ask(packet(b"").encode())
        async with calling(core.listener) as peer:
            (_, *questions), _ = split(await peer.ask(PUBLISHED, FRAME + FRAME + 3))
            assert [each.data for each in questions] == [bytes((81, 1, 0))]
    assert [bool(raw.holds) for _, raw in core.heard] == [True, False, False, False, True]


async def test_a_flood_is_bounded_and_delays_no_fire() -> None:
    async with serving() as core, calling(core.listener) as flood, calling(core.listener) as peer:
        for chunk in (b"@@" * 50_000, b"@" * 100_000, bytes(100_000)):
            flood.writer.write(chunk)
        assert await peer.ask(PUBLISHED) == CONFIRMED
        assert await flood.ask(PUBLISHED) == CONFIRMED


@pytest.mark.parametrize("trickle", [b"", b"@", PUBLISHED[:50], b"@@@@"])
async def test_a_peer_that_never_finishes_a_packet_is_cut_off(trickle: bytes) -> None:
    async with serving(idle=0.2) as core, calling(core.listener) as peer:
        peer.writer.write(trickle)
        assert await peer.cut_off()
        async with calling(core.listener) as other:
            assert await other.ask(PUBLISHED) == CONFIRMED


async def test_a_device_that_speaks_is_not_cut_off() -> None:
    async with serving(idle=0.4) as core, calling(core.listener) as peer:
        for _ in range(6):
            assert await peer.ask(PUBLISHED) == CONFIRMED
            await asyncio.sleep(0.1)


async def test_too_many_connections_push_out_strangers_and_not_the_device() -> None:
    async with contextlib.AsyncExitStack() as stack:
        core = await stack.enter_async_context(serving(connections=3))
        panel = await stack.enter_async_context(calling(core.listener))
        await panel.ask(PUBLISHED)
        strangers = [await stack.enter_async_context(calling(core.listener)) for _ in range(5)]
        for stranger in strangers[:3]:
            assert await stranger.cut_off()
        assert await panel.ask(PUBLISHED) == CONFIRMED
        assert await strangers[-1].ask(PUBLISHED) == CONFIRMED


async def test_a_peer_that_hangs_up_in_mid_packet_harms_nobody() -> None:
    async with serving() as core:
        for length in (1, 30, len(PUBLISHED)):
            async with calling(core.listener) as peer:
                peer.writer.write(PUBLISHED[:length])
                await peer.writer.drain()
                peer.writer.transport.abort()
        async with calling(core.listener) as peer:
            assert await peer.ask(PUBLISHED) == CONFIRMED


async def test_a_connection_that_is_cut_at_the_end_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with contextlib.AsyncExitStack() as peers:
        async with serving() as core:
            peer = await peers.enter_async_context(calling(core.listener))
            await peer.ask(PUBLISHED)
        assert await peer.cut_off()
    assert caplog.records == []


async def test_a_taken_port_is_a_link_that_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(LinkDown):
        async with connect(Options(listen=f"127.0.0.1:{taken.getsockname()[1]}"), ()):
            pass


async def test_the_clock_of_a_device_is_set_once_a_connection_if_wished() -> None:
    async with serving(set_clock=True) as core, calling(core.listener) as peer:
        said = await peer.ask(PUBLISHED, FRAME + FRAME + 8)
        assert said[:FRAME] == CONFIRMED
        (clock,), rest = split(said[FRAME:])
        assert rest == b""
        assert (clock.command, clock.destination, clock.data[:2]) == (CONTROL, A, bytes((90, 1)))
        second, minute, hour, day, month, year = clock.data[2:]
        shown = datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC) - timedelta(hours=8)
        assert abs(datetime.now(UTC) - shown) < timedelta(seconds=10)
        assert await peer.ask(PUBLISHED + PUBLISHED, 2 * FRAME) == CONFIRMED * 2


@contextlib.asynccontextmanager
async def told_to(action: str, *said: bytes) -> AsyncIterator[tuple[Peer, Packet, asyncio.Task[Any]]]:
    """A device that has spoken, the command it got, and whoever waits for it."""
    panel = device()
    async with serving(panel) as core, calling(core.listener) as peer:
        await peer.ask(PUBLISHED)
        task = asyncio.create_task(core.listener.write(panel, action, {}))
        length = {"duty-check": 3, "set-clock": 8}[action]
        (got,), rest = split(await peer.ask(b"", FRAME + length))
        assert (got.command, got.source, got.destination, rest) == (CONTROL, B, A, b"")
        yield peer, got, task
        task.cancel()
        await asyncio.wait([task])


async def outcome(task: asyncio.Task[Any]) -> Any:
    async with asyncio.timeout(5):
        return await task


async def test_a_clock_is_set_when_the_device_confirms_it() -> None:
    async with told_to("set-clock") as (peer, got, task):
        assert got.data[:2] == bytes((90, 1))
        peer.writer.write(packet(b"", command=CONFIRM, sequence=got.sequence + 1).encode())
        await asyncio.sleep(0.1)
        assert not task.done()
        peer.writer.write(packet(b"", command=CONFIRM, sequence=got.sequence).encode())
        assert await outcome(task) == {}


async def test_a_duty_check_is_done_when_somebody_answers_it() -> None:
    def pressed(act: int) -> bytes:
        return packet(bytes((24, 2, 1, 1)) + TIME + bytes((act, 1)) + TIME).encode()

    async with told_to("duty-check") as (peer, got, task):
        assert got.data == bytes((91, 1, 3))
        await peer.ask(packet(b"", command=CONFIRM, sequence=got.sequence).encode() + pressed(1 << 6))
        assert not task.done()
        await peer.ask(pressed(1 << 5))
        assert await outcome(task) == {}


async def test_a_command_that_the_device_denies_or_cannot_get_has_failed() -> None:
    async with told_to("set-clock") as (peer, got, task):
        peer.writer.write(packet(b"", command=DENY, sequence=got.sequence).encode())
        with pytest.raises(ReadFailed, match="gb26875-denied"):
            await outcome(task)
    async with serving() as core:
        with pytest.raises(ReadFailed, match="gb26875-away"):
            await core.listener.write(device(), "set-clock", {})
        async with calling(core.listener) as peer:
            await peer.ask(PUBLISHED)
        await until(lambda: not core.listener._links)
        with pytest.raises(ReadFailed, match="gb26875-away"):
            await core.listener.write(device(), "duty-check", {})
        with pytest.raises(ReadFailed, match="action-unknown"):
            await core.listener.write(device(), "mute", {})


async def test_a_serial_line_is_served_alike(line: Line) -> None:
    def said() -> bytes:
        return b"".join(line.requests)

    async with serving(listen=line.path) as core:
        line.say(b"\0@" + PUBLISHED[:33])
        await asyncio.sleep(0.02)
        line.say(PUBLISHED[33:] + PUBLISHED)
        await until(lambda: len(said()) >= 2 * FRAME)
        line.say(PUBLISHED[:-3] + b"\x69##")
        await until(lambda: len(said()) >= 3 * FRAME)
    assert said() == CONFIRMED * 2 + DENIED
    assert core.failures() == ["gb26875-sum"]


async def test_an_unplugged_line_is_a_link_that_is_down(line: Line) -> None:
    async with connect(Options(listen=line.path), (device(),)) as listener:
        line.unplug()
        with pytest.raises(LinkDown):
            async with asyncio.timeout(5):
                await anext(aiter(listener.listen()))


async def test_a_fire_becomes_a_sample_and_a_reset_ends_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    samples: list[Sample] = []

    async def sink(sample: Sample) -> None:
        samples.append(sample)

    spec = BusSpec("fire", DRIVER, Options(listen=f"127.0.0.1:{port}", ask=False))
    bus = BusTask(spec, (device(),), SystemClock(), sink)
    task = asyncio.create_task(bus.run())
    try:
        await until(lambda: bus.stats.up)
        async with calling(port) as peer:
            for data in (components(component(FIRE, text="三楼走廊")), operation(1)):
                await peer.ask(packet(data).encode())
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert [(sample.values["fire"], sample.values["fire_where"]) for sample in samples] == [
        (True, "1/1/40/1.0.0.0 三楼走廊"),
        (False, ""),
    ]
    assert not any(sample.bad for sample in samples)


async def test_a_fire_outlives_a_power_cut_and_is_raised_once(tmp_path: Path) -> None:
    """The whole way: the daemon's engine, journal and line, begun anew on what the disk has."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    spec = BusSpec("fire", DRIVER, Options(listen=f"127.0.0.1:{port}", ask=False))
    devices = {"panel": device()}
    path = tmp_path / "journal.db"
    fires: list[bool] = []

    @contextlib.asynccontextmanager
    async def gateway() -> AsyncIterator[Engine]:
        async with Journal.open(path, SystemClock(), 60.0) as journal:
            engine = Engine(services(devices, {"console": ["acknowledge"]}), journal, SystemClock())
            await engine.restore()

            async def sink(sample: Sample) -> None:
                fires.append(sample.values["fire"] is True)
                await engine.sample(sample)

            bus = BusTask(
                spec,
                tuple(devices.values()),
                SystemClock(),
                sink,
                lambda: memories(engine.rows(Memory.name)),
            )
            running = asyncio.create_task(journal.run()), asyncio.create_task(bus.run())
            try:
                await until(lambda: bus.stats.up)
                yield engine
                # No word of farewell: what follows knows what was committed, and no more.
                power_cut()
            finally:
                for task in running:
                    task.cancel()
                await asyncio.wait(running)

    def power_cut() -> None:
        for kept in path.parent.glob("journal.db*"):
            shutil.copy(kept, tmp_path / f"cut-{kept.name}")

    def stands(engine: Engine) -> bool:
        return any(alarm.state == "active" for alarm in engine.rows("safety").values())

    fire = components(component(FIRE, 1, "一楼"))
    async with gateway() as engine, calling(port) as peer:
        await peer.ask(packet(fire).encode())
        assert stands(engine)
    path = tmp_path / "cut-journal.db"
    async with gateway() as engine, calling(port) as peer:
        await peer.ask(packet(b"").encode())
        assert stands(engine), "a heartbeat says nothing of the fire"
        await peer.ask(packet(components(component(1, 2))).encode())
        assert stands(engine), "nor does another detector"
        await peer.ask(packet(components(component(1, 1))).encode())
    assert fires == [True, True, True, False]
    async with Reader.open(path) as reader:
        changes = [record.body["change"] async for record in reader.records(Lane.ALARM, 0)]
    assert changes.count("raised") == 1
