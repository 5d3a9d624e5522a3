"""A real MQTT broker on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from gateway.model import ReadFailed
from gateway.wire.broker import BrokerOptions
from gateway.wire.mqtt import connect


class Broker:
    """A running mosquitto."""

    def __init__(self, folder: Path, *config: str, anonymous: bool = True, scheme: str = "mqtt") -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        file = folder / f"mosquitto-{self.port}.conf"
        allow = f"allow_anonymous {str(anonymous).lower()}"
        # As root it would become another user, who may not read the test's files.
        file.write_text("\n".join(["user root", f"listener {self.port} 127.0.0.1", allow, *config, ""]))
        self._process = subprocess.Popen(["mosquitto", "-c", file], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._listens():
            assert self._process.poll() is None, "mosquitto ended"
            assert time.monotonic() < deadline, "mosquitto does not listen"
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)


@contextlib.contextmanager
def running(folder: Path, *config: str, anonymous: bool = True, scheme: str = "mqtt") -> Iterator[Broker]:
    """A broker with these lines of configuration besides."""
    broker = Broker(folder, *config, anonymous=anonymous, scheme=scheme)
    try:
        yield broker
    finally:
        broker.kill()


def subscribing_allowed(folder: Path, *filters: str) -> tuple[str, ...]:
    """Configuration by which everybody may publish everything, but subscribe only by these filters: refused
    in the SUBACK, as an ACL file of mosquitto does not."""
    allowed = [{"acltype": "subscribeLiteral", "topic": name, "allow": True} for name in filters]
    access = {
        "publishClientSend": True,
        "publishClientReceive": True,
        "subscribe": False,
        "unsubscribe": True,
    }
    rules = {
        "defaultACLAccess": access,
        "clients": [],
        "groups": [{"groupname": "all", "roles": [{"rolename": "reader"}]}],
        "roles": [{"rolename": "reader", "acls": allowed}],
        "anonymousGroup": "all",
    }
    file = folder / "dynamic-security.json"
    file.write_text(json.dumps(rules))
    (plugin, *_) = Path("/usr/lib").rglob("mosquitto_dynamic_security.so")
    return f"plugin {plugin}", f"plugin_opt_config_file {file}"


@contextlib.asynccontextmanager
async def hearing(broker: Broker, *topics: str) -> AsyncIterator[asyncio.StreamReader]:
    """What is published there, as mosquitto's own client prints it: topic, blank, payload a line."""
    flags = [flag for topic in (*topics, "probe") for flag in ("-t", topic)]
    process = await asyncio.create_subprocess_exec(
        "mosquitto_sub", "-p", str(broker.port), "-q", "1", "-v", *flags, stdout=subprocess.PIPE
    )
    assert process.stdout
    try:
        async with asyncio.timeout(10), connect(BrokerOptions(url=broker.url)) as sender:
            while True:
                # Its fate says whether the subscription stands already.
                with contextlib.suppress(ReadFailed):
                    await sender.publish_command("probe", b"")
                    break
                await asyncio.sleep(0.05)
            await process.stdout.readline()
        yield process.stdout
    finally:
        process.kill()
        await process.wait()
