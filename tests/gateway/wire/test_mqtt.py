from __future__ import annotations

import asyncio
import contextlib
import select
import ssl
import subprocess
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.model import LinkDown, ReadFailed
from gateway.wire import mqtt
from gateway.wire.broker import BrokerOptions
from gateway.wire.mqtt import MAX_INBOX_BLOCKS, Connection, Will, connect
from gateway.wire.restrictions import ConnectTerms, Restrictions
from tests.broker import Broker, running

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as new:
        yield new


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "RESPONSE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)


async def heard(connection: Connection, count: int, seconds: float = 5) -> list[bytes]:
    payloads: list[bytes] = []
    async with asyncio.timeout(seconds):
        async for message in connection.messages():
            payloads.append(message.payload)
            if len(payloads) == count:
                break
    return payloads


@pytest.mark.parametrize("version", [4, 5])
async def test_a_published_message_has_arrived_when_its_future_ends(
    broker: Broker, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Restrictions, "initial_terms", lambda *_: ConnectTerms(version=version))
    listening = subprocess.Popen(
        [
            "mosquitto_sub",
            "-p",
            str(broker.port),
            "-t",
            "t/#",
            "-C",
            "1",
            "-q",
            "1",
            "-W",
            "10",
            "-F",
            "%t %p %q",
        ],
        stdout=subprocess.PIPE,
    )
    with listening:
        async with connect(BrokerOptions(url=broker.url)) as connection:
            while listening.poll() is None:  # until its subscription stands
                async with asyncio.timeout(5):
                    await connection.publish("t/1", "水".encode())
                await asyncio.sleep(0.05)
        assert listening.stdout
        assert listening.stdout.read().decode() == "t/1 水 1\n"


async def test_a_retained_message_is_marked_as_such(broker: Broker) -> None:
    async with connect(BrokerOptions(url=broker.url)) as connection:
        await connection.publish("t", b"old", retain=True)
        connection.subscribe("t")
        async with asyncio.timeout(5):
            message = await anext(aiter(connection.messages()))
    assert (message.topic, message.payload, message.retained) == ("t", b"old", True)


async def test_the_will_is_published_when_the_gateway_is_gone_without_a_word(
    broker: Broker, impatient: None
) -> None:
    async with connect(BrokerOptions(url=broker.url)) as witness:
        witness.subscribe("will")
        async with connect(BrokerOptions(url=broker.url), will=Will("will", b"gone")) as connection:
            connection._socket.shutdown(2)
            with pytest.raises(LinkDown):
                await connection.ended
            assert await heard(witness, 1) == [b"gone"]


async def test_a_broker_that_is_killed_is_a_link_that_is_down(broker: Broker) -> None:
    async with connect(BrokerOptions(url=broker.url)) as connection:
        connection.subscribe("t")
        broker.kill()
        async with asyncio.timeout(5):
            with pytest.raises(LinkDown, match="broker-lost"):
                await asyncio.shield(connection.ended)
            with pytest.raises(LinkDown):
                await connection.publish("t", b"x")
            with pytest.raises(LinkDown):
                await heard(connection, 1)
    with pytest.raises(LinkDown, match="broker-port-closed"):
        async with connect(BrokerOptions(url=broker.url)):
            pass


async def test_a_broker_that_falls_silent_is_found_by_its_missing_pings(
    broker: Broker, impatient: None
) -> None:
    async with connect(BrokerOptions(url=broker.url)) as connection:
        broker.freeze()
        began = time.monotonic()
        owed = connection.publish("t", b"x")
        with pytest.raises(LinkDown):
            async with asyncio.timeout(10):
                await asyncio.shield(connection.ended)
        assert time.monotonic() - began <= 2 * mqtt.KEEPALIVE_S + 2.5
        with pytest.raises(LinkDown):
            await owed


def test_the_time_to_find_a_silent_broker_is_the_promised_one() -> None:
    assert 2 * mqtt.KEEPALIVE_S + 1 <= 25


async def test_a_broker_that_takes_nothing_any_more_is_let_go(broker: Broker) -> None:
    async with connect(BrokerOptions(url=broker.url)) as connection:
        broker.freeze()
        sock = connection._socket
        owed = [connection.publish("t", bytes(1 << 20)) for _ in range(16)]
        async with asyncio.timeout(10):
            while select.select([], [sock], [], 0)[1]:
                await asyncio.sleep(0)
    assert sock.fileno() == -1
    for future in owed:
        with pytest.raises(LinkDown):
            await future


