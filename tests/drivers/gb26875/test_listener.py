from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from drivers.gb26875 import Options, connect
from drivers.gb26875.listener import MAX_UNKNOWN_DEVICES, FireListener
from drivers.gb26875.packets import (
    ANSWER,
    CONFIRM,
    CONTROL,
    DENY,
    MIN_PACKET_BYTES,
    REQUEST,
    SEND,
    FirePacket,
    split_packets,
)
from drivers.gb26875.panel import PanelReading
from gateway.model import Device, LinkDown, ReadFailed
from gateway.words import LANGUAGES, translate
from tests.drivers.conftest import Line
from tests.drivers.gb26875.frames import (
    CONFIRMED,
    DENIED,
    FIRE,
    PUBLISHED,
    STRANGER,
    TIME,
    A,
    B,
    component,
    components,
    device,
    packet,
)
from tests.drivers.gb26875.peer import Peer, calling, until


class Core:
    """Takes what the listener says, as the supervisor does."""

    def __init__(self, listener: FireListener) -> None:
        self.listener = listener
        self.heard: list[tuple[str, Any]] = []

    async def apply_packet(self) -> None:
        async for heard in self.listener.listen():
            self.heard.append(heard)

    def readings(self) -> list[PanelReading]:
        return [raw for _, raw in self.heard if isinstance(raw, PanelReading)]

    def failures(self) -> list[str]:
        return [raw.key for _, raw in self.heard if isinstance(raw, ReadFailed)]


@contextlib.asynccontextmanager
async def serving(*devices: Device, listen: str = "127.0.0.1:0", **options: Any) -> AsyncIterator[Core]:
    options = {"ask": False, **options}
    async with connect(Options(listen=listen, **options), devices or (device(),)) as listener:
        core = Core(listener)
        task = asyncio.create_task(core.apply_packet())
        try:
            yield core
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_sound_packet_is_confirmed_to_the_byte() -> None:
    async with serving() as core, calling(core.listener) as peer:
        assert await peer.ask(PUBLISHED) == CONFIRMED
        assert await peer.ask(PUBLISHED + PUBLISHED, 2 * MIN_PACKET_BYTES) == CONFIRMED * 2
        peer.writer.write(b"noise@@" + PUBLISHED[:40])
        await asyncio.sleep(0.02)
        assert await peer.ask(PUBLISHED[40:]) == CONFIRMED
    assert [name for name, _ in core.heard] == ["panel"] * 4
    assert core.heard[0][1].active_states == {"fire"}


async def test_a_wrong_sum_is_denied_and_changes_nothing() -> None:
    wrong = PUBLISHED[:-3] + b"\x69##"
    async with serving() as core, calling(core.listener) as peer:
        assert await peer.ask(wrong) == DENIED
        assert await peer.ask(PUBLISHED) == CONFIRMED
    assert core.failures() == ["gb26875-sum"]
    assert core.heard[1][1].active_states == {"fire"}


@pytest.mark.parametrize(("command", "answer"), [(CONTROL, CONFIRM), (SEND, CONFIRM), (REQUEST, DENY)])
@pytest.mark.parametrize(
    "data", [bytes((91, 1, 5)), bytes((90, 1)) + TIME, bytes((8, 1, 1, 1)) + TIME, b""]
)
async def test_a_duty_check_and_every_other_packet_is_answered(
    command: int, answer: int, data: bytes
) -> None:
    sent = packet(data, command=command)
    async with serving() as core, calling(core.listener) as peer:
        (got,), rest = split_packets(await peer.ask(sent.encode()))
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
    assert [bool(raw.active_states) for _, raw in core.heard] == [False] * 2 + [True] * 2


@pytest.mark.parametrize("command", [0, 7, 77, 128, 255])
async def test_a_command_that_nobody_knows_is_denied_and_does_nothing(command: int) -> None:
    async with serving() as core, calling(core.listener) as peer:
        said = await peer.ask(packet(components(component(FIRE)), command=command).encode())
        assert split_packets(said)[0][0].command == DENY
    assert [raw.active_states for _, raw in core.heard] == [frozenset()]


