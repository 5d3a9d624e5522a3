"""`linli rules`: what the rules of the file, and those of the device models, would have done to what the
journal still holds: a new rule can be tried before it wakes anybody."""

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
from gateway.journal import Reader
from gateway.model import Lane
from gateway.terminal.printing import cli_text, print_table
from gateway.terminal.site import site_argument

from ..replay import Replay, reading
from ..services.alarms import of_profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    site_argument(parser)
    parser.add_argument("--days", type=float, default=30.0, help=cli_text("days"))
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> None:
    asyncio.run(_replay(load_site(options.config), options.days, as_json=options.json))


async def _replay(site: Site, days: float, *, as_json: bool) -> None:
    profiles = (rule for each in site.devices.values() for rule in of_profile(each, site.hours))
    known = [*site.part(SafetySite).rules.values(), *profiles]
    since = (time.time() - 86_400 * days) * 1000
    trial = Replay(known, local_time(site.centre.timezone))
    count = 0
    async with Reader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        async for record in reader.records(Lane.TELEMETRY, 0):
            if record.at.wall >= since and (sample := reading(record)):
                trial.take(sample)
                count += 1
    if as_json:
        print(json.dumps([asdict(episode) for episode in trial.episodes], indent=2, ensure_ascii=False))
        return
    zone = ZoneInfo(site.centre.timezone)

    def local(wall: int) -> str:
        return f"{datetime.datetime.fromtimestamp(wall / 1000, zone):%Y-%m-%d %H:%M:%S}"

    print(cli_text("replayed", count=count, rules=len(known), episodes=len(trial.episodes)))
    rows = [
        (
            episode.rule,
            local(episode.began),
            "–" if episode.ended is None else f"{(episode.ended - episode.began) / 1000:.0f}",
            episode.value,
        )
        for episode in trial.episodes
    ]
    print_table([cli_text(head) for head in ("rule", "began", "lasted", "value")], rows)
