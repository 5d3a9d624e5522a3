"""The uplink on real sockets: a journal on a file, a broker, a witness, and a bad network between."""

import asyncio
import functools
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.journal import JournalFailed
from gateway.journal import journal as journal_module
from gateway.model import Lane
from gateway.uplink import ALARM_DELAY_BUCKETS_S, Uplink
from gateway.uplink import uplink as uplink_module
from gateway.wire import mqtt
from tests.gateway.uplink.kit import (
    ROOT,
    Gateway,
    Shifted,
    Witness,
    eventually,
    gateway,
    mosquitto,
    publish,
    witness,
)
from tests.gateway.uplink.proxy import proxy
from tests.ports import free_port
from tests.turns import share_of_allowed, watched_turns

ALARM, EVENT, TELEMETRY = Lane
BY_HAND = 3600.0
"""A window that ends only when the test says so."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A real broker."""
    port = free_port()
    with mosquitto(tmp_path, port):
        yield port


@pytest.fixture
def seen(port: int) -> Iterator[Witness]:
    with witness(port) as seen:
        yield seen


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "RESPONSE_TIMEOUT_S", 1.0)


async def known(it: Gateway, seen: Witness, *devices: str) -> None:
    """The devices' first samples, delivered: from now on their records leave before they are committed."""
    for device in devices:
        it.measure(device=device)
    await it.close_window()
    await eventually(lambda: all(seen.seqs(device=device) == [1] for device in devices) and it.caught_up())


async def test_live_telemetry_leaves_at_once_and_the_cursor_follows_commit_and_puback(
    tmp_path: Path, port: int, seen: Witness
) -> None:
    async with proxy(port) as way, gateway(tmp_path, way.port, window=BY_HAND) as it:
        await known(it, seen, "d")
        began = time.monotonic()
        it.measure()
        await eventually(lambda: seen.seqs() == [1, 2])
        assert time.monotonic() - began < 1.0
        assert (
            it.journal.committed_pos[TELEMETRY] == it.journal.deliveries["uplink"].positions[TELEMETRY] == 1
        )
        await it.close_window()
        await eventually(lambda: it.journal.deliveries["uplink"].positions[TELEMETRY] == 2)
        way.deaf = True
        it.measure()
        await eventually(lambda: seen.seqs() == [1, 2, 3])
        await it.close_window()
        await eventually(lambda: way.dropped_bytes)
        assert it.journal.committed_pos[TELEMETRY] == 3
        assert it.journal.deliveries["uplink"].positions[TELEMETRY] == 2, "only a PUBACK releases"


async def test_a_window_committed_while_part_of_it_is_unsent_is_not_released(
    tmp_path: Path, port: int, seen: Witness
) -> None:
    devices = [f"d{n}" for n in range(30)]
    async with proxy(port) as way, gateway(tmp_path, way.port, window=BY_HAND) as it:
        await known(it, seen, *devices)
        way.deaf = True
        for device in devices:
            it.measure(device=device)
        await eventually(lambda: len(seen.records()) > 30)
        await it.close_window()
        await eventually(lambda: way.dropped_bytes)
        assert 30 < len(seen.records()) < 60
        assert it.journal.deliveries["uplink"].positions[TELEMETRY] == 1
        way.deaf = False
        way.cut()
        await eventually(it.caught_up)
        await eventually(lambda: all(set(seen.seqs(device=device)) == {1, 2} for device in devices))


async def test_an_alarm_overtakes_a_backlog(tmp_path: Path, port: int, seen: Witness) -> None:
    async with gateway(tmp_path, window=BY_HAND) as it:
        await it.history(300, each=20)
        it.start(port, rate=3000)
        await eventually(lambda: len(seen.seqs()) > 100)
        sent = len(seen.seqs())
        it.tell(ALARM)
        await it.journal.commit()
        await eventually(lambda: seen.seqs("alarm"), 1.0)
        await eventually(lambda: sum(it.uplink.alarm_delay_counts) == 1)
        assert sum(it.uplink.alarm_delay_counts[: ALARM_DELAY_BUCKETS_S.index(1.0) + 1]) == 1, (
            "within a second of its reading"
        )
        assert sent < 3000
        assert len(seen.seqs()) < sent + 2000
        await eventually(lambda: seen.seqs() == list(range(1, 6001)))


