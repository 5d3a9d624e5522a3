"""Clusters of three brokers, one on each node, configured as RECEIVER.md says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import IO

from network import BROKER_PORT, NODES, Network, address

START_TIMEOUT_S = 120.0

RABBITMQ = """listeners.tcp.default = 5672
mqtt.listeners.tcp.default = 1883
mqtt.allow_anonymous = true
mqtt.durable_queue_type = quorum
mqtt.prefetch = 2000
mqtt.subscription_ttl = 604800000
loopback_users = none
cluster_partition_handling = pause_minority
net_ticktime = 10
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = rabbit@n1
cluster_formation.classic_config.nodes.2 = rabbit@n2
cluster_formation.classic_config.nodes.3 = rabbit@n3
disk_free_limit.absolute = 50MB
log.file.level = warning
"""
NATS = """server_name: n{node}
listen: "{address}:4222"
jetstream {{ store_dir: "{folder}", max_memory_store: 64MB, max_file_store: 2GB }}
cluster {{ name: linli, listen: "{address}:6222", routes: [{routes}] }}
mqtt {{
  listen: "{address}:1883", ack_wait: "60s", max_ack_pending: 2000, stream_replicas: 3, consumer_replicas: 3
}}
"""


class Cluster:
    """Three brokers; each runs in a group of processes of its own."""

    def __init__(self, kind: str, network: Network, folder: Path) -> None:
        self.kind = kind
        self._network = network
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._registries: dict[int, subprocess.Popen[bytes]] = {}

    async def start(self) -> None:
        """Start all; return when each takes clients."""
        for node in NODES:
            self._launch(node)
            if self.kind == "rabbitmq":
                await self.wait_until_ready(node)
        for node in NODES:
            await self.wait_until_ready(node)

    async def start_node(self, node: int) -> None:
        self._launch(node)
        await self.wait_until_ready(node)

    async def wait_until_ready(self, node: int) -> None:
        """Wait until it takes clients: it does not while it is in a minority."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                await asyncio.to_thread(_connect, address(node))
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
            else:
                return

    def kill(self, node: int) -> None:
        self._signal(node, signal.SIGKILL)

    async def stop_node(self, node: int) -> None:
        """In order, as a restart of the service does."""
        self._signal(node, signal.SIGTERM)
        await asyncio.to_thread(self._processes[node].wait, 60)

    def close(self) -> None:
        for process in (*self._processes.values(), *self._registries.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _signal(self, node: int, number: signal.Signals) -> None:
        process = self._processes[node]
        if number is signal.SIGKILL:
            os.killpg(process.pid, number)
            process.wait()
        else:
            process.send_signal(number)

    def _launch(self, node: int) -> None:
        folder = self._folder / f"{self.kind}-{node}"
        folder.mkdir(exist_ok=True)
        with (folder / "output").open("ab") as output:
            if self.kind == "rabbitmq":
                self._launch_rabbitmq(node, folder, output)
            else:
                self._launch_nats(node, folder, output)

    def _launch_nats(self, node: int, folder: Path, output: IO[bytes]) -> None:
        config = folder / "nats.conf"
        routes = ", ".join(f'"nats://{address(other)}:6222"' for other in NODES if other != node)
        config.write_text(NATS.format(node=node, address=address(node), folder=folder, routes=routes))
        self._processes[node] = self._spawn(node, ["nats-server", "-c", str(config)], output, {})

    def _launch_rabbitmq(self, node: int, folder: Path, output: IO[bytes]) -> None:
        (folder / "rabbitmq.conf").write_text(RABBITMQ)
        (folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        cookie = folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text("linli")
            cookie.chmod(0o400)
        environment = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"rabbit@n{node}",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # Two cores carry three nodes: none may keep one busy for nothing.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
        if node not in self._registries:
            # Else the first Erlang node would start it as a daemon.
            self._registries[node] = self._spawn(node, ["epmd"], output, {})
        command = ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
        self._processes[node] = self._spawn(node, command, output, environment)

    def _spawn(
        self, node: int, command: list[str], output: IO[bytes], environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._network.at(node), *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip


CONNECT = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x0a\x00\x05probe"
CONNACK = b"\x20\x02\x00\x00"


def _connect(host: str) -> None:
    """Raises `OSError` if the broker does not accept a client (MQTT 3.1.1, 3.1 and 3.2)."""
    with contextlib.closing(socket.create_connection((host, BROKER_PORT), 5)) as connection:
        connection.sendall(CONNECT)
        if connection.recv(4) != CONNACK:
            raise ConnectionError(host)
        connection.sendall(b"\xe0\x00")
