"""The processes of a measurement, all on loopback; the daemon has a core of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from plc import FIRST_VALUE_ADDRESS, LEVEL_ADDRESS, STAMP_ADDRESS
from recorder import ArrivalRecorder

ROOT = Path(__file__).parents[2]
WORK_DIRECTORY = ROOT / ".bench"
"""On the file system of the checkout, as /tmp may be memory, which is faster."""
AVAILABLE_CORES = sorted(os.sched_getaffinity(0))
DAEMON_CORES = {AVAILABLE_CORES[0]}
"""The daemon's core."""
OTHER_CORES = set(AVAILABLE_CORES[1:]) or DAEMON_CORES
WAIT_TIMEOUT_S = 30.0

PROFILE = """schema = "linli/profile/1"
kind = "{kind}"
maker = "bench"
model = "{points} points"
driver = "modbus"
source = "scripts/benchmarks/plc.py"
[points.stamp]
address = {stamp}
type = "uint64"
{extra}
[points.value]
address = {first}
scale = 0.1
unit = "°C"
repeat = {repeat}
"""

ALARM = f"""[points.level]
address = {LEVEL_ADDRESS}
type = "uint64"
alarm = {{ hazard = "gas", above = 0.5, off_delay = 0.0 }}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until(condition: Callable[[], Any], seconds: float = WAIT_TIMEOUT_S) -> None:
    """Wait for a condition that another process brings about."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(
                f"{condition} 在 {seconds:g} 秒内没有成立 · did not come true in {seconds:g} s"
            )
        time.sleep(0.005)


