"""What the page of a device shows of its safety: its battery, its tests, and its alarms, faults and
outages of a year."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from gateway.capabilities.safety.history.names import HistoryNames
from gateway.capabilities.safety.history.reading import History
from gateway.capabilities.safety.history.tables import episode_row, event_text
from gateway.capabilities.safety.history.walk_tests import WalkTest, WalkTestLog
from gateway.capabilities.safety.services.batteries import (
    BATTERY_POINT,
    DAY_MS,
    MAX_DAYS_LEFT,
    MIN_FORECAST_DAYS,
    Batteries,
    Battery,
)
from gateway.journal import JournalFailed, JournalReader
from gateway.model import Lane, Record, Sentence, Stamp, sentence
from gateway.web.part import PageContext
from gateway.web.settings import DeviceInfo

HISTORY_DAYS = 366
MAX_SCANNED = 30_000
"""Records of a lane that are read for one page at most."""
MAX_ENTRIES = 30
CHANGES = frozenset({"device-replaced", "battery-replaced", "battery-low", "output"})
"""Kinds of facts of a device that are listed beside its alarms and outages."""
TEST_CHANGES = frozenset({"test-begun", "tested", "test-ended"})


class DeviceEntry(msgspec.Struct, frozen=True):
    """An alarm, a fault, an outage or a replacement, in words. `lasted` is empty while it stands, and of
    what takes no time."""

    time: str
    what: str
    lasted: str = ""
    by: str = ""
    stands: bool = False


class DeviceRecord(msgspec.Struct, frozen=True):
    """`battery`: when it will be empty, or why that cannot be told. `scanned_until`: how far back the
    records were read, where that is less than `HISTORY_DAYS`."""

    battery: Sentence | None
    tests: tuple[WalkTest, ...]
    entries: tuple[DeviceEntry, ...]
    names: HistoryNames
    is_safety_device: bool
    scanned_until: str = ""


async def read_device_record(context: PageContext, info: DeviceInfo, lang: str) -> DeviceRecord:
    """The record of a device; empty where the journal cannot be read."""
    names, now = HistoryNames(context.settings, lang), context.clock.now()
    since_ms, until_ms = now.wall_ms - HISTORY_DAYS * DAY_MS, now.wall_ms + DAY_MS
    journal = context.settings.journal
    battery, tests = None, list[Record]()
    found: list[tuple[int, DeviceEntry]] = []
    scanned_until = None
    try:
        battery = battery_sentence(info, await _battery(journal, info.name), now)
        async with History.open(journal, MAX_SCANNED) as history:
            async for episode in history.episodes(since_ms, until_ms):
                if episode.device == info.name and not episode.drill:
                    row = episode_row(episode, names)
                    what = f"{row.what} · {names.point(episode.point)}"
                    by = names.person(episode.ended.by) if episode.ended and episode.ended.by else ""
                    found.append(
                        (episode.raised.wall_ms, DeviceEntry(row.time, what, row.stood, by, row.stands))
                    )
            async for each in history.records(Lane.ALARM, since_ms, until_ms):
                if each.record.device == info.name and each.record.body.get("change") in TEST_CHANGES:
                    tests.append(msgspec.structs.replace(each.record, at=each.at))
            events = [
                msgspec.structs.replace(each.record, at=each.at)
                async for each in history.records(Lane.EVENT, since_ms, until_ms)
                if each.record.device == info.name and each.record.kind in ("link", *CHANGES)
            ]
            scanned_until = history.scanned_until
            found += _events(reversed(events), names)
    except JournalFailed:
        pass
    log = WalkTestLog("", names.local)
    for record in reversed(tests):
        log.add_record(record)
    found.sort(key=lambda entry: -entry[0])
    return DeviceRecord(
        battery=battery,
        tests=tuple(log.tests()[:MAX_ENTRIES]),
        entries=tuple(entry for _, entry in found[:MAX_ENTRIES]),
        names=names,
        is_safety_device=info.is_safety_device,
        scanned_until=names.time(scanned_until) if scanned_until else "",
    )


async def _battery(journal: Path, device: str) -> Battery | None:
    async with JournalReader.open(journal) as reader:
        row = (await reader.service_rows(Batteries.name)).get(device)
    try:
        return msgspec.msgpack.decode(row, type=Battery) if row else None
    except msgspec.DecodeError:
        return None


def battery_sentence(info: DeviceInfo, battery: Battery | None, now: Stamp) -> Sentence | None:
    """When the battery of a device will be empty, or why that cannot be told; None of a device without."""
    points = {point for point in info.units if point.startswith(BATTERY_POINT) or point == "low_battery"}
    if not points:
        return None
    if BATTERY_POINT not in info.units or BATTERY_POINT in info.boolean_points:
        return sentence("battery.flag-only")
    return _forecast(battery, now) if battery else sentence("battery.unheard")


def _forecast(battery: Battery, now: Stamp) -> Sentence:
    level, days = f"{battery.level:g} {battery.unit}".rstrip(), len(battery.days)
    if battery.left is None:
        key = "battery.too-short" if days < MIN_FORECAST_DAYS else "battery.steady"
        return sentence(key, level=level, days=days, needed=MIN_FORECAST_DAYS)
    if battery.left >= MAX_DAYS_LEFT:
        return sentence("battery.long", level=level, days=days)
    # The forecast was made for the last complete day.
    empty = datetime.fromtimestamp(battery.days[-1][0] * 86_400, UTC) + timedelta(days=battery.left)
    if empty.timestamp() * 1000 < now.wall_ms:
        return sentence("battery.empty", level=level)
    return sentence("battery.month", level=level, days=days, month=f"{empty:%Y-%m}")


def _events(records: Iterable[Record], names: HistoryNames) -> Iterable[tuple[int, DeviceEntry]]:
    """Outages with their durations, and what else was done, oldest first."""
    lost: Record | None = None
    for record in records:
        if record.kind != "link":
            by = names.person(str(record.body.get("by", "")))
            entry = DeviceEntry(names.time(record.at), event_text(record.kind, record.body, names), by=by)
            yield record.at.wall_ms, entry
        elif record.body.get("online"):
            if lost:
                lasted = names.duration(record.at.seconds_since(lost.at))
                yield lost.at.wall_ms, _outage(lost, names, lasted)
            lost = None
        else:
            lost = lost or record
    if lost:
        yield lost.at.wall_ms, _outage(lost, names, "")


def _outage(lost: Record, names: HistoryNames, lasted: str) -> DeviceEntry:
    text = event_text(lost.kind, lost.body, names)
    return DeviceEntry(names.time(lost.at), text, lasted, stands=not lasted)
