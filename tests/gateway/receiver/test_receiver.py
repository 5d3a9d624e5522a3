"""From publishers that others have written, and from our gateway, through a real broker into a real
PostgreSQL."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.base.clock import SystemClock
from gateway.config.options import NativeOptions
from gateway.model import Lane
from gateway.receiver import Database, DayReport, Receiver, make_reports
from gateway.receiver import receiver as receiver_module
from gateway.receiver.receiver import FILTERS
from gateway.wire.broker import BrokerOptions
from tests.broker import Broker, running, subscribing_allowed
from tests.gateway.uplink import broker as misbehaving
from tests.gateway.uplink import kit as uplink_kit
from tests.ports import free_port
from tests.postgres import Postgres

from .kit import (
    DAY,
    NOON,
    envelope,
    eventually,
    gap_record,
    ledger_row,
    publisher,
    receiving,
    record,
)

SEQS = "SELECT seq FROM named_record WHERE (site, epoch, device, lane) = (%s, %s, %s, %s) ORDER BY seq"


def seqs(
    database: Postgres, site: str, epoch: str = "e1", device: str = "d", lane: str = "telemetry"
) -> list[int]:
    return [seq for (seq,) in database.rows(SEQS, site, epoch, device, lane)]


def count(database: Postgres, table: str = "record") -> int:
    return int(database.value(f"SELECT count(*) FROM {table}"))


async def report(database: Postgres, site: str = "", day: str = DAY) -> list[DayReport]:
    async with Database.open(database.url, migrate=False) as connection:
        return make_reports(await connection.stored(site, day, day, "Asia/Shanghai"))


async def test_everything_of_our_gateway_arrives_once_and_is_complete(
    broker: Broker, database: Postgres, tmp_path: Path
) -> None:
    async with (
        receiving(broker.url, database.url) as receiver,
        uplink_kit.gateway(tmp_path, broker.port) as sender,
    ):
        sender.tell(Lane.ALARM, "smoke \0 \\ \t \n “烟”")
        sender.tell(Lane.EVENT)
        await sender.history(rows=3, each=40)
        await eventually(sender.caught_up)
        await eventually(lambda: count(database) == 122)
        epoch = sender.journal.epoch
        stored = database.rows(
            "SELECT lane, seq, data FROM named_record WHERE site = 'centre' ORDER BY lane, seq"
        )
        now = sender.clock.now().wall_ms / 1000
        days = {(datetime.fromtimestamp(now, UTC) + timedelta(hours=8)).date().isoformat()}
        (found,) = await report(database, "centre", *days)
    assert seqs(database, "centre", epoch) == list(range(1, 121))
    assert [data["values"]["x"] for lane, _, data in stored if lane == "telemetry"] == [*range(120)]
    assert [data["x"] for lane, _, data in stored if lane == "alarm"] == ["smoke \ufffd \\ \t \n “烟”"]
    assert (found.records, found.missing) == (122, [])
    assert not receiver.rejected


async def test_several_streams_in_one_envelope(broker: Broker, database: Postgres, tmp_path: Path) -> None:
    """Those of our gateway, and those of others; what is wrong with one of them costs no other message."""
    several = NativeOptions(several_streams=True)
    async with (
        receiving(broker.url, database.url) as receiver,
        uplink_kit.gateway(tmp_path, broker.port, native=several) as sender,
    ):
        for device in ("d", "e", "f"):
            sender.tell(Lane.EVENT, device=device)
            await sender.history(rows=2, each=20, device=device)
        await eventually(sender.caught_up)
        await eventually(lambda: count(database) == 123)
        epoch = sender.journal.epoch
        for device in ("d", "e", "f"):
            assert seqs(database, "centre", epoch, device) == [*range(1, 41)]
        with publisher(broker.port) as foreign:
            foreign.send_streams("s", {"d": [record(1), record(2)], "e": [record(1)]})
            foreign.send_streams("s", {"d": [record(2), record(3)]})
            foreign.send_streams("s", {"d": [record(4)]}, topic_lane="event")
            foreign.send_streams("s", {"d": [record(4, data="no object")]})
        await eventually(lambda: receiver.rejected.total() == 2)
        await eventually(lambda: seqs(database, "s") == [1, 2, 3])
        assert seqs(database, "s", device="e") == [1]
        assert receiver.rejected == {"identity": 1, "fields": 1}


async def test_repeated_and_out_of_order_and_from_another_epoch(broker: Broker, database: Postgres) -> None:
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            for seq in (3, 1, 2, 2, 3, 1):
                sender.send("s", record(seq), record(seq + 10))
            sender.send("s", record(1), record(2), epoch="e2")
            sender.send("other", record(1))
            sender.send("s", record(1), lane="alarm")
            sender.send("s", record(1), device="d2")
        await eventually(lambda: receiver.acknowledged == 10)
        sender_again = [1, 2, 3, 11, 12, 13]
    assert seqs(database, "s") == sender_again
    assert seqs(database, "s", "e2") == [1, 2]
    assert count(database) == 11


async def test_holes_are_named_unless_gap_records_or_the_ledger_explain_them(
    broker: Broker, database: Postgres
) -> None:
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            sender.send("whole", record(1), record(2))
            sender.send_ledger("whole", ledger_row(measured=2, delivered=2))
            sender.send("told", record(1), record(9))
            sender.send("told", gap_record(1, "telemetry", 2, 5), lane="event")
            sender.send_ledger(
                "told",
                ledger_row(measured=9, delivered=2, dropped={"thinned": 3}, gaps=[(6, 8, "thinned")]),
            )
            sender.send("untold", record(2), record(5))
            # This one concerns another platform.
            sender.send("untold", gap_record(1, "telemetry", 1, 9, uplink="police"), lane="event")
            sender.send("cut", record(1))
            sender.send_ledger("cut", ledger_row(measured=3, delivered=3), part=2)
        await eventually(lambda: receiver.acknowledged == 9)
    found = {each.site: each for each in await report(database)}
    assert not found["whole"].missing
    assert [(each.first, each.last, each.reason) for each in found["told"].missing] == [
        (2, 5, "space"), (6, 8, "thinned")
    ]  # fmt: skip
    assert [(each.first, each.last, each.reason) for each in found["untold"].missing] == [
        (1, 1, ""),
        (3, 4, ""),
    ]
    assert [(each.first, each.last, each.reason) for each in found["cut"].missing] == [(2, 3, "")]
    assert [found[site].unexplained for site in ("whole", "told", "untold", "cut")] == [0, 0, 3, 2]


async def test_two_receivers_share_the_messages(broker: Broker, database: Postgres) -> None:
    async with (
        receiving(broker.url, database.url, "one") as one,
        receiving(broker.url, database.url, "two") as two,
    ):
        with publisher(broker.port) as sender:
            for number in range(60):
                sender.send(
                    "s", *(record(number * 10 + each + 1) for each in range(10)), device=f"d{number % 3}"
                )
        await eventually(lambda: one.acknowledged + two.acknowledged == 60)
    assert count(database) == 600
    assert min(one.acknowledged, two.acknowledged) > 10


async def test_killed_between_commit_and_acknowledgement(broker: Broker, database: Postgres) -> None:
    command = [sys.executable, "-m", "gateway.cli", "receive", "--broker", broker.url, "--name", "one"]
    environment = {
        **os.environ,
        "LINLI_KILL_AT": "stored:1",
        "LINLI_DATABASE": database.url,
        "LINLI_LANG": "en",
    }
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr
        for line in process.stderr:
            if b"receiver-started" in line:
                break
        with publisher(broker.port) as sender:
            # Its subscription may not have reached the broker before the first ones.
            while process.poll() is None:
                sender.send("lost", record(1))
                sender.wait()
                await asyncio.sleep(0.05)
            for seq in range(1, 101):
                sender.send("s", record(seq))
    assert process.returncode == -signal.SIGKILL
    assert seqs(database, "lost") == [1]
    async with receiving(broker.url, database.url, "one"):
        await eventually(lambda: count(database) == 101)
    assert seqs(database, "s") == list(range(1, 101))


async def test_a_database_that_crashes_in_the_middle_loses_nothing(
    broker: Broker, database: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            for seq in range(1, 101):
                sender.send("s", record(seq))
            sender.wait()
            await eventually(lambda: receiver.acknowledged)
            database.stop_at_once()
            for seq in range(101, 201):
                sender.send("s", record(seq))
            sender.wait()
            await eventually(lambda: not receiver.is_receiving)
            await asyncio.to_thread(database.start)
        await eventually(lambda: count(database) == 200)
    assert seqs(database, "s") == list(range(1, 201))
    stopped = [str(each.getMessage()) for each in caplog.records if "receiver-stopped" in each.getMessage()]
    assert len(stopped) == len(set(stopped)) > 0


WHOLE = json.dumps(envelope([record(1)])).replace('"x": 1', '"x": 1e2')
STRANGERS = {
    "fields": [
        ("linli/v1/s/d/telemetry", b"{}"),
        ("linli/v1/s/d/telemetry", b"[]"),
        ("linli/v1/s/d/telemetry", json.dumps(envelope([record(0)])).encode()),
        ("linli/v1/s/d/telemetry", json.dumps(envelope([record(2**63)])).encode()),
        ("linli/v1/s/d/telemetry", json.dumps(envelope([record(1, at=2**60)])).encode()),
        ("linli/v1/s/d/telemetry", json.dumps(envelope([record(1, at=-1)])).encode()),
        ("linli/v1/s/d/telemetry", json.dumps(envelope([record(1, data=[1])])).encode()),
        ("linli/v1/s/d/telemetry", json.dumps(envelope([record(1)], device="d" * 200)).encode()),
        ("linli/v1/s/d/telemetry", b"[" * 100_000),
        ("linli/v1/s/ledger", b'{"epoch": "e1", "rows": [{}]}'),
        ("linli/v1/s/urgent", b"{}"),
        ("linli/v1/s/d/telemetry", WHOLE.replace("1e2", "[" * 100_000 + "]" * 100_000).encode()),
    ],
    "json": [
        ("linli/v1/s/d/telemetry", b""),
        ("linli/v1/s/d/telemetry", b"hello"),
        ("linli/v1/s/d/alarm", b"\xff\xfe"),
        ("linli/v1/s/d/telemetry", WHOLE.replace("1e2", '"\\ud800"').encode()),
        ("linli/v1/s/d/event", json.dumps(envelope([record(1)])).encode()[:-1]),
    ],
    "identity": [
        ("linli/v1/s/other/telemetry", json.dumps(envelope([record(1)])).encode()),
        ("linli/v1/s/d/alarm", json.dumps(envelope([record(1)])).encode()),
        ("linli/v1/s/d/telemetry", json.dumps(envelope([record(1)], site="other")).encode()),
    ],
    "topic": [("linli/v1/s/ledger/x", b"{}"), (f"linli/v1/{'s' * 200}/d/telemetry", b"{}")],
    "size": [("linli/v1/s/d/telemetry", b" " * (5 << 20))],
    "database": [
        ("linli/v1/s/d/telemetry", WHOLE.replace("1e2", "1e999999").encode()),
    ],
}


async def test_what_strangers_send_is_put_aside_and_stops_nothing(
    broker: Broker, database: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    number = sum(map(len, STRANGERS.values()))
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            for seq, (topic, payload) in enumerate(
                (each for messages in STRANGERS.values() for each in messages), 1
            ):
                sender.send_bytes(topic, payload)
                sender.send("mine", record(seq))
        await eventually(lambda: receiver.acknowledged == 2 * number)
    assert receiver.rejected == {reason: len(messages) for reason, messages in STRANGERS.items()}
    assert seqs(database, "mine") == list(range(1, number + 1))
    assert seqs(database, "s") == []
    assert count(database, "rejected") == number
    assert database.value("SELECT max(length(payload)) FROM rejected") <= 2048
    assert sum("receiver-rejects" in each.getMessage() for each in caplog.records) == len(STRANGERS)


async def test_a_time_that_is_corrected_later_makes_no_second_record(
    broker: Broker, database: Postgres
) -> None:
    wrong = datetime(1970, 1, 1, 1, tzinfo=UTC)
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            sender.send("s", record(1, at=wrong, clock="unset"), record(2, at=wrong, clock="unset"))
            sender.send("s", record(2, clock="corrected"), record(3, clock="corrected"))
            sender.wait()
            await eventually(lambda: receiver.acknowledged == 2)
            sender.send("s", record(1, clock="corrected"), record(4))
        await eventually(lambda: receiver.acknowledged == 3)
    assert seqs(database, "s") == [1, 2, 3, 4]
    assert not (await report(database))[0].missing


async def test_absurd_times_make_no_partitions(broker: Broker, database: Postgres) -> None:
    years = [
        datetime(year, month, 1, tzinfo=UTC) for year in (1980, 2019, 2999, 9999) for month in range(1, 13)
    ]
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            sender.send("s", *(record(seq, at=at) for seq, at in enumerate(years, 1)))
            sender.send("s", record(len(years) + 1))
        await eventually(lambda: receiver.acknowledged == 2)
    partitions = database.rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'record'::regclass"
    )
    assert sorted(partitions) == [("record_2026_11",), ("record_undated",)]
    assert count(database) == len(years) + 1


async def test_the_report_does_not_miss_a_month_that_was_forgotten(
    broker: Broker, database: Postgres
) -> None:
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            september = datetime(2026, 9, 30, tzinfo=UTC)
            sender.send("s", *(record(seq, at=september) for seq in range(1, 6)))
            sender.send("s", record(7), record(9))
        await eventually(lambda: receiver.acknowledged == 2)
    database.rows("SELECT linli.forget_month('2026-09-01')")
    assert seqs(database, "s") == [7, 9]
    (found,) = await report(database)
    assert [(each.first, each.last) for each in found.missing] == [(6, 6), (8, 8)]


async def test_an_old_month_may_be_dropped_while_it_runs(broker: Broker, database: Postgres) -> None:
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            sender.send("s", record(1))
            sender.wait()
            await eventually(lambda: receiver.acknowledged == 1)
            database.rows("DROP TABLE record_2026_11")
            sender.send("s", record(2))
        await eventually(lambda: receiver.acknowledged == 2)
    assert seqs(database, "s") == [2]


async def test_an_urgent_alarm_is_kept_once(broker: Broker, database: Postgres) -> None:
    alarm = {key: value for key, value in record(1).items() if key != "seq"} | {"device": "d"}
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            for _ in range(2):
                sender.send_bytes("linli/v1/s/urgent", json.dumps(alarm).encode())
        await eventually(lambda: receiver.acknowledged == 2)
    assert database.rows("SELECT site, device, at, data FROM urgent") == [("s", "d", NOON, {"x": 1})]


async def test_an_older_ledger_does_not_replace_a_newer_one(broker: Broker, database: Postgres) -> None:
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            sender.send_ledger("s", ledger_row(measured=9, delivered=9))
            sender.wait()
            await eventually(lambda: receiver.acknowledged == 1)
            sender.send_ledger("s", ledger_row(measured=9, delivered=4, pending=5))
            sender.send_ledger("s", ledger_row(measured=5, delivered=5))
        await eventually(lambda: receiver.acknowledged == 3)
    assert database.rows("SELECT measured, delivered FROM ledger") == [(9, 9)]


async def test_it_may_subscribe_alone_where_a_broker_shares_nothing(
    broker: Broker, database: Postgres
) -> None:
    async with receiving(broker.url, database.url, group="") as receiver:
        with publisher(broker.port) as sender:
            sender.send("s", record(1))
        await eventually(lambda: receiver.acknowledged == 1)
    assert seqs(database, "s") == [1]


@pytest.mark.parametrize("how", ["says so", "refuses", "disconnects", "MQTT 3.1.1"])
async def test_where_a_broker_shares_nothing_it_receives_alone(
    how: str, database: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """With MQTT 3.1.1 `$share` is a topic like any other, on which nobody publishes."""
    caplog.set_level("INFO")
    async with misbehaving.broker() as broker:
        if how == "says so":
            broker.properties = bytes.fromhex("2A00")
            broker.cut = lambda name: name.startswith("$share")
        elif how == "refuses":
            broker.denied = {f"$share/linli/{name}": 0x9E for name in FILTERS}
        elif how == "disconnects":
            broker.end_at = {f"$share/linli/{FILTERS[0]}": 0x9E}
        else:
            broker.answer = lambda connect: 0 if connect.version == 4 else 0x84
        async with receiving(f"mqtt://127.0.0.1:{broker.port}", database.url) as receiver:
            assert set(FILTERS) <= set(broker.filters)
            broker.cut_all()
            await eventually(lambda: not receiver.is_receiving)
            await eventually(lambda: receiver.is_receiving)
        assert broker.filters[-len(FILTERS) :] == [*FILTERS]
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([each for each in told if "共享" in each]) == 1


async def test_a_refused_topic_costs_that_topic_alone(
    database: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with misbehaving.broker() as broker:
        refused = f"$share/linli/{FILTERS[-1]}"
        broker.denied = {refused: 0x87}
        async with receiving(f"mqtt://127.0.0.1:{broker.port}", database.url) as receiver:
            broker.send("linli/v1/s/d/alarm", envelope([record(1)], lane="alarm"))
            await eventually(lambda: receiver.acknowledged == 1)
    assert seqs(database, "s", lane="alarm") == [1]
    assert len([each for each in caplog.records if refused in each.getMessage()]) == 1


async def test_without_wildcards_nothing_can_be_received(
    database: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with misbehaving.broker() as broker:
        broker.properties = bytes.fromhex("2800")
        receiver = Receiver(
            [BrokerOptions(url=f"mqtt://127.0.0.1:{broker.port}", client_id="one")],
            database.url,
            "g",
            SystemClock(),
        )
        task = asyncio.create_task(receiver.run())
        await eventually(lambda: "暂停接收" in caplog.text)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert not broker.filters
    assert "不支持通配符" in caplog.text


async def test_a_broker_that_refuses_the_subscription_is_told_of(
    database: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, *subscribing_allowed(tmp_path, "nothing")) as broker:
        receiver = Receiver(
            [BrokerOptions(url=broker.url, client_id="one")], database.url, "g", SystemClock()
        )
        task = asyncio.create_task(receiver.run())
        await eventually(lambda: "receiver-stopped" in caplog.text)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert "$share/g/linli/v1/+/+/alarm" in caplog.text
    assert not receiver.is_receiving


async def test_the_next_node_of_a_cluster_is_used_when_one_fails(
    broker: Broker, database: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = f"mqtt://127.0.0.1:{free_port()}"
    async with receiving(nobody, database.url, others=[broker.url]) as receiver:
        with publisher(broker.port) as sender:
            sender.send("s", record(1))
            sender.wait()
        await eventually(lambda: receiver.acknowledged == 1)
    assert seqs(database, "s") == [1]
    assert caplog.text.count("receiver-stopped") == 1


async def test_a_node_that_delivers_nothing_is_left_for_the_next(
    broker: Broker, database: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one does that has lost its cluster, and keeps its connections."""
    monkeypatch.setattr(receiver_module, "SILENCE_S", 0.2)
    async with misbehaving.broker() as silent:
        url = f"mqtt://127.0.0.1:{silent.port}"
        async with receiving(url, database.url, others=[broker.url]) as receiver:
            assert silent.filters
            with publisher(broker.port) as sender:

                def arrived() -> int:
                    sender.send("s", record(1))
                    return receiver.acknowledged

                await eventually(arrived)
    assert seqs(database, "s") == [1]
    assert "receiver-stopped" not in caplog.text, "silence is no failure"


async def test_what_a_gateway_recorded_in_memory_is_explained_by_its_later_journal(
    broker: Broker, database: Postgres
) -> None:
    async with receiving(broker.url, database.url) as receiver:
        with publisher(broker.port) as sender:
            sender.send("s", record(1), record(4), epoch="memory")
            sender.send("s", gap_record(1, "telemetry", 2, 2, epoch="memory"), lane="event")
            sender.send("s", record(1))
            sender.send_ledger(
                "s",
                ledger_row(measured=1, delivered=1),
                ledger_row(epoch="memory", measured=4, delivered=2, dropped={"space": 1}, pending=1),
            )
        await eventually(lambda: receiver.acknowledged == 4)
    (day,) = await report(database)
    assert [(each.epoch, each.first, each.last, each.reason) for each in day.missing] == [
        ("memory", 3, 3, ""),
        ("memory", 2, 2, "space"),
    ]
