"""The daemon: everything put together. The nesting is the order of shutdown, inside out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import logging
import signal
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway import __version__
from gateway.base import control
from gateway.base.clock import SystemClock, local_day, local_time
from gateway.base.log import error_text, log_event
from gateway.base.systemd import notify, watchdog_seconds
from gateway.capabilities.legacy import services
from gateway.capabilities.needs.desk import Desk
from gateway.capabilities.needs.services import Needs
from gateway.capabilities.safety.notifications import Notices, Spoken
from gateway.capabilities.safety.outputs import NAME as OUTPUTS
from gateway.capabilities.safety.outputs import Outputs
from gateway.capabilities.safety.services.alarms import Safety, of_point
from gateway.capabilities.safety.services.escalation import Escalation
from gateway.capabilities.visitors import statistics
from gateway.config import Mistakes, Site, localized, offered
from gateway.config.adoption import StartConfiguration
from gateway.field.scan.ask import build, question, unpack
from gateway.field.supervise import BusTask
from gateway.journal import Journal, JournalFailed
from gateway.model import (
    GATEWAY,
    Adopted,
    AlarmSpec,
    Clock,
    Command,
    Fact,
    GatewayError,
    Hazard,
    Lane,
    LinkDown,
    ReadFailed,
    Revision,
    Sample,
    Service,
    Value,
)
from gateway.services.commands import Order, Status
from gateway.services.driver_state import DriverState, saved_states
from gateway.services.timekeeping import Timekeeping, correct
from gateway.uplink import Native, Uplink

from . import metrics
from .engine import Engine
from .reload import Reloader

REPORT_EVERY = 60.0
OWED = 30.0
"""Seconds, three tries of ten, after which an alarm that the platform has not acknowledged is a fault of
its own, to be heard here (GB 26875.1-2011, 4.1.2 and 4.1.3)."""
ANSWER_WITHIN = 20.0
"""Seconds after which who asked on this machine is told that the command is still under way."""


MISTAKES = 50
"""Mistakes that one answer names: it is one line on the socket."""

T = TypeVar("T")


async def run(file: Path, choice: StartConfiguration) -> None:
    """Run what was chosen for the site of that file, until SIGTERM or SIGINT; SIGHUP reads it anew."""
    site = choice.site
    log_event(
        logging.INFO, "starting",
        version=__version__, site=site.centre.id, buses=len(site.buses), devices=len(site.devices),
    )  # fmt: skip
    stopping, hung_up = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        journal, homeless = await _open_journal(stack, site, clock)
        daemon = Daemon(file, choice, journal, clock, homeless)
        await daemon.restore()
        await stack.enter_async_context(control.serve(site.control.socket, daemon.handlers()))
        async with asyncio.TaskGroup() as tasks:
            daemon.start(tasks, hung_up)
            log_event(logging.INFO, "ready")
            notify("READY=1")
            await stopping.wait()
            log_event(logging.INFO, "stopping")
            notify("STOPPING=1")
            daemon.stop()


async def _open_journal(stack: AsyncExitStack, site: Site, clock: Clock) -> tuple[Journal, str]:
    """The journal; where its disk takes nothing, one in the runtime folder, which is memory, and why.

    A centre whose card has died still wants its alarms.
    """
    options, day_of = site.journal, local_day(site.centre.timezone)
    spare = site.control.socket.parent / "journal.db"
    why = ""
    for path in (options.path, spare):
        try:
            stack.enter_context(_alone(path))
            journal = Journal.open(path, clock, options.window, options.limits, day_of, spare.parent)
            return await stack.enter_async_context(journal), why
        except (JournalFailed, OSError) as error:
            if path == spare:
                raise
            why = str(error.facts["reason"]) if isinstance(error, JournalFailed) else str(error)
            log_event(logging.ERROR, "journal-homeless", path=path, spare=spare, reason=why)
    raise AssertionError("one of the two was opened, or its error raised")


@contextmanager
def _alone(journal: Path) -> Iterator[None]:
    """Two daemons on one journal would give the same numbers to different records.

    Raises `GatewayError` when another one has it; the kernel ends the lock with the process.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GatewayError("journal-taken", path=journal) from error
        yield


def _services(site: Site) -> list[Service]:
    upstream = site.uplink.commands if site.uplink else ()
    # Whoever reaches the control socket has a credential, and may ask for everything there is.
    local = offered(site.buses, site.devices)
    allowed = {"upstream": upstream, "dashboard": local, "console": local}
    fault = AlarmSpec(hazard=Hazard.FAULT)
    obeyed = (of_point(OUTPUTS, f"{name}.failed", fault) for name in site.outputs)
    reached = (of_point(Escalation.name, f"{name}.failed", fault) for name in site.telling.ways)
    rules = [*site.rules.values(), *obeyed, *reached]
    now, telling = local_time(site.centre.timezone), site.telling
    escalation = Escalation(telling.plans, telling.reach, telling.duty(now))
    own = services(site.devices, allowed, rules, now, site.duties, site.layout, site.hours)
    return [*own, escalation]


