"""The daemon: everything put together. The nesting is the order of shutdown, inside out."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from . import __version__, control, metrics
from .clock import SystemClock, local_day, local_time
from .config import Site, offered
from .engine import Engine
from .journal import Journal, JournalFailed
from .log import reason, tell
from .model import AlarmSpec, Clock, Command, GatewayError, Hazard, Lane, ReadFailed, Sample, Value
from .notify import notify, watchdog_seconds
from .outputs import NAME as OUTPUTS
from .outputs import Outputs
from .scan.ask import build, question, unpack
from .services import services
from .services.commands import Order, Status
from .services.memory import Memory, memories
from .services.safety import GATEWAY, Safety, of_point
from .services.timekeeping import Timekeeping, correct
from .supervise import BusTask
from .uplink import Native, Uplink

REPORT_EVERY = 60.0
OWED = 30.0
"""Seconds, three tries of ten, after which an alarm that the platform has not acknowledged is a fault of
its own, to be heard here (GB 26875.1-2011, 4.1.2 and 4.1.3)."""
ANSWER_WITHIN = 20.0
"""Seconds after which who asked on this machine is told that the command is still under way."""


async def run(site: Site) -> None:
    """Run until SIGTERM or SIGINT."""
    tell(
        logging.INFO, "starting",
        version=__version__, site=site.centre.id, buses=len(site.buses), devices=len(site.devices),
    )  # fmt: skip
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        journal, homeless = await _open_journal(stack, site, clock)
        daemon = Daemon(site, journal, clock, homeless)
        await daemon.engine.restore()
        await stack.enter_async_context(control.serve(site.control.socket, daemon.handlers()))
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(job, name=name) for name, job in daemon.jobs().items()]
            tell(logging.INFO, "ready")
            notify("READY=1")
            await stopping.wait()
            tell(logging.INFO, "stopping")
            notify("STOPPING=1")
            for task in running:
                task.cancel()


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
            tell(logging.ERROR, "journal-homeless", path=path, spare=spare, reason=why)
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


class Daemon:
    """The parts of a running gateway, and what may be asked of it locally."""

    def __init__(self, site: Site, journal: Journal, clock: Clock, homeless: str = "") -> None:
        self._site = site
        self._homeless = homeless
        self._journal = journal
        self._clock = clock
        upstream = site.uplink.commands if site.uplink else ()
        # Whoever reaches the control socket has a credential, and may ask for everything there is.
        local = offered(site.buses, site.devices)
        allowed = {"upstream": upstream, "dashboard": local, "console": local}
        obeys = (
            of_point(OUTPUTS, f"{name}.failed", AlarmSpec(hazard=Hazard.FAULT)) for name in site.outputs
        )
        parts = services(
            site.devices,
            allowed,
            [*site.rules.values(), *obeys],
            local_time(site.centre.timezone),
            site.duties,
        )
        self.engine = Engine(parts, journal, clock)
        self.engine.execute = self._execute
        self._buses = {
            spec.name: BusTask(
                spec,
                tuple(device for device in site.devices.values() if device.bus == spec.name),
                clock,
                self.engine.sample,
                lambda: memories(self.engine.rows(Memory.name)),
            )
            for spec in site.buses.values()
        }
        self._outputs = Outputs(
            site.outputs,
            lambda: self.engine.rows(Safety.name).values(),
            self._execute,
            self.engine.sample,
            self.engine.record,
            clock,
        )
        self.engine.on_alarm = self._outputs.wake
        self._uplink: Uplink | None = None
        if site.uplink:
            engine = self.engine
            dialect = Native(
                site.centre.id, journal.epoch, lambda at: correct(engine.rows(Timekeeping.name), at)
            )
            self._uplink = Uplink(site.uplink, dialect, journal, clock, engine.command, engine.sample)
        self._owed_since: float | None = None
        self._commands: set[asyncio.Task[Order]] = set()
        self._started = clock.now()

    def jobs(self) -> dict[str, Any]:
        """Everything that runs for as long as the daemon does."""
        collector = metrics.GatewayCollector(self._journal, self._buses.values(), self._uplink)
        jobs = {
            "journal": self._journal.run(),
            "engine": self.engine.run(),
            "metrics": metrics.serve(self._site.metrics, collector, self.health),
            "watch": self._watch(),
            "report": self._report(),
            "outputs": self._outputs.run(),
            **{f"bus-{name}": bus.run() for name, bus in self._buses.items()},
        }
        if self._uplink:
            jobs["uplink"] = self._uplink.run()
        return jobs

    def health(self) -> dict[str, Any]:
        """Well means: what is measured reaches the disk. What the field or the network lacks is told
        beside it, for a restart would not mend it."""
        return {
            "ok": not self._trouble(),
            "version": __version__,
            "started": self._started.wall,
            "clock": self._clock.now().clock,
            "journal": self._trouble() or "ok",
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
        places = {spec.name: scan.place(spec.options) for spec, scan in scans if scan and not scan.shared}
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
        task = asyncio.create_task(self.engine.command(command), name=f"command-{command.id}")
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)
        done, _ = await asyncio.wait({task}, timeout=ANSWER_WITHIN)
        if not done:
            return {"status": Status.ACCEPTED, "detail": ""}
        order = task.result()
        return {"status": order.status, "detail": order.detail}

    async def _execute(self, command: Command) -> None:
        await self._bus(command.device).execute(command)

    def _bus(self, device: str) -> BusTask:
        if device not in self._site.devices:
            raise GatewayError("device-unknown", device=device, known=", ".join(self._site.devices))
        return self._buses[self._site.devices[device].bus]

    async def _report(self) -> None:
        """The gateway's own figures, as of any device: a damaged journal is raised like a fault."""
        told: dict[str, Value] = {}
        due = 0.0
        while True:
            journal = self._journal
            flags: dict[str, Value] = {
                "journal_failing": bool(self._trouble()),
                "journal_damaged": journal.salvaged is not None,
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
                tell(logging.ERROR, "journal-failed", reason=reason(failure.key, **failure.facts))
            elif told and not failure:
                tell(logging.INFO, "journal-well")
            told = failure is not None
            await self._clock.sleep(min(every, 5.0))
