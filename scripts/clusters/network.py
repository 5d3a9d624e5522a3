"""Three computers on one switch, as network namespaces; the namespace of this process is a fourth one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

NODES = (1, 2, 3)
BROKER_PORT = 1883


def address(node: int) -> str:
    return f"10.77.0.{node}"


def _ip(*words: object, inside: list[str] | None = None) -> None:
    subprocess.run([*(inside or []), "ip", *map(str, words)], check=True)


class Network:
    """The namespaces live as long as their processes."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path) -> None:
        hosts = folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address(node)} n{node}\n" for node in NODES))
        subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "switch", "type", "bridge")
        _ip("addr", "add", "10.77.0.254/24", "dev", "switch")
        _ip("link", "set", "switch", "up")
        self._inside: dict[int, list[str]] = {}
        for node in NODES:
            holder = stack.enter_context(_sleeping(["unshare", "--net", "sleep", "infinity"]))
            _wait_for_own_network(holder)
            self._inside[node] = inside = ["nsenter", f"--net=/proc/{holder}/ns/net"]
            _ip("link", "add", f"port{node}", "type", "veth", "peer", "name", "eth0", "netns", holder)
            _ip("link", "set", f"port{node}", "master", "switch", "up")
            for device in ("lo", "eth0"):
                _ip("link", "set", device, "up", inside=inside)
            _ip("addr", "add", f"{address(node)}/24", "dev", "eth0", inside=inside)

    def at(self, node: int) -> list[str]:
        """In front of a command that is to run on a node."""
        return self._inside[node]

    def split(self, node: int) -> None:
        """The node and the others no longer reach each other; clients still reach all of them."""
        self._change_routes(node, "add")

    def heal(self, node: int) -> None:
        self._change_routes(node, "del")

    def _change_routes(self, node: int, verb: str) -> None:
        for other in NODES:
            if other != node:
                _ip("route", verb, "blackhole", f"{address(other)}/32", inside=self.at(node))


@contextlib.contextmanager
def _sleeping(command: list[str]) -> Iterator[int]:
    process = subprocess.Popen(command)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _wait_for_own_network(pid: int) -> None:
    own = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{pid}/ns/net").readlink() == own:
        pass
