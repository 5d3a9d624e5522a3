"""A running gateway: the engine, and the parts that its configuration requires."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway import __version__
from gateway.base.log import error_text, log_event, report_held_back
from gateway.base.security import SECURITY_LOG, SecurityEvent
from gateway.base.systemd import notify, watchdog_interval_s
from gateway.config import Site, available_actions, figures_of
from gateway.config.adoption import StartConfiguration, devices_on
from gateway.config.capability import capabilities, load_declared
from gateway.config.site import replacements_between
from gateway.field.line import Line
from gateway.jobs import Job
from gateway.journal import DEFAULT_READER, Journal, StreamFilter
from gateway.model import (
    GATEWAY_ACTIONS,
    GATEWAY_DEVICE,
    UNKNOWN_FIRE_POINT,
    Clock,
    Command,
    ConfigurationAdopted,
    Fact,
    GatewayError,
    Lane,
    LinkDown,
    Outcome,
    Replacement,
    Revision,
    Rows,
    Sample,
    Service,
    Value,
    sentence,
    stale_after_s,
    uplink_device,
)
from gateway.services.commands import CommandRow, Commands
from gateway.services.configuration import Configuration
from gateway.services.driver_state import DriverState, saved_states
from gateway.services.presence import DeviceState, Presence, count_states, device_state
from gateway.services.timekeeping import Timekeeping, correct_stamp
from gateway.trends import TrendWriter, trends_file
from gateway.uplink import Uplink, build_dialect, dialect_inputs, filter_of, origin_of

from . import metrics
from .composition import Components, ComponentSpec, Composition
from .engine import CarriedState, Engine
from .garbage import leave_out_settled_objects
from .latest_expiry import LatestExpiry, latest_expiry_file
from .loop_lag import LoopLag
from .overload import LoadCounters, Overload
from .platform_commands import PlatformCommands
from .reload import Reloader

SELF_REPORT_INTERVAL_S = 60.0
ALARM_DELIVERY_LIMIT_S = 30.0
"""Three attempts of ten seconds; then an alarm that the platform has not acknowledged raises a local fault
(GB 26875.1-2011, 4.1.2 and 4.1.3)."""
SELF_CHECK_INTERVAL_S = 5.0
FLAGS_CHECK_INTERVAL_S = 1.0
SECURITY_INTERVAL_S = 1.0

T = TypeVar("T")


def services_of(site: Site) -> list[Service]:
    """All services of a site: those of the capabilities in their order, then the core's."""
    # Access to the control socket is restricted already; from there, every action is allowed.
    local = available_actions(site.buses, site.devices)
    upstream = {origin_of(name): frozenset(options.commands) for name, options in site.uplinks.items()}
    allowed = {**upstream, "dashboard": local, "console": local}
    own = (service for capability in capabilities() for service in capability.section.services(site))
    return [
        *own,
        DriverState(),
        Presence(),
        Timekeeping(),
        Configuration(),
        Commands(allowed, {*site.devices, GATEWAY_DEVICE}),
    ]


def job_types() -> list[type[Job]]:
    """What the capabilities run in the daemon."""
    return [job for own in jobs_by_capability().values() for job in own]


def jobs_by_capability() -> dict[str, Sequence[type[Job]]]:
    """The `JOBS` of each capability, by its name. Raises `ConfigError`."""
    return {
        each.name: load_declared(each.name, each.jobs, "JOBS", Sequence)  # type: ignore[type-abstract]
        for each in capabilities()
        if each.jobs
    }