async def test_telemetry_does_not_starve_under_a_flood_of_events(
    tmp_path: Path, port: int, seen: Witness
) -> None:
    async with gateway(tmp_path, port) as it:

        async def flood() -> None:
            while True:
                for _ in range(50):
                    it.tell(EVENT)
                await it.journal.commit()

        flooding = asyncio.create_task(flood())
        await eventually(lambda: len(seen.seqs("event")) > 100)
        for n in range(1, 11):
            it.measure()
            await eventually(functools.partial(lambda n: n in seen.seqs(), n), 2.0)
            await asyncio.sleep(0.05)
        events = len(seen.seqs("event"))
        flooding.cancel()
        assert events > 500
        await eventually(it.caught_up)


async def test_a_broker_that_appears_gets_everything(tmp_path: Path) -> None:
    port = free_port()
    async with gateway(tmp_path, port) as it:
        await it.history(20)
        it.tell(ALARM)
        await eventually(lambda: it.transitions == [False])
        with mosquitto(tmp_path, port), witness(port) as seen:
            await eventually(it.caught_up)
            await eventually(lambda: seen.seqs() == list(range(1, 21)) and seen.seqs("alarm") == [1])
            assert it.transitions == [False, True]


@pytest.mark.usefixtures("hasty")
async def test_lost_pubacks_cost_repetitions_of_the_same_records(
    tmp_path: Path, port: int, seen: Witness
) -> None:
    async with proxy(port) as way, gateway(tmp_path, way.port) as it:
        await known(it, seen, "d")
        way.deaf = True
        for n in range(5):
            it.measure(n)
            it.tell(ALARM, n)
        await eventually(lambda: len(seen.seqs()) == 6 and len(seen.seqs("alarm")) >= 4)
        await eventually(lambda: False in it.transitions)
        way.deaf = False
        await eventually(it.caught_up)
        await seen.caught_up()
        for lane, last in (("telemetry", 6), ("alarm", 5)):
            told: dict[int, Any] = {}
            for record in seen.records(lane):
                record.pop("backfill")
                assert told.setdefault(record["seq"], record) == record, "one key, two contents"
            assert list(told) == list(range(1, last + 1))
            assert len(seen.seqs(lane)) > last


@pytest.mark.usefixtures("hasty")
async def test_a_half_open_link_is_found_and_replaced(tmp_path: Path, port: int, seen: Witness) -> None:
    async with proxy(port) as way, gateway(tmp_path, way.port) as it:
        await known(it, seen, "d")
        way.pause()
        it.measure()
        await eventually(lambda: it.transitions == [True, False], 4.0)
        assert seen.seqs() == [1]
        way.resume()
        await eventually(lambda: 2 in seen.seqs())
        await eventually(it.caught_up)


@pytest.mark.usefixtures("hasty")
async def test_a_stopped_broker_is_left_and_found_again(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port) as pid, witness(port) as seen:
        async with gateway(tmp_path, port) as it:
            await known(it, seen, "d")
            os.kill(pid, signal.SIGSTOP)
            try:
                it.measure()
                await eventually(lambda: it.transitions == [True, False], 5.0)
            finally:
                os.kill(pid, signal.SIGCONT)
            await eventually(lambda: 2 in seen.seqs())


@pytest.mark.usefixtures("hasty")
async def test_a_link_that_takes_nothing_more_is_closed(tmp_path: Path, port: int, seen: Witness) -> None:
    async with proxy(port) as way, gateway(tmp_path, way.port, window=BY_HAND) as it:
        await known(it, seen, *(f"d{n}" for n in range(12)))
        way.pause()
        for n in range(12):
            it.measure(os.urandom(60_000).hex(), f"d{n}")
        await eventually(lambda: it.transitions == [True, False], 5.0)
        way.silent = True
        await eventually(lambda: way.connections > 2)
        assert established(way.port) <= 1