@pytest.mark.parametrize("end", [b"#$", b"\0#", b"@@"])
async def test_a_wrong_end_is_denied_and_changes_nothing(end: bytes) -> None:
    async with serving() as core, calling(core.listener) as peer:
        assert await peer.ask(PUBLISHED[:-2] + end) == DENIED
        assert await peer.ask(PUBLISHED) == CONFIRMED
    assert core.failures() == ["gb26875-sum"]


@pytest.mark.parametrize("command", [CONFIRM, ANSWER, DENY])
async def test_a_garbled_answer_is_not_denied(command: int) -> None:
    garbled = bytearray(packet(b"", command=command).encode())
    garbled[-3] ^= 1
    async with serving() as core, calling(core.listener) as peer:
        assert await peer.ask(garbled + PUBLISHED) == CONFIRMED
    assert core.failures() == ["gb26875-sum"]


async def test_a_sender_that_nobody_configured_is_denied_and_reported_with_its_fires() -> None:
    async with serving() as core, calling(core.listener) as peer:
        fire = components(component(FIRE, 3, "三楼走廊"))
        for data in (b"", fire, b"", components(component(1, 3))):
            (got,), _ = split_packets(await peer.ask(packet(data, STRANGER).encode()))
            assert (got.command, got.destination) == (DENY, STRANGER)
    assert [(name, raw.address) for name, raw in core.heard] == [("", {"source": "FF:FF:FF:FF:FF:FF"})] * 4
    place = {"1/1/40/3.0.0.0": "三楼走廊"}
    assert [raw.fires for _, raw in core.heard] == [{}, place, place, {}], (
        "it is not over until it is told so"
    )


async def test_the_bytes_of_an_address_in_the_other_order_are_recognised() -> None:
    async with serving(device("panel", B)) as core, calling(core.listener) as peer:
        for source in (B[::-1], STRANGER):
            await peer.ask(packet(b"", source).encode())
    assert [raw.like for _, raw in core.heard] == ["panel", ""]


async def test_made_up_senders_fill_no_memory_and_push_out_no_fire() -> None:
    fire = components(component(FIRE))
    async with serving() as core, calling(core.listener) as peer:
        await peer.ask(packet(fire, STRANGER).encode())
        for number in range(3 * MAX_UNKNOWN_DEVICES):
            await peer.ask(packet(b"", bytes((0, 0, 0, 1, 2, number))).encode())
        await peer.ask(packet(b"", STRANGER).encode())
        for number in range(3 * MAX_UNKNOWN_DEVICES):
            await peer.ask(packet(fire, bytes((0, 0, 0, 1, 3, number))).encode())
        assert len(core.listener._unknown) == MAX_UNKNOWN_DEVICES
        await peer.ask(packet(b"", STRANGER).encode())
    assert [bool(raw.fires) for _, raw in core.heard if raw.address["source"] == "FF:FF:FF:FF:FF:FF"] == [
        True
    ] * 3
    assert all(raw.fires for _, raw in core.heard if ":03:" in raw.address["source"])


async def test_a_packet_is_confirmed_only_once_the_core_has_taken_it() -> None:
    options = Options(listen="127.0.0.1:0", ask=False)
    async with connect(options, (device(),)) as listener, calling(listener) as peer:
        heard = aiter(listener.listen())
        peer.writer.write(PUBLISHED)
        async with asyncio.timeout(5):
            name, _ = await anext(heard)
        assert name == "panel"
        answer = asyncio.create_task(peer.reader.readexactly(MIN_PACKET_BYTES))
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
    assert [raw.active_states for name, raw in core.heard if name == "a"] == [{"fire"}]
    assert [raw.active_states for name, raw in core.heard if name == "b"] == [frozenset()] * 2


async def test_a_reconnected_device_still_holds_what_it_told() -> None:
    async with serving() as core:
        async with calling(core.listener) as peer:
            await peer.ask(PUBLISHED)
        async with calling(core.listener) as peer:
            await peer.ask(packet(bytes((28, 1)) + TIME).encode())
    assert core.heard[-1][1].active_states == {"fire"}


