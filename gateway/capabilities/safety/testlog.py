"""The monthly test log, to be printed and signed: what each safety sensor proved, and what people did.

It is taken from the journal's facts, in any order.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.config import Site
from gateway.model import Device, Hazard, Lane, Record, Stamp
from gateway.web.markup import add, document, table, written
from gateway.words import translate

from .services.response import Plan
from .site import SafetySite

Local = Callable[[Stamp], datetime.datetime | None]
EVENTS = frozenset({"drill-report", "patrol-done", "patrol-missed", "hazard-found", "hazard-closed"})


class Proof(NamedTuple):
    """One line about a sensor: a test, an alarm, a fault or a disablement."""

    at: datetime.datetime
    point: str
    by: str
    why: str = ""


class SensorLog(msgspec.Struct):
    """One device's month."""

    tests: list[Proof] = []
    alarms: list[Proof] = []
    faults: list[Proof] = []
    disabled: list[Proof] = []


class Happening(NamedTuple):
    """A drill, patrol or hazard."""

    at: datetime.datetime
    body: dict[str, Any]


class PeriodLog:
    """Takes records, and keeps what belongs to one month (`2026-11`) or year (`2026`)."""

    def __init__(self, period: str, devices: Mapping[str, Device], local: Local) -> None:
        self.period = period
        self.sensors = {name: SensorLog() for name, device in devices.items() if device.safety}
        self.events: dict[str, list[Happening]] = {kind: [] for kind in sorted(EVENTS)}
        self.older: dict[str, Happening] = {}
        """Hazards found before, and still open when the period began, by id."""
        self.undated = 0
        """Records whose time nobody knows: made before the clock was set, in a boot that never set it."""
        self._local = local
        self._alarms: dict[str, int] = {}

    def take(self, record: Record) -> None:
        """One record of the alarm or event lane."""
        wanted = (record.lane is Lane.ALARM and record.kind == "alarm") or record.kind in EVENTS
        if not wanted:
            return
        at = self._local(record.at)
        if at is None:
            self.undated += 1
        elif f"{at:%Y-%m}".startswith(self.period):
            if record.kind == "alarm":
                self._prove(record, at)
            else:
                self.events[record.kind].append(Happening(at, record.body))
        elif f"{at:%Y-%m}" < self.period:
            if record.kind == "hazard-found":
                self.older[record.body["id"]] = Happening(at, record.body)
            elif record.kind == "hazard-closed":
                self.older.pop(record.body["id"], None)

    def _prove(self, record: Record, at: datetime.datetime) -> None:
        body = record.body
        if body.get("mode") == "drill":
            return
        sensor = self.sensors.setdefault(record.device, SensorLog())
        proof = Proof(at, body["point"], body.get("by", ""), body.get("why", ""))
        change, alarm = body["change"], body["id"]
        if change == "tested":
            sensor.tests.append(proof)
        elif change == "disabled":
            sensor.disabled.append(proof)
        elif change == "raised" and body["hazard"] == Hazard.FAULT:
            sensor.faults.append(proof)
        elif change == "raised":
            self._alarms[alarm] = len(sensor.alarms)
            sensor.alarms.append(proof)
        elif change in ("acknowledged", "closed") and alarm in self._alarms:
            number = self._alarms.pop(alarm)
            sensor.alarms[number] = sensor.alarms[number]._replace(by=proof.by)


