"""The monthly test log, to be printed and signed: the tests, alarms and faults of each safety sensor, and
the drills, patrols and findings.

It is made from the facts in the journal, in any order.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.config import Site
from gateway.model import Hazard, Lane, Record, Stamp
from gateway.words import translate, words

from .places import place_text
from .services.emergency_plans import EmergencyPlan
from .services.patrols import Patrol
from .site import SafetySite

LocalClock = Callable[[Stamp], datetime.datetime | None]
MAX_LINES_PER_CELL = 60
"""Entries of a sensor in one cell; the rest are counted."""
EVENT_KINDS = frozenset({"drill-report", "patrol-done", "patrol-missed", "hazard-found", "hazard-closed"})


class LoggedDevice(msgspec.Struct, frozen=True):
    """A configured device, as far as the log names it."""

    title: dict[str, str]
    kind: str
    points: frozenset[str]
    is_safety_device: bool


class LogNames(msgspec.Struct, frozen=True, kw_only=True):
    """What the log names: devices, plans by hazard, patrols, and the titles of rules and outputs."""

    devices: Mapping[str, LoggedDevice] = {}
    plans: Mapping[Hazard, EmergencyPlan] = {}
    patrols: Mapping[str, Patrol] = {}
    rules: Mapping[str, dict[str, str]] = {}
    outputs: Mapping[str, dict[str, str]] = {}


def log_names(site: Site) -> LogNames:
    """The names of a site."""
    part = site.part(SafetySite)
    return LogNames(
        devices={
            name: LoggedDevice(device.title, device.kind, frozenset(device.points), device.is_safety_device)
            for name, device in site.devices.items()
        },
        plans=part.duties.plans,
        patrols=part.duties.patrols,
        rules={rule.point: rule.title for rule in part.rules.values()},
        outputs={name: site.devices[output.device].title for name, output in part.outputs.items()},
    )


class SensorEntry(NamedTuple):
    """An entry for a sensor: a test, an alarm, a fault or a disablement."""

    at: datetime.datetime
    point: str
    by: str
    why: str = ""
    place: str = ""
    where: str = ""
    """The place behind the device, of a point that stands for many: its address, and its name."""


class SensorLog(msgspec.Struct):
    """The entries of one device."""

    tests: list[SensorEntry] = []
    alarms: list[SensorEntry] = []
    faults: list[SensorEntry] = []
    disabled: list[SensorEntry] = []


class LoggedEvent(NamedTuple):
    """A record of a drill, patrol or finding."""

    at: datetime.datetime
    body: dict[str, Any]


class PeriodLog:
    """Collects the records of one month (`2026-11`) or year (`2026`)."""

    def __init__(self, period: str, names: LogNames, local_time: LocalClock) -> None:
        self.period = period
        devices = names.devices.items()
        self.sensors = {name: SensorLog() for name, device in devices if device.is_safety_device}
        self.events: dict[str, list[LoggedEvent]] = {kind: [] for kind in sorted(EVENT_KINDS)}
        self.earlier_findings: dict[str, LoggedEvent] = {}
        """Findings reported earlier and still open when the period began, by id."""
        self.undated = 0
        """How many records have no known time, because the clock was never set in that boot."""
        self._local_time = local_time
        self._open_alarms: dict[str, int] = {}

    def add_record(self, record: Record) -> None:
        """Add a record of the alarm or event lane."""
        is_relevant = (record.lane is Lane.ALARM and record.kind == "alarm") or record.kind in EVENT_KINDS
        if not is_relevant:
            return
        at = self._local_time(record.at)
        if at is None:
            self.undated += 1
        elif f"{at:%Y-%m}".startswith(self.period):
            if record.kind == "alarm":
                self._add_alarm_change(record, at)
            else:
                self.events[record.kind].append(LoggedEvent(at, record.body))
        elif f"{at:%Y-%m}" < self.period:
            if record.kind == "hazard-found":
                self.earlier_findings[record.body["id"]] = LoggedEvent(at, record.body)
            elif record.kind == "hazard-closed":
                self.earlier_findings.pop(record.body["id"], None)

    def _add_alarm_change(self, record: Record, at: datetime.datetime) -> None:
        body = record.body
        if body.get("mode") == "drill":
            return
        sensor = self.sensors.setdefault(record.device, SensorLog())
        texts = (body.get(key, "") for key in ("by", "why", "place", "where"))
        entry = SensorEntry(at, body["point"], *texts)
        change, alarm_id = body["change"], body["id"]
        if change == "tested":
            sensor.tests.append(entry)
        elif change == "disabled":
            sensor.disabled.append(entry)
        elif change == "raised" and body["hazard"] == Hazard.FAULT:
            sensor.faults.append(entry)
        elif change == "raised":
            self._open_alarms[alarm_id] = len(sensor.alarms)
            sensor.alarms.append(entry)
        elif change in ("acknowledged", "closed") and alarm_id in self._open_alarms:
            index = self._open_alarms.pop(alarm_id)
            sensor.alarms[index] = sensor.alarms[index]._replace(by=entry.by)


class LogTable(NamedTuple):
    """A table of texts; a cell may have several lines."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def log_tables(log: PeriodLog, names: LogNames, language: str) -> list[LogTable]:
    """The tables of the log in a language."""
    sensors = (_sensor_row(name, sensor, names, language) for name, sensor in log.sensors.items())
    return [
        _table("sensors", "device kind tests alarms faults disabled", sensors, language),
        drill_table(log, names, language),
        _table("patrols", "patrol rounds missed by", _patrol_rows(log, names, language), language),
        _table(
            "hazards",
            "found where what severity by closed closed-by lasted",
            _finding_rows(log, language),
            language,
        ),
    ]