@contextlib.asynccontextmanager
async def listener(talk: Talk, tls: ssl.SSLContext | None = None):  # type: ignore[no-untyped-def]
    """Something that listens and is no broker; gives its URL."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(reader, writer)
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", ssl=tls) as server:
        yield f"{'mqtts' if tls else 'mqtt'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await over.wait()


async def test_a_listener_that_never_answers_is_given_up(impatient: None) -> None:
    async with listener(lambda reader, _: reader.read(1)) as url:
        began = time.monotonic()
        with pytest.raises(LinkDown, match="broker-silent"):
            async with connect(BrokerOptions(url=url)):
                pass
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20",
        b"\x20\x03\x00\x00\x00\xff\xff",
        b"\xf0\xff\xff\xff\xff\xff",
    ],
)
async def test_an_answer_that_is_no_mqtt_is_a_link_that_is_down(impatient: None, answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)

    async with listener(talk) as url:
        with pytest.raises(LinkDown):
            async with connect(BrokerOptions(url=url)) as connection:
                await asyncio.wait_for(asyncio.shield(connection.ended), 5)


CONNACK = b"\x20\x03\x00\x00\x00"


def publish_packet(topic: bytes, payload: bytes = b"") -> bytes:
    """MQTT 5, 3.3, with QoS 0."""
    body = len(topic).to_bytes(2) + topic + b"\0" + payload
    return bytes((0x30, len(body))) + body


@pytest.mark.parametrize("topic", [b"", b"\xff\xfe", b"z/\xed\xa0\x80"])
async def test_a_topic_that_is_no_text_is_no_mqtt(topic: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(CONNACK + publish_packet(topic))

    async with listener(talk) as url, connect(BrokerOptions(url=url)) as connection:
        with pytest.raises(LinkDown, match="broker-not-mqtt"):
            await heard(connection, 1)


async def test_any_number_of_topics_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "MAX_REMEMBERED", 10)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(CONNACK + b"".join(publish_packet(b"t/%d" % number) for number in range(50)))

    async with listener(talk) as url:
        options = BrokerOptions(url=url, client_id="linli")
        async with connect(options, keep_session=True) as connection:
            assert len(await heard(connection, 50)) == 50
            assert len(connection._received_topics) == 10
            for _ in range(20):
                connection._inbox.put("t", mqtt.IncomingMessage("t", b"%d" % _, retained=False), 0)
                await heard(connection, 1)  # Each is taken, and the next is never asked for.
            assert len(mqtt._deliveries) <= 10


async def test_the_same_message_of_two_brokers_is_two_messages(tmp_path: Path) -> None:
    with running(tmp_path) as first, running(tmp_path) as second:
        async with (
            connect(BrokerOptions(url=first.url)) as one,
            connect(BrokerOptions(url=second.url)) as other,
        ):
            for connection in (one, other):
                connection.subscribe("t")
                for payload in (b"on", b"off"):
                    await connection.publish_command("t", payload)
            streams = one.messages(), other.messages()
            async with asyncio.timeout(5):
                for payload in (b"on", b"off"):
                    assert [(await anext(stream)).payload for stream in streams] == [payload] * 2


async def test_wrong_credentials_are_refused_and_right_ones_taken(tmp_path: Path) -> None:
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "users", "linli", "right"], check=True)
    password = tmp_path / "password"
    with running(tmp_path, f"password_file {tmp_path}/users", anonymous=False) as broker:
        options = BrokerOptions(url=broker.url, username="linli", password_file=password)
        with pytest.raises(LinkDown, match="secret-missing"):
            async with connect(options):
                pass
        password.write_text("right\n")
        with pytest.raises(LinkDown, match="secret-open"):
            async with connect(options):
                pass
        password.chmod(0o600)
        password.write_text("wrong\n")
        with pytest.raises(LinkDown, match="broker-login "):
            async with connect(options):
                pass
        with pytest.raises(LinkDown, match="broker-login-missing"):
            async with connect(BrokerOptions(url=broker.url)):
                pass
        password.write_text("\ufeffright\r\n")
        async with connect(options) as connection:
            await connection.publish("t", b"x")


def certificates(folder: Path) -> None:
    """Two private authorities, and a certificate of the first for 127.0.0.1."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name in ("ca", "other"):
        files = "-keyout", f"{name}.key", "-out", f"{name}.pem"
        openssl(*new, "-x509", *files, "-days", "2", "-subj", f"/CN={name}")
    openssl(*new, "-keyout", "broker.key", "-out", "broker.csr", "-subj", "/CN=broker")
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    sign = ("x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    openssl(*sign, "-out", "broker.pem", "-days", "2", "-extfile", "san")


async def test_tls_verifies_the_broker(tmp_path: Path) -> None:
    certificates(tmp_path)
    keys = f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key"
    with running(tmp_path, *keys, scheme="mqtts") as broker:
        for ca, key in (
            (tmp_path / "other.pem", "broker-ca-wrong"),
            (None, "broker-ca-needed"),
            (tmp_path / "none.pem", "ca-missing"),
            (tmp_path / "san", "ca-invalid"),
            (tmp_path, "ca-unreadable"),
        ):
            with pytest.raises(LinkDown, match=key):
                async with connect(BrokerOptions(url=broker.url, ca_file=ca)):
                    pass
        named = broker.url.replace("127.0.0.1", "localhost")  # not the certificate's name
        with pytest.raises(LinkDown, match="broker-certificate-name"):
            async with connect(BrokerOptions(url=named, ca_file=tmp_path / "ca.pem")):
                pass
        async with connect(BrokerOptions(url=broker.url, ca_file=tmp_path / "ca.pem")) as connection:
            connection.subscribe("t")
            await connection.publish("t", b"x")
            assert await heard(connection, 1) == [b"x"]


async def test_the_gateway_shows_its_own_certificate(tmp_path: Path) -> None:
    certificates(tmp_path)
    (tmp_path / "broker.key").chmod(0o600)
    (tmp_path / "other.key").chmod(0o600)
    keys = (f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key")
    lines = (*keys, f"cafile {tmp_path}/ca.pem", "require_certificate true")
    ca = tmp_path / "ca.pem"
    with running(tmp_path, *lines, scheme="mqtts") as broker:

        def options(certificate: str, key: str) -> BrokerOptions:
            files = {"certificate_file": tmp_path / certificate, "private_key_file": tmp_path / key}
            return BrokerOptions(url=broker.url, ca_file=ca, **files)  # type: ignore[arg-type]

        async with connect(options("broker.pem", "broker.key")) as connection:
            await connection.publish("t", b"x")
            assert 1 * 86_400 < (connection.certificate_ends_s or 0) - time.time() < 2 * 86_400
        with pytest.raises(LinkDown, match="broker-closes-tls"):
            async with connect(BrokerOptions(url=broker.url, ca_file=ca)):
                pass
        for certificate, key, why in (
            ("none.pem", "broker.key", "own-certificate-missing"),
            ("broker.pem", "none.key", "own-certificate-missing"),
            ("san", "broker.key", "own-certificate-invalid"),
            ("broker.pem", "other.key", "own-certificate-differs"),
            ("broker.pem", "ca.key", "secret-open"),
        ):
            (tmp_path / "ca.key").chmod(0o644)
            with pytest.raises(LinkDown, match=why):
                async with connect(options(certificate, key)):
                    pass


async def test_what_is_spoken_to_the_wrong_port_is_told(tmp_path: Path) -> None:
    certificates(tmp_path)
    keys = f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key"
    with running(tmp_path, *keys) as broker, pytest.raises(LinkDown, match="broker-only-tls "):
        async with connect(BrokerOptions(url=broker.url)):
            pass
    with running(tmp_path) as broker:
        with pytest.raises(LinkDown, match="broker-not-tls "):
            async with connect(BrokerOptions(url=broker.url.replace("mqtt", "mqtts"))):
                pass
        broker.kill()
        with pytest.raises(LinkDown, match="broker-port-closed "):
            async with connect(BrokerOptions(url=broker.url)):
                pass
    with pytest.raises(LinkDown, match="broker-name-unknown "):
        async with connect(BrokerOptions(url="mqtt://no such host")):
            pass


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        (b"", "broker-closes "),
        (b"\x15\x03\x01\x00\x02\x02\x46", "broker-only-tls "),
        (b"SSH-2.0", "broker-not-mqtt "),
    ],
)
async def test_a_listener_that_closes_is_told_apart_by_what_it_sent(answer: bytes, key: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()
        raise ConnectionError

    async with listener(talk) as url:
        with pytest.raises(LinkDown, match=key):
            async with connect(BrokerOptions(url=url)):
                pass


@pytest.mark.parametrize(
    ("code", "key"),
    [
        (0x86, "broker-login-missing "),
        (0x85, "broker-client-id "),
        (0x89, "broker-busy "),
        (0x8A, "broker-banned "),
        (0x9D, "broker-moved "),
        (0x80, "broker-refused "),
    ],
)
async def test_each_refusal_has_its_sentence(code: int, key: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(bytes((0x20, 3, 0, code, 0)))

    async with listener(talk) as url:
        with pytest.raises(LinkDown, match=key):
            async with connect(BrokerOptions(url=url)):
                pass


@pytest.mark.parametrize("version", [4, 5])
async def test_a_huge_message_costs_itself_and_no_memory(
    broker: Broker, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Restrictions, "initial_terms", lambda *_: ConnectTerms(version=version))
    huge = tmp_path / "huge"
    huge.write_bytes(bytes(24 << 20))
    async with connect(BrokerOptions(url=broker.url)) as connection:
        connection.subscribe("t")
        await connection.publish("t", b"before")
        assert await heard(connection, 1) == [b"before"]
        tracemalloc.start()
        try:
            publish = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "t"]
            process = await asyncio.create_subprocess_exec(*publish, "-f", huge)
            assert await process.wait() == 0
            await connection.publish("t", b"after")
            messages = connection.messages()
            async with asyncio.timeout(20):
                message = await anext(messages)
                if version == 4:  # MQTT 5 agrees on a limit, beyond which the broker does not send.
                    assert message.error
                    assert (message.error.key, message.payload) == ("message-large", b"")
                    message = await anext(messages)
            assert message.payload == b"after"
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


async def test_messages_that_come_in_one_tls_record_are_all_heard_at_once(tmp_path: Path) -> None:
    certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "broker.pem", tmp_path / "broker.key")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        messages = (b"\x30\x05\x00\x01t\x00%d" % n for n in range(9))  # QoS 0, no properties
        writer.write(b"\x20\x03\x00\x00\x00" + b"".join(messages))

    ca = tmp_path / "ca.pem"
    async with listener(talk, tls) as url, connect(BrokerOptions(url=url, ca_file=ca)) as connection:
        assert await heard(connection, 9, 2) == [b"%d" % n for n in range(9)]