class Table(NamedTuple):
    """What is printed; a cell may have several lines."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def tables(log: PeriodLog, site: Site, language: str) -> list[Table]:
    """The log in words."""
    sensors = (_sensor_row(name, sensor, site, language) for name, sensor in log.sensors.items())
    return [
        _table("sensors", "device kind tests alarms faults disabled", sensors, language),
        drills(log, site, language),
        _table("patrols", "patrol rounds missed by", _patrol_rows(log, site, language), language),
        _table(
            "hazards",
            "found where what severity by closed closed-by lasted",
            _hazard_rows(log, language),
            language,
        ),
    ]


def drills(log: PeriodLog, site: Site, language: str) -> Table:
    """The drills of the log in words."""
    rows = (
        _drill_row(each, site.part(SafetySite).duties.plans, language)
        for each in log.events["drill-report"]
    )
    return _table("drills", "time hazard by lasted steps skipped muster", rows, language)


def _table(title: str, heads: str, rows: Iterable[list[str]], language: str) -> Table:
    words = [translate(language, f"testlog.{head}") for head in heads.split()]
    return Table(translate(language, f"testlog.{title}"), words, list(rows))


def _sensor_row(name: str, sensor: SensorLog, site: Site, language: str) -> list[str]:
    device = site.devices.get(name)

    def lines(proofs: list[Proof]) -> str:
        return "\n".join(
            " ".join(
                filter(
                    None,
                    (
                        f"{each.at:%m-%d %H:%M}",
                        _point(each.point, device, language),
                        each.by,
                        each.why,
                    ),
                )
            )
            for each in sorted(proofs)
        )

    return [
        device.title[language] if device else name,
        translate(language, f"kind.{device.kind}") if device else "",
        lines(sensor.tests) or (translate(language, "testlog.untested") if device else ""),
        lines(sensor.alarms),
        lines(sensor.faults),
        lines(sensor.disabled),
    ]


def _point(point: str, device: Device | None, language: str) -> str:
    """A point's word; a rule's name stands for itself."""
    known = point == "link" or (device is not None and point in device.points)
    name, _, number = point.partition(".")
    return f"{translate(language, f'point.{name}')} {number}".rstrip() if known else point


def _drill_row(drill: Happening, plans: Mapping[Hazard, Plan], language: str) -> list[str]:
    body = drill.body
    plan = plans.get(Hazard(body["hazard"]))
    words = {name: step.do[language] for name, step in plan.steps.items()} if plan else {}
    skipped = body["skipped"]
    inside, found = (("?" if body[key] is None else body[key]) for key in ("inside", "found"))
    began = drill.at - datetime.timedelta(seconds=body["seconds"] or 0)
    return [
        f"{began:%m-%d %H:%M}",
        translate(language, f"hazard.{body['hazard']}"),
        body["by"],
        _lasted(body["seconds"], language),
        f"{len(body['steps'])}/{len(body['steps']) + len(skipped)}",
        "\n".join(words.get(step, step) for step in skipped),
        f"{found}/{inside}",
    ]


def _patrol_rows(log: PeriodLog, site: Site, language: str) -> Iterable[list[str]]:
    """A line a patrol: how many rounds were done, by whom, and which were missed."""
    done, missed = log.events["patrol-done"], log.events["patrol-missed"]
    named = (each.body["patrol"] for each in (*done, *missed))
    comma = translate(language, "testlog.comma")
    for name in dict.fromkeys((*site.part(SafetySite).duties.patrols, *named)):
        patrol = site.part(SafetySite).duties.patrols.get(name)
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


def _hazard_rows(log: PeriodLog, language: str) -> Iterable[list[str]]:
    """Those that were open for any of the time, once each."""
    closed = {each.body["id"]: each for each in log.events["hazard-closed"]}
    found = log.older | {each.body["id"]: each for each in log.events["hazard-found"]}
    for key in dict.fromkeys((*found, *closed)):
        body = (closed.get(key) or found[key]).body
        yield [
            f"{found[key].at:%Y-%m-%d %H:%M}" if key in found else "?",
            body["where"],
            body["what"],
            translate(language, f"testlog.{body['severity']}"),
            body["by"],
            body.get("done", translate(language, "testlog.open")),
            body.get("closed_by", ""),
            _lasted(body.get("seconds"), language) if key in closed else "",
        ]


def _lasted(seconds: float | None, language: str) -> str:
    if seconds is None:
        return "?"
    if seconds < 3600:
        return translate(language, "testlog.minutes", n=f"{seconds / 60:.1f}")
    return translate(language, "testlog.hours", n=f"{seconds / 3600:.1f}")


STYLE = """
@page { size: A4 landscape; margin: 12mm }
* { box-sizing: border-box }
body { font: 10pt/1.45 "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; margin: 0 auto; max-width: 270mm;
  color: #000; background: #fff }
h1 { font-size: 16pt; margin: 0 0 2mm } h2 { font-size: 12pt; margin: 6mm 0 2mm }
.note { border: 1pt solid #000; padding: 2mm 3mm; font-weight: bold }
table { border-collapse: collapse; width: 100% } thead { display: table-header-group }
th, td { border: .5pt solid #444; padding: 1mm 2mm; text-align: left; vertical-align: top;
  white-space: pre-line; overflow-wrap: anywhere }
th { background: #eee; white-space: nowrap; print-color-adjust: exact } tr { break-inside: avoid }
.sign { display: flex; gap: 8mm; margin-top: 14mm; break-inside: avoid }
.sign span { flex: 1; border-bottom: .5pt solid #000; padding-bottom: 1mm }
"""


def page(log: PeriodLog, site: Site, language: str) -> str:
    """The log as one HTML file for the printer."""

    def word(key: str, **facts: object) -> str:
        return translate(language, f"testlog.{key}", **facts)

    title = word("title", month=log.period, centre=_title(site, language))
    html, head, body = document(language, title)
    add(head, "style", STYLE)
    add(body, "h1", title)
    add(body, "p", word("auxiliary"), kind="note")
    for each in tables(log, site, language):
        add(body, "h2", each.title)
        if each.rows:
            table(body, each.heads, ([(text, "") for text in row] for row in each.rows))
        else:
            add(body, "p", word("none"))
    if log.undated:
        add(body, "p", word("undated", count=log.undated))
    signatures = add(body, "div", kind="sign")
    for who in ("tester", "keeper", "manager", "date"):
        add(signatures, "span", word(who))
    return written(html)


def _title(site: Site, language: str) -> str:
    title = site.centre.title
    return title if isinstance(title, str) else title.get(language, next(iter(title.values())))