@contextmanager
def process(*command: object, cores: Iterable[int], log: Path, **options: Any) -> Iterator[Any]:
    with log.open("a") as log_file:
        options = {"stdout": log_file, "stderr": log_file, **options}
        child = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)], **options
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(WAIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for pipe in filter(None, (child.stdin, child.stdout)):
                pipe.close()


class Process:
    """Measures a process from outside."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu(self) -> float:
        """CPU time in seconds, user and kernel."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """VmRSS in MB."""
        return self._proc("status", "VmRSS") / 1000

    def proportional_mb(self) -> float:
        """Pss in MB: shared pages are divided among the processes."""
        return self._proc("smaps_rollup", "Pss") / 1000

    def written_bytes(self) -> float:
        """Bytes written to the block device, without those that were cancelled before."""
        return self._proc("io", "write_bytes") - self._proc("io", "cancelled_write_bytes")

    def _proc(self, file: str, key: str) -> float:
        for line in Path(f"/proc/{self.pid}/{file}").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == key:
                return float(rest.split()[0])
        raise KeyError(key)

    def descendants(self) -> list[Process]:
        """Its children, and their descendants."""
        files = Path(f"/proc/{self.pid}/task").glob("*/children")
        children = [Process(int(pid)) for file in files for pid in file.read_text().split()]
        return [each for child in children for each in (child, *child.descendants())]


class Daemon(Process):
    """`linli run`."""

    def __init__(self, child: subprocess.Popen[str], metrics: int) -> None:
        super().__init__(child.pid)
        self._metrics = f"http://127.0.0.1:{metrics}/metrics"

    def metric(self, name: str) -> float:
        """The sum over all labels of a metric."""
        with urlopen(self._metrics) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


class FieldProgram:
    """A program that simulates field devices; `at`: its URL or URLs."""

    def __init__(self, child: Any) -> None:
        self._child = child
        self.at: Any = json.loads(child.stdout.readline())

    def query(self, question: str = "?") -> Any:
        """Send it a line, and return its answer."""
        self._child.stdin.write(f"{question}\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())


class Rig(ExitStack):
    """The directory and the processes of one measurement; they are ended in reverse order."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.directory = WORK_DIRECTORY / name
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.broker_port = free_port()
        self._metrics_port = free_port()
        self.log = self.directory / "log"

    def start_broker(self) -> ArrivalRecorder:
        """Start a broker without queue limits, and a recorder connected to it."""
        config = self.directory / "mosquitto.conf"
        config.write_text(
            f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\n"
            "set_tcp_nodelay true\nmax_queued_messages 0\n"
        )
        self.enter_context(process("mosquitto", "-c", config, cores=OTHER_CORES, log=self.log))
        wait_until(lambda: accepts_connections(self.broker_port))
        return self.enter_context(ArrivalRecorder(self.broker_port))

    def start_plc(self, connections: int, reply_delay_s: float = 0.0) -> list[str]:
        """Start the PLC program; returns its URLs."""
        urls: list[str] = self.start_program("plc.py", connections, reply_delay_s).at
        return urls

    def start_program(self, program: str, *arguments: object) -> FieldProgram:
        command = sys.executable, Path(__file__).with_name(program), *map(json.dumps, arguments)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return FieldProgram(
            self.enter_context(process(*command, cores=OTHER_CORES, log=self.log, text=True, **pipes))
        )

    def write_site(
        self,
        lines: list[str],
        *,
        devices: int = 100,
        alarms: int = 0,
        points: int = 20,
        every: float = 1.0,
        alarm_every: float = 1.0,
        timeout: float = 2.0,
    ) -> Path:
        """Write a site with `devices` thermometers of `points` points and `alarms` gas detectors on these
        lines."""
        for kind, extra in (("thermometer", ""), ("gas", ALARM)):
            file = self.directory / "profiles" / "bench" / f"{kind}.toml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(
                PROFILE.format(
                    kind=kind,
                    points=points,
                    stamp=STAMP_ADDRESS,
                    first=FIRST_VALUE_ADDRESS,
                    extra=extra,
                    repeat=points - 1 - bool(extra),
                )
            )
        rows = [(f"d{i:03}", "thermometer", every) for i in range(devices)]
        rows += [(f"gas{i:02}", "gas", alarm_every) for i in range(alarms)]
        tables = [
            'schema = "linli/site/1"\n[site]\nid = "bench"\ntitle = "bench"\n'
            f'[journal]\npath = "{self.directory}/journal.db"\n'
            f'[uplink]\nurl = "mqtt://127.0.0.1:{self.broker_port}"\n'
            f'[control]\nsocket = "{self.directory}/sock"\n[metrics]\nport = {self._metrics_port}\n',
            *(
                f'[bus.b{i}]\ndriver = "modbus"\nurl = "{url}"\ntimeout = {timeout}\n'
                for i, url in enumerate(lines)
            ),
            *(
                f'[device.{name}]\nprofile = "bench/{kind}"\nevery = {seconds}\n'
                f'bus = "b{i % len(lines)}"\nunit = {1 + i // len(lines)}\n'
                for i, (name, kind, seconds) in enumerate(rows)
            ),
        ]
        file = self.directory / "site.toml"
        file.write_text("".join(tables))
        return file

    def write_siren_site(self, url: str) -> Path:
        """Write a site with a call point that activates a siren."""
        (file := self.write_site([url], devices=0)).parent.joinpath(
            "profiles", "bench", "desk.toml"
        ).write_text(
            'schema = "linli/profile/1"\nkind = "io-module"\nmaker = "bench"\nmodel = "desk"\n'
            'driver = "modbus"\nsource = "scripts/benchmarks/siren_panel.py"\n'
            '[points.pressed]\ntable = "discrete"\naddress = 0\n'
            'alarm = { hazard = "sos", latch = false, off_delay = 0.0 }\n'
            '[points.siren]\ntable = "coil"\naddress = 0\n'
            "[actions.on]\naddress = 0\nvalue = true\nconfirm = { siren = true }\n"
            "[actions.off]\naddress = 0\nvalue = false\nconfirm = { siren = false }\n"
            "[[examples]]\nraw = { discrete = { 0 = [1] } }\nvalues = { pressed = true }\n"
        )
        with file.open("a") as text:
            text.write(
                '[device.desk]\nprofile = "bench/desk"\nbus = "b0"\nunit = 1\nevery = 0.2\n'
                '[output.siren]\ndevice = "desk"\nhazards = ["sos"]\noff = "off"\nsound = true\n'
            )
        return file

    def start_demo(self, *options: str) -> Path:
        """Start the simulated centre of `scripts/demo`, and write its site, with this directory and free
        ports. `options`: further ones of the simulator."""
        modbus, console = free_port(), free_port()
        self._console = f"http://127.0.0.1:{console}"
        text = (ROOT / "config" / "demo.toml").read_text()
        moved = {".demo/": f"{self.directory}/", "15020": str(modbus), "18830": str(self.broker_port)}
        for old, new in moved.items():
            text = text.replace(old, new)
        file = self.directory / "site.toml"
        file.write_text(f"{text}\n[metrics]\nport = {self._metrics_port}\n")
        command = (
            sys.executable, "-m", "gateway.cli", "simulate", "--dir", self.directory,
            "--modbus-port", modbus, "--console-port", console, "--broker", f"127.0.0.1:{self.broker_port}",
            *options,
        )  # fmt: skip
        self.enter_context(process(*command, cores=OTHER_CORES, log=self.log, cwd=ROOT))
        wait_until(lambda: accepts_connections(console))
        return file

    def press(self, action: str, **parameters: object) -> None:
        """Make something happen in the simulated centre."""
        body = json.dumps(parameters).encode()
        with urlopen(Request(f"{self._console}/do/{action}", body)) as answer:
            answer.read()

    @contextmanager
    def run_daemon(self, site: Path) -> Iterator[Daemon]:
        command = sys.executable, "-m", "gateway.cli", "run", "--config", site
        with process(*command, cores=DAEMON_CORES, log=self.log, cwd=ROOT) as child:
            yield Daemon(child, self._metrics_port)


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
