from __future__ import annotations

from pathlib import Path

from gateway.field.scan.ports import scannable_ports, stable_name


def test_every_port_of_the_machine_by_its_best_name(tmp_path: Path) -> None:
    dev, terminals = tmp_path / "dev", tmp_path / "sys/class/tty"
    for folder in (dev / "serial/by-id", dev / "linli", terminals / "console"):
        folder.mkdir(parents=True)
    (terminals / "console/active").write_text("tty0 ttyAMA10\n", "ascii")
    # The kernel makes four ttyS on a PC; those of type 0 are not there.
    for name, kind in (("ttyS0", "4"), ("ttyS1", "0"), ("ttyAMA0", "32"), ("ttyAMA10", "32")):
        (terminals / name).mkdir()
        (terminals / name / "type").write_text(f"{kind}\n", "ascii")
    for name in ("ttyS0", "ttyS1", "ttyAMA0", "ttyAMA10", "ttyUSB0", "ttyUSB1", "ttyUSB2"):
        (dev / name).touch()
    (dev / "serial/by-id/usb-FTDI").symlink_to(dev / "ttyUSB0")
    (dev / "linli/serial-1-1.2-00").symlink_to(dev / "ttyUSB0")
    (dev / "linli/serial-1-1.3-00").symlink_to(dev / "ttyUSB1")
    (dev / "linli-locker").symlink_to(dev / "ttyUSB2")
    assert scannable_ports(tmp_path) == [
        f"{dev}/serial/by-id/usb-FTDI",
        f"{dev}/linli/serial-1-1.3-00",
        f"{dev}/linli-locker",
        f"{dev}/ttyAMA0",
        f"{dev}/ttyS0",
    ]
    assert stable_name(f"{dev}/ttyUSB1", tmp_path) == f"{dev}/linli/serial-1-1.3-00"
    assert stable_name(f"{dev}/ttyS0", tmp_path) == f"{dev}/ttyS0"
