"""`linli rules`: the alarms that the rules of the site file and of the device profiles would have raised
on the readings in the journal. A new rule can be tested before it is used."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import time
from zoneinfo import ZoneInfo

from msgspec.structs import asdict

from gateway.base.clock import local_day, local_time
from gateway.capabilities.safety.site import SafetySite
from gateway.config import Site, load_site
from gateway.journal import JournalReader
from gateway.model import Lane
from gateway.terminal.printing import cli_text, print_table
from gateway.terminal.site import add_site_argument

from ..replay import RuleReplay, sample_of_record
from ..services.alarms import rules_of_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options."""
    add_site_argument(parser)
    parser.add_argument("--days", type=float, default=30.0, help=cli_text("days"))
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> None:
    asyncio.run(_print_replay(load_site(options.config), options.days, as_json=options.json))


async def _print_replay(site: Site, days: float, *, as_json: bool) -> None:
    profiles = (rule for each in site.devices.values() for rule in rules_of_device(each, site.hours))
    rules = [*site.part(SafetySite).rules.values(), *profiles]
    since_ms = (time.time() - 86_400 * days) * 1000
    replay = RuleReplay(rules, local_time(site.centre.timezone))
    count = 0
    async with JournalReader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        async for record in reader.records(Lane.TELEMETRY, 0):
            if record.at.wall_ms >= since_ms and (sample := sample_of_record(record)):
                replay.process_sample(sample)
                count += 1
    if as_json:
        print(json.dumps([asdict(alarm) for alarm in replay.alarms], indent=2, ensure_ascii=False))
        return
    zone = ZoneInfo(site.centre.timezone)

    def local_text(wall_ms: int) -> str:
        return f"{datetime.datetime.fromtimestamp(wall_ms / 1000, zone):%Y-%m-%d %H:%M:%S}"

    print(cli_text("replayed", count=count, rules=len(rules), episodes=len(replay.alarms)))
    rows = [
        (
            alarm.rule,
            local_text(alarm.began),
            "–" if alarm.ended is None else f"{(alarm.ended - alarm.began) / 1000:.0f}",
            alarm.value,
        )
        for alarm in replay.alarms
    ]
    print_table([cli_text(head) for head in ("rule", "began", "lasted", "value")], rows)
