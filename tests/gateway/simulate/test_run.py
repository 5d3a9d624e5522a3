from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway.simulate.conftest import Simulator, eventually


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(simulate: Callable[..., Simulator], number: signal.Signals) -> None:
    sim = simulate()
    assert sim.ready == {
        "ready": True,
        "modbus": sim.modbus,
        "console": sim.ready["console"],
        "rs485": str(sim.rs485),
        "lockers": str(sim.lockers),
    }
    assert sim.rs485.is_char_device()
    assert sim.lockers.is_char_device()
    sim.process.send_signal(number)
    assert sim.process.wait(10) == 0
    assert not sim.rs485.is_symlink()
    assert not sim.lockers.is_symlink()


def test_open_connections_do_not_keep_it(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "gateway.simulate", "--dir", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--modbus-port", "0", "--console-port", "0"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        sim = Simulator(process)
        with (
            socket.create_connection(("127.0.0.1", sim.modbus), timeout=5) as master,
            socket.create_connection(("127.0.0.1", sim.ready["console"]), timeout=5) as browser,
        ):
            master.sendall(bytes.fromhex("000100000006010300000001"))
            assert master.recv(64)
            browser.sendall(b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert browser.recv(64)
            process.terminate()
            assert process.wait(10) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_it_is_idle_when_nobody_asks(simulate: Callable[..., Simulator]) -> None:
    sim = simulate()
    stat = Path(f"/proc/{sim.process.pid}/stat")

    def used() -> float:
        return sum(map(int, stat.read_text().rsplit(")")[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")

    began = used()
    with pytest.raises(subprocess.TimeoutExpired):
        sim.process.wait(3)
    assert used() - began < 0.15


def test_a_taken_port_is_named(simulate: Callable[..., Simulator], tmp_path: Path) -> None:
    taken = str(simulate().modbus)
    command = [sys.executable, "-m", "gateway.simulate", "--dir", str(tmp_path / "other")]
    done = subprocess.run(
        [*command, "--modbus-port", taken, "--console-port", "0"],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    text = done.stderr.splitlines()[-1]
    assert f"127.0.0.1:{taken}" in text
    assert "Errno" not in text
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("other/*"))


@pytest.mark.parametrize(
    "option", ["--modbus-port=99999", "--speed=0", "--speed=nan", "--start=25:00", "--broker=x:y"]
)
def test_a_wrong_option_is_refused(option: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.simulate", "--dir", str(tmp_path), option]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert option.split("=", maxsplit=1)[0] in done.stderr


def test_lines_typed_on_a_terminal(tmp_path: Path) -> None:
    near, far = os.openpty()
    command = [sys.executable, "-m", "gateway.simulate", "--dir", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--modbus-port", "0", "--console-port", "0"],
        stdin=far, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            sim = Simulator(process)
            os.write(near, b"smoke 2 on\n")
            eventually(lambda: sim.state()["smoke"]["2"]["status"] == 1)
        finally:
            process.terminate()
            os.close(near)
            os.close(far)
        assert process.stderr
        assert '"action": "smoke"' in process.stderr.read()
