"""`linli doctor` against a running daemon: what it finds, and its exit code."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.gateway.conftest import linli
from tests.gateway.daemon.test_reload_live import House, Server
from tests.gateway.simulate.conftest import eventually
from tests.gateway.sites import bus, device
from tests.gateway.uplink.kit import mosquitto
from tests.ports import free_port


@pytest.mark.parametrize(
    ("lines", "code", "key"),
    [
        (("retain_available false",), 0, "uplink-restriction"),
        (("acl_file {acl}",), 1, "uplink-error"),
    ],
)
def test_what_cannot_be_mended_is_told_and_is_no_failure(
    tmp_path: Path, lines: tuple[str, ...], code: int, key: str
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read #\n")
    acl.chmod(0o600)
    smoke, house, port = Server(), House(tmp_path), free_port()
    uplink = f'\n[uplink]\nurl = "mqtt://127.0.0.1:{port}"\n'
    house.write(bus("line", smoke.port), device("a", "line"), uplink)
    with mosquitto(tmp_path, port, *(line.format(acl=acl) for line in lines)):
        house.start()
        try:
            eventually(lambda: house.logged("broker-restricted"))
            eventually(lambda: "online" in linli("doctor", "--config", house.file).stdout)
            found = linli("doctor", "--config", house.file)
            assert (found.returncode, found.stderr) == (code, "")
            assert "→ Platform (uplink): " in found.stdout
            answer = json.loads(linli("doctor", "--json", "--config", house.file).stdout)
            assert {finding["key"] for finding in answer["gateway"]} == {key}
            # On a busy machine the device may be slow.
            assert {each["key"] for each in answer["buses"]["line"]["findings"]} <= {"device-slow"}
        finally:
            house.end(signal.SIGKILL)
            smoke.close()
