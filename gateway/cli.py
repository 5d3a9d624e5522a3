"""`linli`: one command a job. Libraries are imported by the job that needs them."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from . import __version__
from .model import ConfigError, GatewayError
from .words import because, preferred, say, words

if TYPE_CHECKING:
    from .config import Profile, Site
    from .model import Lane
    from .testlog import PeriodLog

EX_CONFIG = 78
"""sysexits.h: something was found in a configuration file; systemd does not restart on it."""
DEFAULT_SITE = Path("/etc/linli/site.toml")
EXPIRES = 15_000
"""Milliseconds in which a command must have begun."""
LASTING = (Path("/dev/serial/by-id"), Path("/dev/linli"))
"""Where serial ports have names that stay: by the adapter, and by the socket it sits in."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.job(options) or 0)
    except ConfigError as error:
        for mistake in getattr(error, "mistakes", ()):
            print(mistake.say(preferred()), file=sys.stderr)
        print(_sentence(error), file=sys.stderr)
        return EX_CONFIG
    except GatewayError as error:
        print(_sentence(error), file=sys.stderr)
        return 1
    except OSError as error:
        print(say(preferred(), "error.system", reason=error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _sentence(error: GatewayError) -> str:
    return say(preferred(), f"error.{error.key}", **error.facts)


def _word(key: str, /, **facts: object) -> str:
    return say(preferred(), f"cli.{key}", **facts)


def _parser() -> argparse.ArgumentParser:  # noqa: PLR0915
    parser = argparse.ArgumentParser("linli", description=_word("about"))
    parser.add_argument("--version", action="version", version=f"linli {__version__}")
    jobs = parser.add_subparsers(required=True, metavar="…")

    def job(name: str, run: Any, *, site: bool = True) -> argparse.ArgumentParser:
        command = jobs.add_parser(name, help=_word(name), description=_word(name))
        command.set_defaults(job=run)
        if site:
            command.add_argument("--config", type=Path, default=DEFAULT_SITE, help=_word("site-file"))
        return command

    job("run", _run)
    job("check", _check, site=False).add_argument("files", nargs="*", type=Path, default=[DEFAULT_SITE])
    reload = job("reload", _reload)
    reload.add_argument("--no-wait", action="store_true", help=_word("no-wait"))
    reload.add_argument("--no-return", action="store_true", help=_word("no-return"))
    config = job("config", _config)
    config.add_argument("--text", action="store_true", help=_word("config-text"))
    config.add_argument("--json", action="store_true")
    job("dashboard", _dashboard)
    job("read", _read).add_argument("device")
    do = job("do", _do)
    do.add_argument("device")
    do.add_argument("action")
    do.add_argument("args", nargs="*", metavar=_word("do-args"))
    do.add_argument("--yes", action="store_true", help=_word("do-yes"))
    job("doctor", _doctor).add_argument("--json", action="store_true")
    job("journal", _journal).add_argument("--json", action="store_true")
    job("notify-test", _notify_test).add_argument("contact")
    rules = job("rules", _rules)
    rules.add_argument("--days", type=float, default=30.0, help=_word("days"))
    rules.add_argument("--json", action="store_true")
    drills = job("drills", _drills)
    drills.add_argument("--year", type=int, help="2026")
    drills.add_argument("--json", action="store_true")
    testlog = job("testlog", _testlog)
    testlog.add_argument("--month", required=True, type=_month, help="2026-11")
    testlog.add_argument("--html", type=Path, metavar="FILE", help=_word("html"))
    ledger = job("ledger", _ledger)
    ledger.add_argument("--day", help="2026-11-21")
    ledger.add_argument("--json", action="store_true")
    job("asyncapi", _asyncapi, site=False)
    scan = job("scan", _scan)
    if "scan" in sys.argv[1:2]:
        from .scan import add_arguments as add_scan_arguments

        add_scan_arguments(scan)
    count = job("count-visitors", _count_visitors, site=False)
    if "count-visitors" in sys.argv[1:2]:
        from .count_visitors import add_arguments as add_count_arguments

        add_count_arguments(count)
    simulate = job("simulate", _simulate, site=False)
    if "simulate" in sys.argv[1:2]:
        from .simulate import add_arguments

        add_arguments(simulate)
    return parser


def _run(options: argparse.Namespace) -> None:
    from . import daemon, log
    from .adoption import choose

    choice = choose(options.config)
    log.setup(choice.site.centre.language)
    asyncio.run(daemon.run(options.config, choice))


def _site(options: argparse.Namespace) -> Site:
    """The site as `linli run` would take it. Raises `Mistakes`."""
    from .adoption import choose

    choice = choose(options.config)
    for mistake in choice.refused:
        print(mistake.say(preferred()), file=sys.stderr)
    if choice.refused:
        print(_word("last-good"), file=sys.stderr)
    return choice.site


def _reload(options: argparse.Namespace) -> int:
    """Asked for at the socket that the running gateway listens on, whatever the new file says."""
    from .adoption import load_sources, recall
    from .config import Mistakes, load_site

    try:
        site = load_site(options.config)
        kept = recall(options.config, site.journal.path)
        running = (kept and load_sources(options.config, kept.sources)) or site
        asyncio.run(_ask_to_reload(running.control.socket, options))
    except Mistakes as wrong:
        for mistake in wrong.mistakes:
            print(mistake.say(preferred()), file=sys.stderr)
        print(say(preferred(), "error.reload-refused", **wrong.facts), file=sys.stderr)
        return EX_CONFIG
    return 0


async def _ask_to_reload(socket: Path, options: argparse.Namespace) -> None:
    from . import control
    from .config import Mistake, Mistakes

    answer = await control.call(socket, "reload", returning=not options.no_return)
    if "mistakes" in answer:
        raise Mistakes([Mistake(**{**each, "file": Path(each["file"])}) for each in answer["mistakes"]])
    number = answer["revision"]
    print(_word("reloaded" if answer["adopted"] else "unchanged", revision=number))
    for line in _changes(answer["changes"]):
        print(f"  {line}")
    if not answer["trial"]:
        return
    print(_word("on-trial", seconds=answer["trial"]), flush=True)
    if options.no_wait:
        return
    while (verdict := await control.call(socket, "verdict"))["pending"]:
        pass
    if verdict["revision"] != number:
        silent = ", ".join(verdict["silent"])
        raise GatewayError("reload-returned", revision=verdict["revision"], silent=silent)
    print(_word("proved", revision=number))


def _changes(changes: dict[str, dict[str, list[str]]]) -> list[str]:
    """What a revision changed, a line each."""
    return [
        _word(f"{kind}-{how}", names=", ".join(names))
        for kind, found in changes.items()
        for how, names in found.items()
    ]


def _config(options: argparse.Namespace) -> None:
    from .adoption import recall

    site = _site(options)
    if not options.text:
        asyncio.run(_print_revisions(site, as_json=options.json))
        return
    kept = recall(options.config, site.journal.path)
    if kept is None:
        raise GatewayError("config-none-kept", file=options.config)
    print(kept.sources[""], end="")


async def _print_revisions(site: Site, *, as_json: bool) -> None:
    """The configurations that were adopted, oldest first."""
    import datetime
    from zoneinfo import ZoneInfo

    import msgspec

    from .journal import Reader
    from .model import Revision
    from .services.configuration import Configuration

    async with Reader.open(site.journal.path) as reader:
        rows = (await reader.state(Configuration.name)).values()
    revisions = sorted((msgspec.msgpack.decode(row, type=Revision) for row in rows), key=lambda r: r.number)
    if as_json:
        print(json.dumps([{**asdict(each), "at": each.at.wall} for each in revisions], indent=2))
        return
    zone = ZoneInfo(site.centre.timezone)
    _print_table(
        [_word(head) for head in ("revision", "when", "by", "digest", "changes")],
        [
            (
                each.number,
                datetime.datetime.fromtimestamp(each.at.wall / 1000, zone).strftime("%Y-%m-%d %H:%M:%S"),
                _word(f"by-{each.by}"),
                each.digest,
                "; ".join(_changes(each.changes)),
            )
            for each in revisions
        ],
    )


def _check(options: argparse.Namespace) -> int:
    """Sites, device models and emergency plans; a model's worked examples are tried."""
    from .config import Mistakes, load_plan, load_profile, load_site

    worst = 0
    for file in options.files:
        try:
            schema = _schema(file)
            if schema == "profile":
                worst = max(worst, _try_examples(file, load_profile(file)))
            elif schema == "plan":
                plan = load_plan(file)
                approved = plan.approved or _word("template")
                print(_word("well-plan", file=file, steps=len(plan.steps), approved=approved))
            else:
                site = load_site(file)
                print(_word("well", file=file, buses=len(site.buses), devices=len(site.devices)))
                for bus, port, names in _passing(site):
                    facts = {"file": file, "bus": bus, "port": port, "names": ", ".join(names)}
                    print(_word("port-passing", **facts), file=sys.stderr)
        except Mistakes as wrong:
            for mistake in wrong.mistakes:
                print(mistake.say(preferred()), file=sys.stderr)
            worst = EX_CONFIG
    return worst


def _passing(site: Site) -> Iterator[tuple[str, str, list[str]]]:
    """Buses at ports whose number may be another one tomorrow, and the names that stay."""
    names: dict[str, list[str]] = {}
    for link in (link for folder in LASTING for link in sorted(folder.glob("*"))):
        names.setdefault(str(link.resolve()), []).append(str(link))
    for bus in site.buses.values():
        for value in asdict(bus.options).values():
            port = str(value).removeprefix("rtu:")
            if port in names:
                yield bus.name, port, names[port]


def _schema(file: Path) -> str:
    """What the first line says a file is: `site`, `profile` or `plan`."""
    try:
        with file.open("rb") as opened:
            found = re.search(rb"linli/(\w+)/", opened.readline(200))
    except OSError:
        return ""
    return found[1].decode() if found else ""


def _try_examples(file: Path, profile: Profile) -> int:
    from .config import try_example

    worst = 0
    for number, example in enumerate(profile.examples, 1):
        try:
            wanted, got = try_example(profile, example)
        except ConfigError as error:
            print(f"{file}: [[examples]] {number}: {_sentence(error)}", file=sys.stderr)
            worst = EX_CONFIG
            continue
        if got != wanted:
            print(
                f"{file}: " + _word("example-wrong", number=number, wanted=wanted, got=got), file=sys.stderr
            )
            worst = EX_CONFIG
    if not worst:
        counts = {"points": len(profile.points), "examples": len(profile.examples)}
        print(_word("well-profile", file=file, **counts))
    return worst


def _dashboard(options: argparse.Namespace) -> None:
    from . import log
    from .dashboard import run, settings_of

    site = _site(options)
    log.setup(site.centre.language)
    asyncio.run(run(settings_of(site, options.config)))


def _simulate(options: argparse.Namespace) -> None:
    from .simulate import run

    asyncio.run(run(options))


def _scan(options: argparse.Namespace) -> None:
    from drivers import load, names

    from .scan import run

    run(options, {name: load(name) for name in names()})


def _count_visitors(options: argparse.Namespace) -> None:
    from .count_visitors import run

    run(options)


def _asyncapi(_: argparse.Namespace) -> None:
    from .uplink.native import asyncapi

    print(json.dumps(asyncapi(), indent=2, ensure_ascii=False))


def _read(options: argparse.Namespace) -> None:
    asyncio.run(_read_device(_site(options), options.device))


async def _read_device(site: Site, name: str) -> None:
    """Through the running gateway, which owns the line; directly when there is none."""
    from . import control
    from .once import read_once

    device = site.devices.get(name)
    if device is None:
        raise GatewayError("device-unknown", device=name, known=", ".join(site.devices))
    try:
        answer = await control.call(site.control.socket, "read", device=name)
        how = _word("by-daemon")
    except control.DaemonAway:
        answer = await read_once(site.buses[device.bus], device)
        how = _word("by-hand")
    print(f"{device.title[preferred()]} ({name}, {device.profile}) {how}")
    print(f"{_word('raw')}:")
    for line in answer["raw"].splitlines():
        print(f"  {line}")
    print(f"{_word('decoded')}:")
    for point, value in answer["values"].items():
        print(f"  {point} = {json.dumps(value)} {device.points[point].unit}".rstrip())
    for point, why in answer["bad"].items():
        print(f"  {point}: {_word('bad')} ({why})")
    print(_word("took", ms=round(answer["seconds"] * 1000)))


def _do(options: argparse.Namespace) -> int:
    """Ask the running gateway for an action, once, and say how it ended."""
    from .config import load_site, offered
    from .model import GATEWAY
    from .services import ACTIONS

    site = load_site(options.config)
    device = site.devices.get(options.device)
    if device is None and options.device != GATEWAY:
        known = ", ".join((*site.devices, GATEWAY))
        raise GatewayError("device-unknown", device=options.device, known=known)
    # What concerns the centre as a whole, such as a drill, is asked of the gateway.
    able = offered({device.bus: site.buses[device.bus]}, {device.name: device}) if device else ACTIONS
    if options.action not in able:
        raise GatewayError("action-nobody", action=options.action, known=", ".join(sorted(able)))
    action = words(preferred()).get(f"action.{options.action}", options.action)
    name = f"{device.title[preferred()]} ({device.name})" if device else _word("gateway")
    facts = {"device": name, "action": action}
    args = dict(_argument(text) for text in options.args)
    if not options.yes:
        if not sys.stdin.isatty():
            raise GatewayError("do-unasked")
        if input(_word("do-confirm", **facts)).strip().lower() not in ("y", "yes", "是"):
            print(_word("do-left"))
            return 1
    status, why = asyncio.run(_command(site, options.device, options.action, args, facts))
    print(_word(f"do-{status}", reason=why, **facts))
    return 0 if status == "done" else 1


def _argument(text: str) -> tuple[str, Any]:
    """`lock=3` is a number, `all=true` is true, anything else is text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise GatewayError("do-argument", argument=text)
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


async def _command(
    site: Site, device: str, action: str, args: dict[str, Any], facts: dict[str, str]
) -> tuple[str, str]:
    """Its status, and why. One that takes long is asked after, by its id, until it has ended."""
    import getpass
    import time
    import uuid

    from . import control

    wish = {
        "id": uuid.uuid4().hex,
        "device": device,
        "action": action,
        "args": args,
        "by": getpass.getuser(),
        "origin": "console",
        "expires": round(time.time() * 1000) + EXPIRES,
    }
    waiting = False
    while True:
        answer = await control.call(site.control.socket, "command", **wish)
        if answer["status"] != "accepted":
            return answer["status"], because(preferred(), answer["detail"])
        if not waiting:
            waiting = True
            print(_word("do-accepted", **facts), flush=True)
        await asyncio.sleep(2)


def _doctor(options: argparse.Namespace) -> int:
    """The bus doctor's report; exit code 1 when it has something to say."""
    from . import control

    site = _site(options)
    buses = asyncio.run(control.call(site.control.socket, "doctor"))["buses"]
    if options.json:
        print(json.dumps(buses, indent=2, ensure_ascii=False))
    else:
        for bus, report in buses.items():
            _print_line(site, bus, report)
    return int(any(report["findings"] for report in buses.values()))


def _print_line(site: Site, bus: str, report: dict[str, Any]) -> None:
    language = preferred()
    print(say(language, "doctor.use", bus=bus, use=report["use"]))
    names = ("device", "state", "share", "polls", "silent", "damaged", "refused", "p50", "p99")
    rows = [
        ["–" if (cell := row.get(name)) is None else cell for name in names]
        for device in report["devices"]
        for row in [{**device, "state": say(language, f"doctor.{_state(device)}")}]
    ]
    _print_table([say(language, f"doctor.{name}") for name in names], rows)
    for finding in report["findings"]:
        device = site.devices.get(finding["device"])
        name = device.title[language] if device else ""
        print("→ " + say(language, f"doctor.{finding['key']}", name=name, **finding["facts"]))
    if not report["findings"]:
        print(say(language, "doctor.well"))
    print()


def _state(device: dict[str, Any]) -> str:
    return "offline" if device["offline"] else "online"


def _journal(options: argparse.Namespace) -> None:
    asyncio.run(_print_journal(_site(options), as_json=options.json))


def _notify_test(options: argparse.Namespace) -> int:
    """A trial message by the running gateway; exit code 1 when some channel did not take it."""
    from . import control
    from .config import load_site

    site = load_site(options.config)
    answer = control.call(site.control.socket, "notify-test", 600.0, contact=options.contact)
    channels = asyncio.run(answer)["channels"]
    for name, trouble in channels.items():
        print(f"{name}: {trouble or _word('told')}")
    if not channels:
        print(_word("told-nobody"))
    return int(not channels or any(channels.values()))


def _rules(options: argparse.Namespace) -> None:
    from .config import load_site

    asyncio.run(_replay(load_site(options.config), options.days, as_json=options.json))


async def _replay(site: Site, days: float, *, as_json: bool) -> None:
    """What the rules of the file, and those of the device models, would have done to what the journal
    still holds: a new rule can be tried before it wakes anybody."""
    import datetime
    import time
    from zoneinfo import ZoneInfo

    from .clock import local_day, local_time
    from .journal import Reader
    from .model import Lane
    from .replay import Replay, reading
    from .services.safety import of_profile

    known = [*site.rules.values(), *(rule for each in site.devices.values() for rule in of_profile(each))]
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

    print(_word("replayed", count=count, rules=len(known), episodes=len(trial.episodes)))
    rows = [
        (
            episode.rule,
            local(episode.began),
            "–" if episode.ended is None else f"{(episode.ended - episode.began) / 1000:.0f}",
            episode.value,
        )
        for episode in trial.episodes
    ]
    _print_table([_word(head) for head in ("rule", "began", "lasted", "value")], rows)


def _month(text: str) -> str:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise argparse.ArgumentTypeError(_word("month-form"))
    return text


def _drills(options: argparse.Namespace) -> None:
    from .config import load_site

    asyncio.run(_print_drills(load_site(options.config), options.year, as_json=options.json))


async def _print_drills(site: Site, year: int | None, *, as_json: bool) -> None:
    """The year's drills, from their reports in the journal."""
    import datetime
    from zoneinfo import ZoneInfo

    from .model import Lane
    from .testlog import drills

    year = year or datetime.datetime.now(ZoneInfo(site.centre.timezone)).year
    log = await _log_of(site, str(year), [Lane.EVENT])
    held = log.events["drill-report"]
    if as_json:
        found = [{"ended": each.at.isoformat(), **each.body} for each in held]
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    print(_word("drilled", year=year, count=len(held)))
    table = drills(log, site, preferred())
    _print_table(table.heads, [_flat(row) for row in table.rows])


def _testlog(options: argparse.Namespace) -> None:
    """The monthly test log: on the terminal, or as a page to print."""
    from .config import load_site
    from .model import Lane
    from .testlog import page, tables

    site = load_site(options.config)
    log = asyncio.run(_log_of(site, options.month, [Lane.ALARM, Lane.EVENT]))
    language = preferred()
    if options.html:
        options.html.write_text(page(log, site, language), "utf-8")
        print(_word("written", file=options.html))
        return
    print(say(language, "testlog.auxiliary"))
    for table in tables(log, site, language):
        print(f"\n{table.title}")
        _print_table(table.heads, [_flat(row) for row in table.rows])


async def _log_of(site: Site, period: str, lanes: Sequence[Lane]) -> PeriodLog:
    """What the journal holds of a year or a month; stamps of a clock that was set later are corrected."""
    import msgspec

    from .clock import local_day, local_time
    from .journal import Reader
    from .services.timekeeping import Boot, Timekeeping, correct
    from .testlog import PeriodLog

    local = local_time(site.centre.timezone)
    async with Reader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        rows = await reader.state(Timekeeping.name)
        boots = {key: msgspec.msgpack.decode(body, type=Boot) for key, body in rows.items()}
        log = PeriodLog(period, site.devices, lambda at: local(correct(boots, at)))
        for lane in lanes:
            async for record in reader.records(lane, 0):
                log.take(record)
    return log


def _flat(cells: Sequence[str]) -> list[str]:
    """Cells on one line each; what people wrote does not steer a terminal."""
    lines = (cell.replace("\n", "; ") for cell in cells)
    return ["".join(letter if letter.isprintable() else " " for letter in line) for line in lines]


def _ledger(options: argparse.Namespace) -> None:
    asyncio.run(_print_ledger(_site(options), options.day, as_json=options.json))


async def _print_journal(site: Site, *, as_json: bool) -> None:
    """Each device and lane over all days, and the dead letters."""
    from .clock import local_day
    from .journal import Reader

    async with Reader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        rows, epoch, dead = await reader.ledger(), await reader.meta("epoch"), await reader.dead_letters()
    totals: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        total = totals.setdefault((row.lane.name.lower(), row.device), [0, 0, 0])
        for i, count in enumerate((row.measured, row.delivered, row.pending)):
            total[i] += count
    names = ("stored", "delivered", "pending")
    if as_json:
        streams = [
            {"lane": lane, "device": device, **dict(zip(names, total, strict=True))}
            for (lane, device), total in totals.items()
        ]
        letters = [{**asdict(letter), "lane": letter.lane.name.lower()} for letter in dead]
        print(json.dumps({"epoch": epoch, "streams": streams, "dead": letters}, indent=2))
        return
    _print_table(
        [_word(name) for name in ("lane", "device", *names)],
        [(*key, *total) for key, total in totals.items()],
    )
    print(_word("epoch", epoch=epoch))
    for letter in dead:
        print(_word("dead", device=letter.device, seq=letter.seq, reason=letter.reason))


async def _print_ledger(site: Site, day: str | None, *, as_json: bool) -> None:
    """Each day, device and lane: measured, delivered, pending, dropped."""
    from .clock import local_day
    from .journal import Reader

    async with Reader.open(site.journal.path, local_day(site.centre.timezone)) as reader:
        rows = [row for row in await reader.ledger() if day in (None, row.day)]
    if as_json:
        print(json.dumps([{**asdict(row), "lane": row.lane.name.lower()} for row in rows], indent=2))
        return
    heads = ("day", "lane", "device", "measured", "delivered", "pending", "dropped", "uncertain", "gaps")
    _print_table(
        [_word(head) for head in heads],
        [
            (
                row.day,
                row.lane.name.lower(),
                row.device,
                row.measured,
                row.delivered,
                row.pending,
                sum(row.dropped.values()),
                row.uncertain,
                " ".join(f"{first}–{last}:{reason}" for first, last, reason in row.gaps),
            )
            for row in rows
        ],
    )


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = [heads, *([str(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[i]) for line in table) for i in range(len(heads))]
    for line in table:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip())


def _width(text: str) -> int:
    """Columns on a terminal: a Chinese character takes two."""
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


if __name__ == "__main__":
    sys.exit(main())