async def test_an_oversize_packet_is_refused_and_the_limit_is_known(tmp_path: Path) -> None:
    with running(tmp_path, "max_packet_size 2000") as broker:
        async with connect(BrokerOptions(url=broker.url)) as connection:
            assert connection.max_packet_bytes == 2000
            await connection.publish("t", bytes(1900))
            with pytest.raises(LinkDown):
                async with asyncio.timeout(5):
                    await connection.publish("t", bytes(2100))


async def test_a_flood_nobody_reads_is_bounded_and_told_of(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    before = Connection.dropped
    async with connect(BrokerOptions(url=broker.url)) as connection:
        connection.subscribe("t")
        for _ in range(MAX_INBOX_BLOCKS // 100 + 3):
            await asyncio.gather(*(connection.publish("t", b"x") for _ in range(100)))
        assert len(connection._inbox) == MAX_INBOX_BLOCKS
        assert Connection.dropped - before == 300
        assert len(await heard(connection, MAX_INBOX_BLOCKS)) == MAX_INBOX_BLOCKS
        async with asyncio.timeout(5):
            await connection.publish("t", b"still there")
            while await heard(connection, 1) != [b"still there"]:
                pass
    told = [record.getMessage().rpartition("  [")[2] for record in caplog.records if record.name == "linli"]
    assert told == [f"inbox-full topic='t' count='{MAX_INBOX_BLOCKS}']", "inbox-emptied count='300']"]


async def test_a_flood_that_takes_long_to_process_delays_no_other_topic(broker: Broker) -> None:
    """What is sent behind a flood is heard long before all of the flood has been processed."""
    async with (
        connect(BrokerOptions(url=broker.url)) as connection,
        connect(BrokerOptions(url=broker.url)) as sender,
    ):
        for topic in ("flood", "other"):
            connection.subscribe(topic)
            await connection.publish_command(topic, b"subscribed")
        assert len(await heard(connection, 2)) == 2
        flood = ("mosquitto_pub", "-p", str(broker.port), "-t", "flood", "-q", "0", "-l")
        flooding = await asyncio.create_subprocess_exec(*flood, stdin=subprocess.PIPE)
        await flooding.communicate(b"x\n" * 3000)
        sent = sender.publish("other", b"alarm")
        processed = 0
        async with asyncio.timeout(20):
            async for message in connection.messages():
                if message.topic == "other":
                    break
                processed += 1
                time.sleep(0.002)  # The work of decoding.
        await sent
        assert processed < 500


async def test_a_flood_costs_no_message_of_another_topic(broker: Broker) -> None:
    """A foreign client floods one topic while messages to another one wait for a slow reader."""
    others = [b"%d" % number for number in range(40)]
    async with (
        connect(BrokerOptions(url=broker.url)) as connection,
        connect(BrokerOptions(url=broker.url)) as sender,
    ):
        for topic in ("flood", "other"):
            connection.subscribe(topic)
            await connection.publish_command(topic, b"subscribed")
        before = Connection.dropped
        lines = b"x\n" * 50
        flood = ("mosquitto_pub", "-p", str(broker.port), "-t", "flood", "-q", "1", "-l")
        for payload in others:
            flooding = await asyncio.create_subprocess_exec(*flood, stdin=subprocess.PIPE)
            await asyncio.gather(flooding.communicate(lines), sender.publish("other", payload))
        heard_of: dict[str, list[bytes]] = {"flood": [], "other": []}
        others.insert(0, b"subscribed")
        async with asyncio.timeout(10):
            async for message in connection.messages():
                heard_of[message.topic].append(message.payload)
                if heard_of["other"][-1:] == others[-1:]:
                    break
        assert heard_of["other"] == others
        assert Connection.dropped - before == 50 * 40 + 40 + 2 - MAX_INBOX_BLOCKS
        assert len(heard_of["flood"]) <= 2 * len(others), "they take turns"


async def test_messages_that_are_dropped_do_not_stop_those_with_qos_1(tmp_path: Path) -> None:
    """A broker sends no more of them while as many as it allows wait to be acknowledged."""
    with running(tmp_path, "max_inflight_messages 3") as broker:
        options = BrokerOptions(url=broker.url)
        async with connect(options) as sender, connect(options, keep_session=True) as receiver:
            receiver.subscribe("#")
            while True:
                with contextlib.suppress(LinkDown, ReadFailed):
                    await sender.publish_command("flood", b"qos 1")
                    break
            for _ in range(3):
                await sender.publish("flood", b"qos 1")
            process = await asyncio.create_subprocess_exec(
                "mosquitto_pub", "-p", str(broker.port), "-t", "flood", "-q", "0", "-l",
                stdin=subprocess.PIPE,
            )  # fmt: skip
            await process.communicate(b"qos 0\n" * (MAX_INBOX_BLOCKS + 1000))
            await sender.publish("honest", b"qos 1")
            async with asyncio.timeout(20), contextlib.aclosing(receiver.messages()) as messages:
                assert "honest" in {(await anext(messages)).topic for _ in range(MAX_INBOX_BLOCKS)}


async def test_without_wildcards_plain_topics_work_and_the_others_are_told_and_never_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """MQTT 5, 3.2.2.3.11: to ask nevertheless would end the connection."""
    asked = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x05\x00\x00\x02\x28\x00")
        while b"z/plain" not in asked:
            asked.extend(await reader.read(1000))
        writer.write(publish_packet(b"z/plain", b"hello"))

    async with listener(talk) as url, connect(BrokerOptions(url=url)) as connection:
        connection.subscribe("z/+/up")
        connection.subscribe("z/plain")
        messages = aiter(connection.messages())
        async with asyncio.timeout(5):
            refused, said = [await anext(messages) for _ in range(2)]
    assert isinstance(refused.error, ReadFailed)
    assert (refused.error.key, refused.topic) == ("topic-wildcard", "z/+/up")
    assert said.payload == b"hello"
    assert b"z/+/up" not in asked
    assert len([record for record in caplog.records if "z/+/up" in record.getMessage()]) == 1