async def test_a_device_is_asked_once_a_connection_for_what_happened_while_nobody_listened() -> None:
    async with serving(ask=True) as core:
        async with calling(core.listener) as peer:
            said = await peer.ask(
                PUBLISHED,
                MIN_PACKET_BYTES + MIN_PACKET_BYTES + 3 + MIN_PACKET_BYTES + 4 + MIN_PACKET_BYTES + 8,
            )
            (confirmed, *questions), rest = split_packets(said)
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
            (_, *questions), _ = split_packets(
                await peer.ask(PUBLISHED, MIN_PACKET_BYTES + MIN_PACKET_BYTES + 3)
            )
            assert [each.data for each in questions] == [bytes((81, 1, 0))]
    assert [bool(raw.active_states) for _, raw in core.heard] == [True, False, False, False, True]


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


WRONG_SUM = PUBLISHED[:-3] + bytes((PUBLISHED[-3] ^ 1,)) + PUBLISHED[-2:]


def missing(core: Core) -> list[tuple[str, Any]]:
    return [(key, facts) for key, facts in core.listener.notices() if key == "packet-missing"]


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", PUBLISHED[:50], WRONG_SUM])
async def test_who_is_cut_off_without_a_sound_packet_is_told_once_for_each_address(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(idle=0.2) as core:
        for count in (1, 2):
            async with calling(core.listener) as peer:
                peer.writer.write(data)
                await until(lambda: [facts["count"] for _, facts in missing(core)] == [count])  # noqa: B023
        notices = missing(core)
    assert notices == [("packet-missing", {"address": "127.0.0.1", "bytes": len(data), "count": 2})]
    assert len([record for record in caplog.records if "packet-missing" in record.getMessage()]) == 1
    for language in LANGUAGES:
        for key, facts in notices:
            assert "127.0.0.1" in translate(language, f"doctor.{key}", **facts)


async def test_who_has_sent_a_sound_packet_or_only_looked_in_is_not_told() -> None:
    stranger = packet(components(component(FIRE)), source=STRANGER).encode()
    async with serving() as core:
        async with calling(core.listener) as peer:
            assert await peer.ask(b"noise" + PUBLISHED) == CONFIRMED
            peer.writer.write(WRONG_SUM)
        async with calling(core.listener) as peer:
            assert await peer.ask(stranger)
        async with calling(core.listener):
            pass
        async with calling(core.listener) as peer:
            peer.writer.write(b"noise")
        await until(lambda: missing(core))
        assert [facts for _, facts in missing(core)] == [{"address": "127.0.0.1", "bytes": 5, "count": 1}]


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


async def test_connections_that_come_and_go_while_the_core_is_busy_do_not_pile_up() -> None:
    options = Options(listen="127.0.0.1:0", ask=False, connections=4)
    async with connect(options, (device(),)) as listener, calling(listener) as peer:
        heard = aiter(listener.listen())
        peer.writer.write(PUBLISHED)
        async with asyncio.timeout(5):
            await anext(heard)
        before = len(asyncio.all_tasks())
        for _ in range(40):
            async with calling(listener) as other:
                other.writer.write(PUBLISHED)
                await other.writer.drain()
        await until(lambda: len(asyncio.all_tasks()) <= before + options.connections)

        async def take() -> None:
            async for _ in heard:
                pass

        taking = asyncio.create_task(take())
        async with calling(listener) as last:
            assert await last.ask(PUBLISHED) == CONFIRMED
        taking.cancel()
        await asyncio.wait([taking])


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
        said = await peer.ask(PUBLISHED, MIN_PACKET_BYTES + MIN_PACKET_BYTES + 8)
        assert said[:MIN_PACKET_BYTES] == CONFIRMED
        (clock,), rest = split_packets(said[MIN_PACKET_BYTES:])
        assert rest == b""
        assert (clock.command, clock.destination, clock.data[:2]) == (CONTROL, A, bytes((90, 1)))
        second, minute, hour, day, month, year = clock.data[2:]
        shown = datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC) - timedelta(hours=8)
        assert abs(datetime.now(UTC) - shown) < timedelta(seconds=10)
        assert await peer.ask(PUBLISHED + PUBLISHED, 2 * MIN_PACKET_BYTES) == CONFIRMED * 2


