"""`linli doctor`: the bus doctor's report; exit code 1 if it has found anything that can be mended."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
from typing import Any

from gateway.base import control
from gateway.config import Site
from gateway.model import duration
from gateway.services.presence import DeviceState
from gateway.terminal.printing import print_table
from gateway.terminal.site import add_site_argument, load_running_site
from gateway.web.certificates import serving_findings
from gateway.words import preferred_language, translate

INFORMATIVE = ("restriction", "uplink-restriction", "uplink-unsigned")
"""Findings about which nothing has to be done."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_site_argument(parser)
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> int:
    site = load_running_site(options)
    answer = asyncio.run(control.call_daemon(site.control.socket, "doctor"))
    buses, findings = answer["buses"], answer["gateway"]
    findings += [
        {"key": key, "facts": facts}
        for key, facts in serving_findings(site.dashboard, datetime.datetime.now(datetime.UTC))
    ]
    if options.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        for bus, report in buses.items():
            _print_line(site, bus, report)
        for finding in findings:
            print("→ " + translate(preferred_language(), f"doctor.{finding['key']}", **finding["facts"]))
    every = [*findings, *(finding for report in buses.values() for finding in report["findings"])]
    return int(any(finding["key"] not in INFORMATIVE for finding in every))


def _print_line(site: Site, bus: str, report: dict[str, Any]) -> None:
    language = preferred_language()
    print(translate(language, "doctor.use", bus=bus, use=report["use"]))
    names = ("device", "state", "share", "polls", "silent", "damaged", "refused", "p50", "p99")
    rows = [
        ["–" if (cell := row.get(name)) is None else cell for name in names]
        for device in report["devices"]
        for row in [{**device, "state": _device_state(language, device)}]
    ]
    print_table([translate(language, f"doctor.{name}") for name in names], rows)
    for finding in report["findings"]:
        device = site.devices.get(finding["device"])
        name = device.title[language] if device else ""
        print("→ " + translate(language, f"doctor.{finding['key']}", name=name, **finding["facts"]))
    if not report["findings"]:
        print(translate(language, "doctor.well"))
    print()


def _device_state(language: str, device: dict[str, Any]) -> str:
    """The state, and for how long nothing good has come from a device that is not online."""
    state = translate(language, f"doctor.{device['state']}")
    if device["state"] == DeviceState.ONLINE or device["silent_s"] is None:
        return state
    return translate(language, "doctor.since", state=state, since=duration(device["silent_s"]))