def drill_table(log: PeriodLog, names: LogNames, language: str) -> LogTable:
    """The drills of the log in a language."""
    rows = (_drill_row(each, names.plans, language) for each in log.events["drill-report"])
    return _table("drills", "time hazard by lasted steps skipped muster", rows, language)


def _table(title: str, heads: str, rows: Iterable[list[str]], language: str) -> LogTable:
    words = [translate(language, f"testlog.{head}") for head in heads.split()]
    return LogTable(translate(language, f"testlog.{title}"), words, list(rows))


def _sensor_row(name: str, sensor: SensorLog, names: LogNames, language: str) -> list[str]:
    device = names.devices.get(name)

    def line(entry: SensorEntry) -> str:
        texts = (
            f"{entry.at:%m-%d %H:%M}",
            _point_title(entry.point, device, names, language),
            place_text(language, entry.place, entry.where),
            _person(entry.by, language),
            entry.why,
        )
        return " ".join(filter(None, texts))

    def lines(entries: list[SensorEntry]) -> str:
        listed = [line(each) for each in sorted(entries)[:MAX_LINES_PER_CELL]]
        if more := len(entries) - len(listed):
            listed.append(translate(language, "testlog.more", count=more))
        return "\n".join(listed)

    return [
        device.title[language] if device else words(language).get(f"history-device.{name}", name),
        translate(language, f"kind.{device.kind}") if device else "",
        lines(sensor.tests) or (translate(language, "testlog.untested") if device else ""),
        lines(sensor.alarms),
        lines(sensor.faults),
        lines(sensor.disabled),
    ]


def _point_title(point: str, device: LoggedDevice | None, names: LogNames, language: str) -> str:
    """The word for a point, or the title of a rule or an output; its name if it has none."""
    title = names.rules.get(point) or names.outputs.get(point.removesuffix(".failed"))
    if title is not None and (device is None or point not in device.points):
        return title.get(language, point)
    name, _, number = point.partition(".")
    word = words(language).get(f"point.{name}")
    return f"{word} {number}".rstrip() if word else point


def _drill_row(drill: LoggedEvent, plans: Mapping[Hazard, EmergencyPlan], language: str) -> list[str]:
    body = drill.body
    plan = plans.get(Hazard(body["hazard"]))
    words = {name: step.do[language] for name, step in plan.steps.items()} if plan else {}
    skipped = body["skipped"]
    inside, found = (("?" if body[key] is None else body[key]) for key in ("inside", "found"))
    began = drill.at - datetime.timedelta(seconds=body["seconds"] or 0)
    return [
        f"{began:%m-%d %H:%M}",
        translate(language, f"hazard.{body['hazard']}"),
        _person(body["by"], language),
        _duration(body["seconds"], language),
        f"{len(body['steps'])}/{len(body['steps']) + len(skipped)}",
        "\n".join(words.get(step, step) for step in skipped),
        f"{found}/{inside}",
    ]


def _patrol_rows(log: PeriodLog, names: LogNames, language: str) -> Iterable[list[str]]:
    """A row for each patrol: how many rounds were done, by whom, and which were missed."""
    done, missed = log.events["patrol-done"], log.events["patrol-missed"]
    named = (each.body["patrol"] for each in (*done, *missed))
    comma = translate(language, "testlog.comma")
    for name in dict.fromkeys((*names.patrols, *named)):
        patrol = names.patrols.get(name)
        titles = patrol.checkpoints if patrol else {}
        people = {who for each in done if each.body["patrol"] == name for who in each.body["by"]}
        yield [
            patrol.title[language] if patrol else name,
            str(sum(each.body["patrol"] == name for each in done)),
            "\n".join(
                f"{each.body['round']} "
                + comma.join(titles.get(point, {}).get(language, point) for point in each.body["unseen"])
                for each in missed
                if each.body["patrol"] == name
            ),
            comma.join(sorted(people)),
        ]


def _finding_rows(log: PeriodLog, language: str) -> Iterable[list[str]]:
    """A row for each finding that was open at any time in the period."""
    closed = {each.body["id"]: each for each in log.events["hazard-closed"]}
    found = log.earlier_findings | {each.body["id"]: each for each in log.events["hazard-found"]}
    for key in dict.fromkeys((*found, *closed)):
        body = (closed.get(key) or found[key]).body
        yield [
            f"{found[key].at:%Y-%m-%d %H:%M}" if key in found else "?",
            body["where"],
            body["what"],
            translate(language, f"testlog.{body['severity']}"),
            _person(body["by"], language),
            body.get("done", translate(language, "testlog.open")),
            _person(body.get("closed_by", ""), language),
            _duration(body.get("seconds"), language) if key in closed else "",
        ]


def _person(name: str, language: str) -> str:
    """A person; where it was done, if nobody gave a name."""
    return words(language).get(f"origin.{name}", name)


def _duration(seconds: float | None, language: str) -> str:
    if seconds is None:
        return "?"
    if seconds < 3600:
        return translate(language, "testlog.minutes", n=f"{seconds / 60:.1f}")
    return translate(language, "testlog.hours", n=f"{seconds / 3600:.1f}")