class Gateway:
    """The parts of a running gateway, and the `Host` of its jobs."""

    def __init__(
        self,
        file: Path,
        start: StartConfiguration,
        journal: Journal,
        clock: Clock,
        idle_s: Callable[[], float],
        disk_failure: str = "",
        damage: str = "",
    ) -> None:
        """`idle_s`: seconds since the start in which the event loop had nothing to do. `disk_failure`: why
        the journal is in memory; `damage`: why the one before had to be replaced."""
        self.file = file
        self.site = start.site
        self.journal = journal
        self.clock = clock
        self.engine = Engine(
            services_of(start.site), journal, clock,
            execute=self._execute_submitted, on_alarm=self._alarm_changed,
            # Also in the runtime folder: it is another disk.
            latest_expiry=LatestExpiry(
                latest_expiry_file(start.site.journal.path),
                latest_expiry_file(start.site.control.socket.parent / "journal.db"),
            ),
        )  # fmt: skip
        self.reloader = Reloader(file, start, self.engine, journal, clock, self._apply)
        self._platform_commands = PlatformCommands(self)
        self.idle_s = idle_s
        self.loop_lag = LoopLag(clock)
        self.overload = Overload(clock, self._measure_load)
        self._disk_failure = disk_failure
        self._damage = damage or ("damaged" if journal.damaged_copy else "")
        self._is_restored = False
        self._started = clock.now()
        self._components = Components(clock)
        self._commands: set[asyncio.Task[Any]] = set()
        self._undelivered_since: float | None = None

    async def restore(self, carried: CarriedState | None = None) -> None:
        """Restore the state from the journal, and apply the current configuration to it."""
        await self.engine.restore(carried)
        self._is_restored = True
        for job in job_types():
            await job.prepare(self)
        await self.reloader.start()
        await self._adopt(self.reloader.revision)

    def state_after_damage(self) -> CarriedState | None:
        """The state to go on with, once this has ended because its journal is damaged; None if it did not
        get so far as to have one."""
        if not self._is_restored:
            return None
        return CarriedState(self.engine.all_rows(), self.journal.uncommitted_facts(), is_newest=True)

    def state_in_memory_journal(self) -> CarriedState:
        """The state to go on with, if the journal on the disk does not have it."""
        return CarriedState(self.engine.all_rows(), [], is_newest=False)

    @contextlib.asynccontextmanager
    async def running(self, reload_requested: asyncio.Event) -> AsyncIterator[None]:
        """Everything runs while this is entered."""
        async with asyncio.TaskGroup() as tasks:
            core = {
                "journal": self.journal.run(),
                "engine": self.engine.run(),
                "metrics": metrics.serve(self.site.metrics, self),
                "watchdog": self._feed_watchdog(),
                "loop-lag": self.loop_lag.run(),
                "overload": self.overload.run(),
                "garbage": leave_out_settled_objects(self.clock, lambda: self.reloader.revision),
                "report": self._report_own_figures(),
                "security": self._record_own_security_events(),
                "reload": self.reloader.run(),
                "hang-up": self._reload_on_signal(reload_requested),
            }
            running = [tasks.create_task(work, name=name) for name, work in core.items()]
            try:
                async with self._components:
                    self._components.start_missing(self._composition(self.site))
                    yield
            finally:
                for task in (*running, *self._commands):
                    task.cancel()
                self.record_security_events(SECURITY_LOG.take(every=True))

    def _composition(self, site: Site) -> Composition:
        """The parts that a site requires."""
        lines = {
            f"bus-{name}": ComponentSpec(
                (spec, devices_on(site, name)), functools.partial(self._build_line, name), stop=_stop_line
            )
            for name, spec in site.buses.items()
        }
        uplinks = {
            uplink_device(name): ComponentSpec(
                (options, filter_of(options, site.devices.values()), dialect_inputs(options, site)),
                functools.partial(self._build_uplink, name),
            )
            for name, options in site.uplinks.items()
        }
        jobs = {
            job.name: ComponentSpec(job.built_from(site), functools.partial(job, self), restarts=True)
            for job in job_types()
        }
        hold_ms = {device.name: 1000 * stale_after_s(device.every) for device in site.devices.values()}
        trends = ComponentSpec(
            (site.centre.timezone, hold_ms), functools.partial(self._build_trends, hold_ms), restarts=True
        )
        return {**lines, **uplinks, **jobs, "trends": trends}

    def _build_line(self, bus: str) -> Line:
        devices = tuple(device for device in self.site.devices.values() if device.bus == bus)
        return Line(
            self.site.buses[bus],
            devices,
            self.clock,
            self.engine.publish_sample,
            lambda: saved_states(self.engine.rows(DriverState.name)),
            lambda: self.overload.stretch,
        )

    def _build_uplink(self, name: str) -> Uplink:
        dialect = build_dialect(
            self.site.uplinks[name],
            self.site,
            self.journal.epoch,
            self.clock,
            lambda at: correct_stamp(self.engine.rows(Timekeeping.name), at),
        )
        return Uplink(
            name,
            self.site.uplinks[name],
            dialect,
            self.journal,
            self.clock,
            self.submit_command,
            self.engine.publish_sample,
        )

    def _build_trends(self, hold_ms: Mapping[str, float]) -> TrendWriter:
        file, timezone = trends_file(self.site.journal.path), self.site.centre.timezone
        return TrendWriter(file, self.journal.reader, self.clock, timezone, hold_ms)

    @property
    def components(self) -> Mapping[str, object]:
        """The running parts, by the name of their task."""
        return self._components.all()

    @property
    def lines(self) -> dict[str, Line]:
        """The open lines by the name of their bus."""
        return {part.spec.name: part for part in self.components.values() if isinstance(part, Line)}

    @property
    def uplinks(self) -> Mapping[str, Uplink]:
        """The connections to platforms, by name."""
        return {part.uplink: part for part in self.components.values() if isinstance(part, Uplink)}

    def _measure_load(self) -> LoadCounters:
        counters = [line.counters for line in self.lines.values()]
        return LoadCounters(
            self.idle_s(),
            sum(each.polls for each in counters),
            sum(each.missed for each in counters),
            # One that keeps up shows that the computer is not what holds up the others.
            min((each.windows_behind for each in self.uplinks.values() if each.is_online), default=0),
        )

    @property
    def jobs(self) -> list[Job]:
        """The jobs of the capabilities."""
        return [part for part in self.components.values() if isinstance(part, Job)]

    def line_of(self, device: str) -> Line:
        """The line of a device. Raises `GatewayError`."""
        if device not in self.site.devices:
            raise GatewayError("device-unknown", device=device, known=", ".join(self.site.devices))
        bus = self.site.devices[device].bus
        if bus not in self.lines:
            raise LinkDown("line-down", reason=bus)
        return self.lines[bus]

    def rows(self, service: str) -> Rows:
        return self.engine.rows(service)

    async def publish_sample(self, sample: Sample) -> None:
        await self.engine.publish_sample(sample)

    def record_fact(self, fact: Fact) -> None:
        self.engine.record_fact(fact)

    async def execute(self, command: Command) -> None:
        await self.line_of(command.device).execute(command)

    async def _execute_submitted(self, command: Command) -> dict[str, Any] | None:
        if command.action in GATEWAY_ACTIONS:
            return await self._platform_commands.execute(command)
        await self.execute(command)
        return None

    async def report_outcomes(self, service: str, outcomes: Iterable[Outcome]) -> None:
        await self.engine.report_outcomes(service, outcomes)

    async def submit_command(self, command: Command) -> CommandRow:
        return await self.run_shielded(self.engine.submit_command(command))

    async def run_shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work to its end even if the caller is cancelled."""
        return await asyncio.shield(self.start_background_task(work))

    def start_background_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work that outlives its caller, and is cancelled when the gateway stops."""
        task = asyncio.create_task(work)
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)
        return task

    def health(self) -> dict[str, Any]:
        """The answer of /healthz. `ok`: measurements reach the disk, and the site file is what runs. Buses,
        uplink, and why the journal was replaced since the start, are reported beside it."""
        return {
            "ok": not self._disk_trouble() and not self.reloader.refused,
            "version": __version__,
            "started": self._started.wall_ms,
            "clock": self.clock.now().clock,
            "journal": self._disk_trouble() or "ok",
            "journal_damage": self._damage,
            "failing": self._components.failing(),
            "config": self.reloader.health(),
            "uplinks": {name: each.is_online for name, each in self.uplinks.items()},
            "buses": {name: line.counters.is_up for name, line in self.lines.items()},
            "devices": count_states(self.device_states().values()),
        }

    def device_states(self) -> dict[str, DeviceState]:
        """The state of each device."""
        links = self.engine.rows(Presence.name)
        return {name: device_state(links, name) for name in self.site.devices}

    def findings(self) -> list[dict[str, Any]]:
        """What `linli doctor` says of the gateway itself: why the journal cannot be written, why it was
        replaced, which records were given up, and which jobs fail."""
        reasons = {"journal-failure": self._disk_trouble(), "journal-damage": self._damage}
        return [
            *(
                {"key": key, "facts": {"reason": sentence(f"cause.{reason}")}}
                for key, reason in reasons.items()
                if reason
            ),
            *(
                {
                    "key": "records-given-up",
                    "facts": {"count": count, "uplink": name, "reason": sentence(f"lost.{reason}")},
                }
                for name, delivery in self.journal.deliveries.items()
                for reason, count in delivery.given_up.items()
            ),
            *({"key": "job-failing", "facts": {"job": job}} for job in self._components.failing()),
        ]

    def doctor_report(self) -> dict[str, Any]:
        """What `linli doctor` says of lines and their devices, of platforms, and of the gateway itself."""
        reports = {name: line.report() for name, line in self.lines.items()}
        links, now = self.engine.rows(Presence.name), self.clock.now()
        for device in (device for report in reports.values() for device in report["devices"]):
            # Of a device that has not been heard since the start, the last run knows when it was.
            last = links[device["device"]].last if device["device"] in links else None
            if device["silent_s"] is None and last:
                device["silent_s"] = now.seconds_since(last)
        findings = [{"key": "loop-late", "facts": self.loop_lag.facts()}] if self.loop_lag.is_bad else []
        findings += self.findings()
        for uplink in self.uplinks.values():
            findings += [
                {"key": f"uplink-{key}", "facts": {**facts, "uplink": uplink.name}}
                for key, facts in (*uplink.notices(), *uplink.command_notices())
            ]
        if self.overload.is_reported:
            findings.append({"key": "overloaded", "facts": self.overload.facts()})
            for report in reports.values():
                # A line that waits for the computer looks full.
                report["findings"] = [each for each in report["findings"] if each["key"] != "line-full"]
        return {"buses": reports, "gateway": findings}

    def capability_figures(self) -> dict[str, dict[str, Value]]:
        """The present figures that capabilities declare, by service."""
        found: dict[str, dict[str, Value]] = {}
        for service, declared in figures_of(self.site.parts).items():
            values = self.engine.summary(service)
            found[service] = {name: values[name] for name in declared if name in values}
        return found

    def _disk_trouble(self) -> str:
        """Why measurements do not reach the disk, as a key of `cause` in `words/`; empty if they do."""
        failure = self.journal.failure
        return failure.cause if failure else self._disk_failure

    def _alarm_changed(self) -> None:
        for job in self.jobs:
            job.alarm_changed()

    async def _apply(self, site: Site, revision: Revision) -> None:
        """Stop, replace and start what the revision changes; everything else continues undisturbed."""
        composition = self._composition(site)
        await self._components.stop_outdated(composition)
        self.site, before = site, self.site
        for device in before.devices.keys() - site.devices.keys():
            self.journal.latest_samples.pop(device, None)
        await self._adopt(revision, replacements_between(before, site))
        self._components.start_missing(composition)

    async def _adopt(self, revision: Revision, replacements: tuple[Replacement, ...] = ()) -> None:
        present = {
            *self.site.devices,
            GATEWAY_DEVICE,
            *(job.reports_as for job in job_types() if job.reports_as),
        }
        present.update(map(uplink_device, self.site.uplinks))
        filters = {
            name: filter_of(options, self.site.devices.values())
            for name, options in self.site.uplinks.items()
        }
        # Without a platform everything is kept for the first one.
        await self.journal.configure_readers(filters or {DEFAULT_READER: StreamFilter()})
        adopted = ConfigurationAdopted(revision, self.clock.now(), frozenset(present), replacements)
        await self.engine.adopt(services_of(self.site), adopted)

    async def _reload_on_signal(self, requested: asyncio.Event) -> None:
        """SIGHUP: as `linli reload`, with the result in the log only."""
        while True:
            await requested.wait()
            requested.clear()
            with contextlib.suppress(GatewayError):
                await self.reloader.reload("signal")

    async def _report_own_figures(self) -> None:
        """Publish the gateway's own figures as samples of a device, to which rules and alarms apply."""
        published: tuple[dict[str, Value], dict[str, str]] = {}, {}
        due = 0.0
        while True:
            journal = self.journal
            flags: dict[str, Value] = {
                "journal_failing": bool(self._disk_trouble()),
                "journal_damaged": bool(self._damage),
                "config_refused": bool(self.reloader.refused),
                "alarm_undelivered": self._is_alarm_undelivered(),
            }
            lines = self.lines.values()
            fires = {place: where for line in lines for place, where in line.unknown_fires.items()}
            flags[UNKNOWN_FIRE_POINT] = bool(fires)
            if (flags, fires) != published or self.clock.mono() >= due:
                published, due = (flags, fires), self.clock.mono() + SELF_REPORT_INTERVAL_S
                figures = {
                    "journal_bytes": journal.size_bytes,
                    "written_per_day": round(journal.card_wear.bytes_per_day),
                    "card_years": round(min(journal.card_wear.lifetime_years, 99.0), 1),
                    "records_dropped": journal.dropped_count,
                    "dead_letters": journal.dead_letter_count,
                }
                places = {UNKNOWN_FIRE_POINT: fires}
                await self.engine.publish_sample(
                    Sample(GATEWAY_DEVICE, self.clock.now(), {**flags, **figures}, places=places)
                )
            await self.clock.sleep(FLAGS_CHECK_INTERVAL_S)

    def record_security_events(self, events: Iterable[SecurityEvent]) -> None:
        """Each becomes a record."""
        for event in events:
            body = msgspec.structs.asdict(event)
            self.record_fact(Fact(Lane.EVENT, GATEWAY_DEVICE, "security", self.clock.now(), body))

    async def _record_own_security_events(self) -> None:
        while True:
            self.record_security_events(SECURITY_LOG.take())
            await self.clock.sleep(SECURITY_INTERVAL_S)

    def _is_alarm_undelivered(self) -> bool:
        """Whether a platform has not acknowledged an alarm for too long."""
        now = self.clock.mono()
        if not any(each.is_alarm_pending() for each in self.uplinks.values()):
            self._undelivered_since = None
        elif self._undelivered_since is None:
            self._undelivered_since = now
        return (
            self._undelivered_since is not None and now - self._undelivered_since > ALARM_DELIVERY_LIMIT_S
        )

    async def _feed_watchdog(self) -> None:
        """Feed systemd's watchdog as long as the event loop runs, and log failures of the journal once."""
        every = watchdog_interval_s() or SELF_CHECK_INTERVAL_S
        logged = False
        while True:
            notify("WATCHDOG=1")
            failure = self.journal.failure
            if failure and not logged:
                log_event(logging.ERROR, "journal-failed", reason=error_text(failure.key, **failure.facts))
            elif logged and not failure:
                log_event(logging.INFO, "journal-well")
            logged = failure is not None
            report_held_back()
            await self.clock.sleep(min(every, SELF_CHECK_INTERVAL_S))


async def _stop_line(line: Line, task: asyncio.Task[None]) -> None:
    await line.stop(task)