def established(port: int) -> int:
    """Connections of this machine to a port that their owner has not closed."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


async def test_what_a_failing_disk_made_memory_give_up_is_waited_for_by_nobody(
    tmp_path: Path, port: int, seen: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_UNWRITTEN_WINDOWS", 5)

    async def refuse(_: object) -> list[int]:
        raise JournalFailed("journal-write", path="", reason="read-only")

    async with gateway(tmp_path, port, window=BY_HAND) as it:
        await known(it, seen, "d")
        with monkeypatch.context() as patch:
            patch.setattr(it.journal._writer, "transact", refuse)
            for n in range(10):
                it.measure(n)
                with pytest.raises(JournalFailed):
                    await it.close_window()
        for n in range(10):
            it.measure(n)
            await it.close_window()
        await eventually(lambda: it.caught_up() and 21 in seen.seqs())
        await seen.caught_up()
        gaps = [record["data"] for record in seen.records("event")]
        assert {gap["reason"] for gap in gaps} == {"disk"}
        told = {seq for gap in gaps for seq in range(gap["first"], gap["last"] + 1)}
        assert told | set(seen.seqs()) == set(range(1, 22))
        assert seen.seqs() == sorted(seen.seqs())


async def test_a_refused_login_is_told_once_and_retried_slowly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port, passwords = free_port(), tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "w", "w"], check=True)
    passwords.chmod(0o644)
    with mosquitto(tmp_path, port, f"password_file {passwords}"):
        async with proxy(port) as way, gateway(tmp_path, way.port) as it:
            # The first attempt is made without the will as well, which may be what is not allowed.
            await eventually(lambda: way.connections == 4)
            began = time.monotonic()
            await eventually(lambda: way.connections == 5)
            assert time.monotonic() - began > 0.9
            assert it.transitions == [False]
    assert [r.message for r in caplog.records if "uplink-down" in r.message][1:] == []


async def test_commands_that_must_not_be_obeyed_harm_nobody(
    tmp_path: Path, port: int, seen: Witness
) -> None:
    good = {"id": "good", "device": "d", "action": "open", "expires": 4_000_000_000_000}
    publish(port, "command", msgspec.json.encode({**good, "id": "retained"}), "-r")
    async with gateway(tmp_path, port) as it:
        await eventually(lambda: it.transitions == [True])
        publish(port, "command", msgspec.json.encode({**good, "id": "also-retained"}), "-r")
        for bad in (
            b"{",
            b"\xff\xfe",
            b"[]",
            b'{"id": 1}',
            b'{"deep":' + b"[" * 200_000,
            msgspec.json.encode({**good, "id": ""}),
            msgspec.json.encode({**good, "id": "x" * 65}),
            msgspec.json.encode({**good, "expires": 1e300}),
        ):
            publish(port, "command", bad)
        publish(port, "command", msgspec.json.encode(good))
        await eventually(lambda: len(seen.on("reply")) == 2)
        # A retained message reaches a client that is subscribed already as an ordinary one.
        assert [command.id for command in it.commands] == ["also-retained", "good"]
        assert seen.on("reply")[-1] == {"id": "good", "status": "done", "detail": ""}
        assert not it.task.done()


async def test_the_answer_outlives_the_connection(tmp_path: Path, port: int, seen: Witness) -> None:
    good = {"id": "slow", "device": "d", "action": "open", "expires": 4_000_000_000_000}
    async with proxy(port) as way, gateway(tmp_path, way.port) as it:
        it.gate.clear()
        # The subscription follows the status at once.
        await eventually(lambda: it.transitions == [True] and seen.on("status"))
        publish(port, "command", msgspec.json.encode(good))
        await eventually(lambda: it.commands)
        way.cut()
        await eventually(lambda: it.transitions == [True, False])
        it.gate.set()
        await eventually(lambda: it.transitions == [True, False, True])
        await eventually(lambda: seen.on("reply"))
        assert seen.on("reply") == [{"id": "slow", "status": "done", "detail": ""}]


async def test_the_status_says_whether_somebody_is_there(tmp_path: Path, port: int, seen: Witness) -> None:
    async with proxy(port) as way, gateway(tmp_path, way.port) as it:
        await eventually(lambda: seen.on("status") == [{"online": True}])
        way.cut()
        await eventually(lambda: [m["online"] for m in seen.on("status")] == [True, False, True])
        await it.stop()
        await eventually(lambda: [m["online"] for m in seen.on("status")] == [True, False, True, False])
    with witness(port) as late:
        await eventually(lambda: late.on("status") == [{"online": False}])


async def test_history_and_the_present_come_in_one_order(tmp_path: Path, port: int, seen: Witness) -> None:
    async with gateway(tmp_path) as it:
        for n in range(150):
            it.measure(n, "a")
            it.measure(n, "b")
            await it.close_window()
        it.start(port)
        for n in range(150, 300):
            it.measure(n, "a")
            it.measure(n, "b")
            await asyncio.sleep(0.005)
        await eventually(it.caught_up)
        await eventually(lambda: all(300 in seen.seqs(device=device) for device in ("a", "b")))
        for device in ("a", "b"):
            records = seen.records(device=device)
            assert [record["seq"] for record in records] == list(range(1, 301))
            assert [record["data"]["values"]["x"] for record in records] == list(range(300))
            flags = [record.get("backfill", False) for record in records]
            assert flags == sorted(flags, reverse=True), "once live, always live"
            assert flags[:100] == [True] * 100
            assert flags[-50:] == [False] * 50


async def test_the_rate_is_kept_and_the_present_is_told_meanwhile(
    tmp_path: Path, port: int, seen: Witness
) -> None:
    async with gateway(tmp_path, window=BY_HAND) as it:
        await it.history(200, each=5)
        await it.history(1, "e", first=77)
        began = time.monotonic()
        it.start(port, rate=400)
        await eventually(lambda: seen.on("latest"), 1.0)
        newest = {
            r["device"]: (r["seq"], r["data"]["values"]["x"]) for r in seen.on("latest")[0]["records"]
        }
        assert newest == {"d": (1000, 999), "e": (1, 77)}
        assert len(seen.seqs()) < 500
        await eventually(it.caught_up)
        assert 2.0 < time.monotonic() - began < 5.0
        await seen.caught_up()
        assert seen.seqs() == list(range(1, 1001))


async def test_the_present_of_thousands_of_devices_is_told_in_short_turns(
    tmp_path: Path, port: int, seen: Witness
) -> None:
    devices = [f"device-{number}" for number in range(3000)]
    async with gateway(tmp_path, window=BY_HAND) as it:
        for _ in range(5):
            for device in devices:
                it.measure(1, device)
            await it.close_window()

        async def longest_turn_s() -> float:
            before = len(seen.on("latest"))
            with watched_turns() as turns:
                it.start(port, rate=1)
                await eventually(lambda: sum(len(m["records"]) for m in seen.on("latest")[before:]) == 3000)
            await it.stop()
            return turns.longest_s

        assert await share_of_allowed(longest_turn_s) < 1
        latest = seen.on("latest")
        assert {record["device"] for message in latest for record in message["records"]} == set(devices)


async def test_a_ledger_of_many_rows_is_retained_whole(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "LATEST_INTERVAL_S", 0.1)
    devices = {f"device-{number}" for number in range(2500)}
    async with gateway(tmp_path, port, window=BY_HAND) as it:
        for device in sorted(devices):
            it.measure(1, device)
        await it.close_window()
        await eventually(it.caught_up)
        found: set[str] = set()

        def is_whole() -> bool:
            with witness(port) as late:
                time.sleep(0.3)
                parts = [(topic, payload) for topic, payload in late.heard if "/ledger" in topic]
            found.update(row["device"] for _, payload in parts for row in payload["rows"])
            numbers = sorted(payload["part"] for _, payload in parts)
            return numbers == [*range(1, len(parts) + 1)] and len(parts) > 2 and found == devices

        await eventually(is_whole, 30)


async def test_thinning_keeps_one_an_interval_and_tells_of_every_other(
    tmp_path: Path, port: int, seen: Witness
) -> None:
    clock = Shifted()
    count, step, interval = 400, 10, 60
    places: dict[int, int] = {}
    async with (
        proxy(port) as way,
        gateway(tmp_path, clock=clock, window=BY_HAND) as it,
    ):
        for n in range(count):
            clock.shift = n * step - 8000.0
            record = it.measure(n)
            places[record.seq] = record.at.mono_ns // (interval * 10**9)
            await it.close_window()
        clock.shift = 0.0
        it.start(way.port, thin_after=4500, thin_to=interval)
        await eventually(lambda: it.transitions)
        way.deaf = True
        await eventually(lambda: len(seen.seqs()) >= 12)
        clock.shift = 500.0  # By now more of it is old: what has left is not taken back.
        way.deaf = False
        way.cut()
        await eventually(it.caught_up)
        await it.journal.commit()
        await eventually(it.caught_up)
        await seen.caught_up()
        arrived = sorted(set(seen.seqs()))
        old = [seq for seq in arrived if seq * step < 3000]
        assert len({places[seq] for seq in old}) == len(old), "more than one of an interval"
        assert {places[seq] for seq in arrived} == set(places.values()), "an interval without any"
        gaps = [record["data"] for record in seen.records("event") if record["kind"] == "gap"]
        assert {gap["reason"] for gap in gaps} == {"thinned"}
        lost = set(places) - set(arrived)
        assert sum(gap["count"] for gap in gaps) == len(lost) > 200
        for gap in gaps:
            assert len(lost & set(range(gap["first"], gap["last"] + 1))) == gap["count"]
        rows = [row for row in await it.journal.reader.ledger() if row.lane is TELEMETRY]
        assert sum(row.measured for row in rows) == count
        assert sum(row.pending for row in rows) == 0
        # A row is a day: two, if midnight passed in these 8000 s.
        assert sum(row.dropped.get("thinned", 0) for row in rows) == len(lost)
        assert {reason for row in rows for reason in row.dropped} == {"thinned"}
        assert sum(row.delivered for row in rows) == len(arrived)


async def test_the_ledger_is_told_and_kept(
    tmp_path: Path, port: int, seen: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "LATEST_INTERVAL_S", 0.3)
    monkeypatch.setattr(uplink_module, "LEDGER_INTERVAL_S", 0.3)

    def row_of(message: dict[str, Any]) -> dict[str, Any]:
        (row,) = (row for row in message["rows"] if (row["lane"], row["device"]) == ("telemetry", "d"))
        return dict(row)

    async with gateway(tmp_path, port) as it:
        await it.history(2)
        it.measure("x" * 200_000)
        await it.history(7)
        await eventually(lambda: any(row_of(each)["delivered"] == 9 for each in seen.on("ledger")))
        message = seen.on("ledger")[-1]
        row = row_of(message)
        assert message["epoch"] == it.journal.epoch
        assert (row["measured"], row["delivered"], row["pending"]) == (10, 9, 0)
        assert row["dropped"] == {"dead": 1}
        assert row["gaps"] == [[3, 3, "dead"]]
        (letter,) = await it.journal.reader.dead_letters()
        assert (letter.seq, letter.reason) == (3, "oversize")
    command = ["mosquitto_sub", "-p", str(port), "-t", f"{ROOT}/ledger", "-C", "1", "-W", "5"]
    kept = subprocess.run(command, capture_output=True, check=True).stdout
    assert msgspec.json.decode(kept) == message


async def test_a_clients_double_is_told_of_and_not_fought(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "MAX_SHORT_CONNECTIONS", 1)
    one, two = tmp_path / "one", tmp_path / "two"
    async with proxy(port) as way, gateway(one, way.port, client_id="same") as it:
        await eventually(lambda: it.transitions == [True])
        async with gateway(two, way.port, client_id="same"):
            await eventually(lambda: it.transitions.count(False) >= 3, 25)
            before, began = way.connections, time.monotonic()
            await eventually(lambda: way.connections >= before + 5, 40)
            assert time.monotonic() - began > 2
    told = [r.message for r in caplog.records if "uplink-down" in r.message]
    assert "client_id" not in told[0]
    assert "client_id" in told[-1]


async def test_a_platform_that_is_back_is_used_at_once_however_long_it_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "MAX_RECONNECT_DELAY_S", 7200.0)
    monkeypatch.setattr(random, "uniform", lambda least, most: most)
    real, port = uplink_module.Uplink._wait_for_listener, free_port()

    async def after_a_long_outage(it: Uplink, limit_s: float) -> None:
        await real(it, limit_s + 3600)

    monkeypatch.setattr(uplink_module.Uplink, "_wait_for_listener", after_a_long_outage)
    async with gateway(tmp_path, port) as it:
        it.measure()
        await eventually(lambda: it.uplink.offline_error)
        with mosquitto(tmp_path, port), witness(port) as seen:
            await eventually(lambda: seen.seqs() == [1], 10)


async def test_a_refusal_is_not_tried_again_each_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nobody").touch(0o600)
    probed: list[str] = []
    monkeypatch.setattr(uplink_module.Uplink, "_wait_for_listener", lambda *_: probed.append("probed"))
    port = free_port()
    with mosquitto(tmp_path, port, f"password_file {tmp_path / 'nobody'}"):
        async with gateway(tmp_path, port) as it:
            await eventually(lambda: it.uplink.offline_error)
            assert it.uplink.offline_error
            assert it.uplink.offline_error.key == "broker-login-missing"
    assert probed == []


async def test_an_address_that_does_not_acknowledge_is_left_for_the_next(
    tmp_path: Path, port: int, seen: Witness, hasty: None
) -> None:
    async with proxy(port) as first, proxy(port) as second:
        first.deaf = True
        async with gateway(tmp_path) as it:
            it.start(first.port, fallback_urls=(f"mqtt://127.0.0.1:{second.port}",))
            it.tell(ALARM)
            await it.journal.commit()
            await eventually(it.caught_up, 40)
            assert seen.seqs("alarm")[0] == 1
            second.cut()
            first.deaf = False
            it.tell(ALARM)
            await it.journal.commit()
            await eventually(it.caught_up, 40)