class Daemon:
    """The parts of a running gateway, and what may be asked of it locally."""

    def __init__(
        self, file: Path, choice: StartConfiguration, journal: Journal, clock: Clock, homeless: str = ""
    ) -> None:
        self._homeless = homeless
        self._journal = journal
        self._clock = clock
        self._site = choice.site
        self.engine = Engine(_services(choice.site), journal, clock)
        self.engine.execute = self._execute
        self._reloader = Reloader(file, choice, self.engine, journal, clock, self._switch)
        self._needs = Desk(
            lambda: self._site.duties.needs,
            lambda: self._site.needs,
            lambda: self.engine.rows(Needs.name),
            self._command,
            clock,
        )
        self._buses: dict[str, BusTask] = {}
        self._uplink: Uplink | None = None
        self._owed_since: float | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._unbroken: set[asyncio.Task[Any]] = set()
        self._started = clock.now()

    async def restore(self) -> None:
        """Take up what the journal kept, under the configuration that holds."""
        await self.engine.restore()
        if away := await statistics.detect_downtime(self._journal, self._clock.now()):
            self.engine.record(away)
        await self._reloader.begin()
        await self._adopt(self._reloader.revision)

    def start(self, tasks: asyncio.TaskGroup, hung_up: asyncio.Event) -> None:
        """Everything that runs for as long as the daemon does, and the lines and the uplink."""
        self._tasks = tasks
        collector = metrics.GatewayCollector(
            self._journal, self._buses, lambda: self._uplink, lambda: self._reloader.revision.number
        )
        self._run("journal", self._journal.run())
        self._run("engine", self.engine.run())
        self._run("metrics", metrics.serve(self._site.metrics, collector, self.health))
        file = self._site.statistics_file
        self._run("statistics", statistics.maintain_statistics(file, self._journal, self._clock))
        self._run("watch", self._watch())
        self._run("report", self._report())
        self._run("needs", self._needs.run())
        self._run("reload", self._reloader.run())
        self._run("hang-up", self._heed(hung_up))
        for name in self._site.buses:
            self._open(name)
        self._connect()
        self._act()
        self._inform()
        self.engine.on_alarm = self._alarmed

    def stop(self) -> None:
        """Cancel everything; the task group waits for the end of it."""
        for task in (*self._running.values(), *self._unbroken):
            task.cancel()

    def _run(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        assert self._tasks
        self._running[name] = self._tasks.create_task(job, name=name)

    def _open(self, bus: str) -> None:
        """Put a line of the present site to work."""
        devices = tuple(device for device in self._site.devices.values() if device.bus == bus)
        engine = self.engine
        self._buses[bus] = BusTask(
            self._site.buses[bus],
            devices,
            self._clock,
            engine.sample,
            lambda: saved_states(engine.rows(DriverState.name)),
        )
        self._run(f"bus-{bus}", self._buses[bus].run())

    async def _close(self, bus: str) -> None:
        # Taken away first: who asks for one of its devices meanwhile is told so, and does not wait.
        await self._buses.pop(bus).end(self._running.pop(f"bus-{bus}"))

    def _connect(self) -> None:
        """Put the uplink of the present site to work, if it has one."""
        if not self._site.uplink:
            return
        rows, journal, clock = self.engine.rows, self._journal, self._clock
        dialect = Native(
            self._site.centre.id, journal.epoch, lambda at: correct(rows(Timekeeping.name), at)
        )
        self._uplink = Uplink(self._site.uplink, dialect, journal, clock, self._command, self.engine.sample)
        self._run("uplink", self._uplink.run())

    async def _disconnect(self) -> None:
        self._uplink = None
        if task := self._running.pop("uplink", None):
            task.cancel()
            await asyncio.wait({task})

    def _act(self) -> None:
        """Put the outputs of the present site to work."""
        engine = self.engine
        self._outputs = Outputs(
            self._site.outputs,
            lambda: engine.rows(Safety.name).values(),
            self._execute,
            engine.sample,
            engine.record,
            self._clock,
        )
        self._run("outputs", self._outputs.run())

    def _inform(self) -> None:
        """Tell the people of the present site."""
        site, engine = self._site, self.engine
        self._notices = Notices(
            site.telling.ways,
            site.telling.people,
            Spoken(
                site.centre.language,
                localized(site.centre.title)[site.centre.language],
                site.devices,
                {name: rule.title for name, rule in site.rules.items()},
                local_time(site.centre.timezone),
            ),
            lambda: engine.rows(Escalation.name),
            lambda outcomes: engine.conclude(Escalation.name, outcomes),
            self._clock,
        )
        self._run("notices", self._notices.run())

    def _alarmed(self) -> None:
        self._outputs.wake()
        self._notices.wake()

    async def _switch(self, site: Site, revision: Revision) -> None:
        """Close, restart and open what the revision changes; all else goes on undisturbed."""
        lines, uplink = revision.changes.get("bus", {}), "uplink" in revision.changes
        changed = lines.get("changed", [])
        closing = [self._close(bus) for bus in (*lines.get("removed", []), *changed)]
        await asyncio.gather(*closing, *([self._disconnect()] if uplink else []))
        # What nobody changed is not switched anew: somebody may have switched it by hand.
        acting = site.outputs != self._site.outputs
        ending = [self._running.pop(name) for name in ("notices", *(["outputs"] if acting else []))]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        self._site = site
        for device in revision.changes.get("device", {}).get("removed", []):
            self._journal.latest.pop(device, None)
        await self._adopt(revision)
        for bus in (*changed, *lines.get("added", [])):
            self._open(bus)
        if uplink:
            self._connect()
        if acting:
            self._act()
        self._inform()

    async def _adopt(self, revision: Revision) -> None:
        present = {*self._site.devices, GATEWAY, OUTPUTS, *([Uplink.name] if self._site.uplink else [])}
        adopted = Adopted(revision, self._clock.now(), frozenset(present))
        await self.engine.adopt(_services(self._site), adopted)

    async def _heed(self, hung_up: asyncio.Event) -> None:
        """SIGHUP: as `linli reload`, but what there is to say goes to the log alone."""
        while True:
            await hung_up.wait()
            hung_up.clear()
            with contextlib.suppress(GatewayError):
                await self._reloader.reload("signal")

    async def _carry_through(self, work: Coroutine[Any, Any, T]) -> T:
        """Work that is done to its end even if whoever asked for it goes away."""
        return await asyncio.shield(self._begin(work))

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._unbroken.add(task)
        task.add_done_callback(self._unbroken.discard)
        return task

    async def _command(self, command: Command) -> Order:
        return await self._carry_through(self.engine.command(command))

    def health(self) -> dict[str, Any]:
        """Well means: what is measured reaches the disk, and what the site's file says is what runs.
        What the field or the network lacks is told beside it."""
        return {
            "ok": not self._trouble() and not self._reloader.refused,
            "version": __version__,
            "started": self._started.wall,
            "clock": self._clock.now().clock,
            "journal": self._trouble() or "ok",
            "config": self._reloader.health(),
            "uplink": self._uplink.online if self._uplink else None,
            "buses": {name: bus.stats.up for name, bus in self._buses.items()},
        }

    def _trouble(self) -> str:
        """What keeps measurements from the disk; empty when nothing does."""
        failure = self._journal.failure
        return str(failure.facts.get("reason")) if failure else self._homeless

    def handlers(self) -> Mapping[str, control.Handler]:
        return {
            "health": self._answer_health,
            "doctor": self._answer_doctor,
            "read": self._answer_read,
            "command": self._answer_command,
            "lines": self._answer_lines,
            "scan": self._answer_scan,
            "reload": self._answer_reload,
            "verdict": self._answer_verdict,
            "notify-test": self._answer_notify_test,
            **self._needs.handlers(),
            "still": self._answer_still,
        }

    async def _answer_health(self, _: dict[str, Any]) -> dict[str, Any]:
        return self.health()

    async def _answer_doctor(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"buses": {name: bus.report() for name, bus in self._buses.items()}}

    async def _answer_read(self, request: dict[str, Any]) -> dict[str, Any]:
        name = str(request.get("device"))
        reading = await self._bus(name).read(name)
        return {
            "raw": reading.raw,
            "values": reading.sample.values,
            "bad": reading.sample.bad,
            "seconds": reading.seconds,
        }

    async def _answer_lines(self, _: dict[str, Any]) -> dict[str, Any]:
        """What each line has for itself: a port, a host."""
        specs = (task.spec for task in self._buses.values())
        scans = ((spec, spec.driver.scan) for spec in specs)
        places = {
            spec.name: scan.target_of(spec.options) for spec, scan in scans if scan and not scan.shareable
        }
        return {"lines": places}

    async def _answer_scan(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request to a stranger on a line of ours."""
        bus = self._buses.get(str(request.get("bus")))
        if bus is None:
            raise GatewayError("bus-unknown", bus=request.get("bus"), known=", ".join(self._buses))
        driver = bus.spec.driver
        address = build(driver.address, request.get("address", {}))
        for device in self._site.devices.values():
            if device.bus == bus.spec.name and device.address == address:
                raise GatewayError("scan-configured", device=device.name)
        points = unpack(driver, request["points"]) if "points" in request else None
        try:
            answer = await bus.visit(question(driver, address, str(request.get("model")), points))
        except ReadFailed as failed:
            return {"nobody": failed.key}
        return dict(answer)

    async def _answer_command(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            command = msgspec.convert({**request, "at": self._clock.now()}, Command)
        except msgspec.ValidationError as error:
            raise GatewayError("command-form", reason=error) from error
        if command.origin not in ("dashboard", "console"):
            raise GatewayError("command-form", reason="origin")
        # Asked again with the same id, a command that is under way says how far it has come.
        task = self._begin(self.engine.command(command))
        done, _ = await asyncio.wait({task}, timeout=ANSWER_WITHIN)
        if not done:
            return {"status": Status.ACCEPTED, "detail": ""}
        order = task.result()
        return {"status": order.status, "detail": order.detail}

    async def _answer_reload(self, request: dict[str, Any]) -> dict[str, Any]:
        returning = request.get("returning") is not False
        try:
            return await self._carry_through(self._reloader.reload("console", returning=returning))
        except Mistakes as wrong:
            return {"mistakes": [mistake.portable() for mistake in wrong.mistakes[:MISTAKES]]}

    async def _answer_verdict(self, _: dict[str, Any]) -> dict[str, Any]:
        return await self._reloader.verdict()

    async def _answer_notify_test(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"channels": await self._notices.trial(str(request.get("contact")))}

    async def _answer_still(self, request: dict[str, Any]) -> dict[str, Any]:
        """A camera's picture, for a person who sets it up; who looked is written down first."""
        bus = self._buses.get(str(request.get("bus")))
        if bus is None:
            raise GatewayError("bus-unknown", bus=request.get("bus"), known=", ".join(self._buses))
        if not bus.spec.stills:
            raise ReadFailed("stills-off")
        body = {"camera": bus.spec.name, "by": str(request.get("by", ""))[:64]}
        self.engine.record(Fact(Lane.EVENT, GATEWAY, "still", self._clock.now(), body))
        await self._journal.commit()
        return {"jpeg": base64.b64encode(await bus.capture_still()).decode()}

    async def _execute(self, command: Command) -> None:
        await self._bus(command.device).execute(command)

    def _bus(self, device: str) -> BusTask:
        if device not in self._site.devices:
            raise GatewayError("device-unknown", device=device, known=", ".join(self._site.devices))
        bus = self._site.devices[device].bus
        if bus not in self._buses:
            raise LinkDown("line-down", reason=bus)
        return self._buses[bus]

    async def _report(self) -> None:
        """The gateway's own figures, as of any device: a damaged journal is raised like a fault."""
        told: dict[str, Value] = {}
        due = 0.0
        while True:
            journal = self._journal
            flags: dict[str, Value] = {
                "journal_failing": bool(self._trouble()),
                "journal_damaged": journal.salvaged is not None,
                "config_refused": bool(self._reloader.refused),
                "alarm_undelivered": self._undelivered(),
            }
            if flags != told or self._clock.mono() >= due:
                told, due = flags, self._clock.mono() + REPORT_EVERY
                figures = {
                    "journal_bytes": journal.bytes,
                    "written_per_day": round(journal.wear.per_day),
                    "card_years": round(min(journal.wear.years, 99.0), 1),
                    "records_dropped": journal.dropped,
                    "dead_letters": journal.dead,
                }
                await self.engine.sample(Sample(GATEWAY, self._clock.now(), {**flags, **figures}))
            await self._clock.sleep(5.0)

    def _undelivered(self) -> bool:
        """Whether the platform owes the acknowledgement of an alarm for too long."""
        lane, now = Lane.ALARM, self._clock.mono()
        if not self._uplink or self._journal.delivered[lane] >= self._journal.committed[lane]:
            self._owed_since = None
        elif self._owed_since is None:
            self._owed_since = now
        return self._owed_since is not None and now - self._owed_since > OWED

    async def _watch(self) -> None:
        """Keep systemd's watchdog fed while the loop turns, and tell of the journal's health once."""
        every = watchdog_seconds() or 5.0
        told = False
        while True:
            notify("WATCHDOG=1")
            failure = self._journal.failure
            if failure and not told:
                log_event(logging.ERROR, "journal-failed", reason=error_text(failure.key, **failure.facts))
            elif told and not failure:
                log_event(logging.INFO, "journal-well")
            told = failure is not None
            await self._clock.sleep(min(every, 5.0))