@contextlib.asynccontextmanager
async def told_to(action: str) -> AsyncIterator[tuple[Peer, FirePacket, asyncio.Task[Any]]]:
    """A device that has spoken, the command it got, and whoever waits for it."""
    panel = device()
    async with serving(panel) as core, calling(core.listener) as peer:
        await peer.ask(PUBLISHED)
        task = asyncio.create_task(core.listener.write(panel, action, {}))
        length = {"duty-check": 3, "set-clock": 8}[action]
        (got,), rest = split_packets(await peer.ask(b"", MIN_PACKET_BYTES + length))
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
        await peer.ask(PUBLISHED)
        assert not task.done()
        peer.writer.write(packet(b"", command=CONFIRM, sequence=got.sequence).encode())
        assert await outcome(task) == {}


async def test_a_duty_check_is_done_when_somebody_answers_it() -> None:
    def pressed(act: int) -> bytes:
        return packet(bytes((24, 2, 1, 1)) + TIME + bytes((act, 1)) + TIME).encode()

    async with told_to("duty-check") as (peer, got, task):
        assert got.data == bytes((91, 1, 3))
        # An answer before the confirmation is that to an earlier check.
        await peer.ask(pressed(1 << 5))
        await peer.ask(packet(b"", command=CONFIRM, sequence=got.sequence).encode() + pressed(1 << 6))
        await peer.ask(PUBLISHED)
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
        await until(lambda: not core.listener._connections)
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
        await until(lambda: len(said()) >= 2 * MIN_PACKET_BYTES)
        line.say(PUBLISHED[:-3] + b"\x69##")
        await until(lambda: len(said()) >= 3 * MIN_PACKET_BYTES)
    assert said() == CONFIRMED * 2 + DENIED
    assert core.failures() == ["gb26875-sum"]


async def test_an_unplugged_line_is_a_link_that_is_down(line: Line) -> None:
    async with connect(Options(listen=line.path), (device(),)) as listener:
        line.unplug()
        with pytest.raises(LinkDown):
            async with asyncio.timeout(5):
                await anext(aiter(listener.listen()))


BIG_ENDIAN = PUBLISHED[:24] + PUBLISHED[25:23:-1] + PUBLISHED[26:]


async def test_a_damaged_packet_of_a_configured_device_is_told_and_is_its_failure() -> None:
    for damaged in (WRONG_SUM, BIG_ENDIAN, PUBLISHED[:60] + b"\x55" + PUBLISHED[60:]):
        async with serving() as core, calling(core.listener) as peer:
            for _ in range(3):
                peer.writer.write(damaged)
            await until(lambda: len(core.failures()) == 3)
            notices = list(core.listener.notices())
        assert notices == [("packet-damaged", {"address": "127.0.0.1", "device": "panel", "count": 3})]


async def test_a_fire_in_a_packet_that_is_damaged_in_the_same_way_again_is_one() -> None:
    async with serving() as core, calling(core.listener) as peer:
        assert await peer.ask(WRONG_SUM) == DENIED
        assert core.readings() == []
        assert await peer.ask(WRONG_SUM) == DENIED
        assert [raw.active_states for raw in core.readings()] == [{"fire"}]
        for _ in range(2):
            assert await peer.ask(WRONG_SUM) == DENIED
    assert [isinstance(raw, ReadFailed) for _, raw in core.heard] == [True, False, True, True, True]
    async with serving() as core, calling(core.listener) as peer:
        other = bytearray(WRONG_SUM)
        other[40] ^= 0x10
        for damaged in (WRONG_SUM, bytes(other), WRONG_SUM):
            await peer.ask(damaged)
        assert core.readings() == []
