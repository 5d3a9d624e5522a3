"""`linli receive`: the platform's end of the native dialect, from an MQTT broker into PostgreSQL."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.base import log
from gateway.base.clock import SystemClock
from gateway.model import ConfigError, GatewayError, is_server_url
from gateway.terminal.printing import cli_text, lane_text, lost_text, print_table, single_line_cells
from gateway.wire.broker import BrokerOptions
from gateway.words import preferred_language, translate

if TYPE_CHECKING:
    from gateway.receiver import DayReport, Missing

DEFAULT_BROKER = "mqtt://localhost:1883"
DEFAULT_DAYS = 7
"""That a report is about, with today."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "act", nargs="?", default="run", choices=("run", "report"), help=cli_text("receive-act")
    )
    parser.add_argument(
        "--database", default=os.environ.get("LINLI_DATABASE", ""), help=cli_text("receive-database")
    )
    parser.add_argument("--broker", action="append", default=[], help=cli_text("receive-broker"))
    parser.add_argument("--username", default="", help=cli_text("receive-username"))
    for name in ("password", "ca", "certificate", "private-key"):
        parser.add_argument(f"--{name}-file", type=Path, help=cli_text(f"receive-{name}"))
    parser.add_argument("--group", default="linli", help=cli_text("receive-group"))
    parser.add_argument(
        "--name", default=f"linli-receive-{socket.gethostname()}", help=cli_text("receive-name")
    )
    parser.add_argument("--site", default="", help=cli_text("receive-site"))
    parser.add_argument("--day", default="", help="2026-11-21")
    parser.add_argument("--timezone", default="Asia/Shanghai", help=cli_text("receive-timezone"))
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> int:
    if options.act == "report":
        return _print_report(*asyncio.run(_report(options)), as_json=options.json)
    brokers = [_broker(url, options) for url in options.broker or [DEFAULT_BROKER]]
    log.setup_logging(preferred_language())
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_receive(brokers, options))
    return 0


async def _receive(brokers: Sequence[BrokerOptions], options: argparse.Namespace) -> None:
    try:
        from gateway.receiver import Receiver  # noqa: PLC0415  its library is an extra
    except ImportError as error:
        raise ConfigError("receiver-package") from error
    receiving = asyncio.ensure_future(
        Receiver(brokers, options.database, options.group, SystemClock()).run()
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, receiving.cancel)
    await receiving


def _broker(url: str, options: argparse.Namespace) -> BrokerOptions:
    """Raises `ConfigError`."""
    if not is_server_url(url, "mqtt", "mqtts"):
        raise ConfigError("mqtt-url")
    broker = BrokerOptions(
        url=url,
        username=options.username,
        password_file=options.password_file,
        client_id=options.name,
        ca_file=options.ca_file,
        certificate_file=options.certificate_file,
        private_key_file=options.private_key_file,
    )
    for check, key in broker.STRUCT_CHECKS.values():
        if not check(broker):
            raise ConfigError(key)
    if not options.name or set("/+#") & set(options.group):
        raise ConfigError("receiver-name")
    return broker


async def _report(options: argparse.Namespace) -> tuple[list[DayReport], Mapping[str, int]]:
    try:
        from gateway.receiver import Database, make_reports  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("receiver-package") from error
    try:
        today = datetime.datetime.now(ZoneInfo(options.timezone)).date()
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise GatewayError("timezone-unknown") from error
    first = (today - datetime.timedelta(days=DEFAULT_DAYS - 1)).isoformat()
    if options.day:
        try:
            first = datetime.date.fromisoformat(options.day).isoformat()
        except ValueError as error:
            raise GatewayError("report-day", value=options.day) from error
    async with Database.open(options.database, migrate=False) as database:
        stored = await database.stored(
            options.site, first, first if options.day else today.isoformat(), options.timezone
        )
    reports = make_reports(stored)
    if not reports:
        raise GatewayError("report-nothing")
    return reports, stored.rejected


def _print_report(reports: Sequence[DayReport], rejected: Mapping[str, int], *, as_json: bool) -> int:
    """The exit code: 1 if something is missing and nobody has said why."""
    code = int(any(report.unexplained for report in reports))
    if as_json:
        print(json.dumps([_as_json(report) for report in reports], indent=2, ensure_ascii=False))
        return code
    for is_explained in (False, True):
        for report in reports:
            for each in report.missing:
                if bool(each.reason) is is_explained:
                    print(_missing_text(report, each))
    if rejected:
        kinds = (
            f"{translate(preferred_language(), f'rejected.{kind}')} × {count}"
            for kind, count in rejected.items()
        )
        print(cli_text("receive-rejected", kinds="; ".join(kinds)))
    heads = ("site", "day", "records", "explained", "unexplained", "result")
    print_table(
        [cli_text(f"receive-head-{head}") for head in heads],
        [
            (
                *single_line_cells((report.site,)), report.day, report.records, report.explained,
                report.unexplained, cli_text(f"receive-{_result(report)}"),
            )
            for report in reports
        ],
    )  # fmt: skip
    return code


def _result(report: DayReport) -> str:
    return "unexplained" if report.unexplained else "explained" if report.missing else "complete"


def _missing_text(report: DayReport, missing: Missing) -> str:
    facts = {
        "site": report.site, "day": report.day, "device": missing.device, "lane": lane_text(missing.lane),
        "epoch": missing.epoch, "first": missing.first, "last": missing.last, "count": missing.count,
    }  # fmt: skip
    if missing.reason:
        reason = lost_text(missing.reason)
        text = cli_text(
            "receive-gap", **facts, reason=missing.reason if reason.startswith("lost.") else reason
        )
    else:
        text = cli_text("receive-hole", **facts)
    return single_line_cells((text,))[0]  # The names are whatever somebody has published.


def _as_json(report: DayReport) -> dict[str, object]:
    return {
        "site": report.site,
        "day": report.day,
        "records": report.records,
        "complete": not report.missing,
        "unexplained": report.unexplained,
        "explained": report.explained,
        "missing": [
            {
                "epoch": each.epoch, "device": each.device, "lane": each.lane,
                "first": each.first, "last": each.last, "reason": each.reason or None,
            }
            for each in report.missing
        ],
    }  # fmt: skip
