"""Small sites to write down: Modbus TCP lines of the test's own, and devices on them."""

from __future__ import annotations

HEAD = """\
schema = "linli/site/1"

[site]
id = "demo"
title = "Demo"

[journal]
path = "{folder}/journal.db"

[control]
socket = "{folder}/control.sock"

[dashboard]
access = "{folder}/access.key"
port = {web}

[metrics]
port = {metrics}
"""


def bus(name: str, port: int) -> str:
    return f'\n[bus.{name}]\ndriver = "modbus"\nurl = "tcp://127.0.0.1:{port}"\ntimeout = 0.2\n'


def device(
    name: str, line: str, unit: int = 1, profile: str = "smoke/generic-rs485", more: str = ""
) -> str:
    return f'\n[device.{name}]\nprofile = "{profile}"\nbus = "{line}"\nunit = {unit}\n{more}'
