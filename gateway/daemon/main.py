"""The daemon from start to end. The nesting of the contexts is the order of shutdown, inside out."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec

from gateway import __version__
from gateway.base import control
from gateway.base.clock import SystemClock, local_day
from gateway.base.connections import log_shortage
from gateway.base.log import error_text, log_event
from gateway.base.systemd import notify
from gateway.base.tasks import root_error
from gateway.config import Site
from gateway.config.adoption import StartConfiguration
from gateway.journal import (
    Journal,
    JournalDamaged,
    JournalFailed,
    StorageLimits,
    is_writable,
)
from gateway.model import Clock, GatewayError

from .calls import ControlCalls, check_jobs
from .engine import CarriedState
from .gateway import Gateway

DISK_CHECK_INTERVAL_S = 15.0
"""How often a gateway whose journal is in memory tries the disk; longer after attempts that failed."""
MAX_MEMORY_JOURNAL_BYTES = 64_000_000
QUICK_END_S = 60.0
MAX_QUICK_ENDS = 3
"""After so many damaged journals in a row, each within `QUICK_END_S`, the next one is in memory."""


async def run(file: Path, start: StartConfiguration, idle_s: Callable[[], float] = time.monotonic) -> None:
    """Run the configuration chosen for that site file, until SIGTERM or SIGINT; SIGHUP reloads the file.

    `idle_s`: seconds since the start in which the event loop had nothing to do; by default, all of them.
    """
    check_jobs()
    site = start.site
    log_event(
        logging.INFO, "starting",
        version=__version__, site=site.centre.id, buses=len(site.buses), devices=len(site.devices),
    )  # fmt: skip
    stop_requested, reload_requested = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_shortage)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_requested.set)
    loop.add_signal_handler(signal.SIGHUP, reload_requested.set)
    clock = SystemClock()
    carried: CarriedState | None = None
    damage: JournalDamaged | None = None
    quick_ends = 0
    while not stop_requested.is_set():
        gateway, began_s = None, clock.mono()
        try:
            distrust = damage if quick_ends >= MAX_QUICK_ENDS else None
            async with _open_journal(start.site, clock, distrust) as (journal, disk_failure):
                cause = damage.cause if damage else ""
                gateway = Gateway(file, start, journal, clock, idle_s, disk_failure, cause)
                await gateway.restore(carried)
                async with (
                    control.serve_control_socket(start.site.control.socket, ControlCalls(gateway)),
                    gateway.running(reload_requested),
                ):
                    log_event(logging.INFO, "ready")
                    notify("READY=1")
                    if disk_failure:
                        await _wait_for_disk(start.site, clock, stop_requested, quick_ends)
                    else:
                        await stop_requested.wait()
                    if stop_requested.is_set():
                        log_event(logging.INFO, "stopping")
                        notify("STOPPING=1")
                    else:
                        log_event(logging.INFO, "journal-returns", path=start.site.journal.path)
                        carried = gateway.state_in_memory_journal()
        except* JournalDamaged as group:
            damage = _log_damage(group)
            if gateway is None:
                raise
            # Begin anew in this process: the alarms must not depend on somebody who restarts it.
            carried = gateway.state_after_damage() or carried
        if gateway:
            start = gateway.reloader.choice
        quick_ends = quick_ends + 1 if clock.mono() - began_s < QUICK_END_S else 0


def _log_damage(group: BaseExceptionGroup[JournalDamaged]) -> JournalDamaged:
    error = root_error(group)
    assert isinstance(error, JournalDamaged)
    log_event(logging.ERROR, "journal-damaged", reason=error_text(error.key, **error.facts))
    return error


async def _wait_for_disk(
    site: Site, clock: Clock, stop_requested: asyncio.Event, earlier_attempts: int
) -> None:
    """Return when the disk of the journal can be written again, or when a stop is requested."""
    delay_s = DISK_CHECK_INTERVAL_S * 2.0 ** min(earlier_attempts, 8)
    while not stop_requested.is_set():
        await clock.wait(stop_requested, delay_s)
        if await asyncio.to_thread(is_writable, site.journal.path):
            return


@contextlib.asynccontextmanager
async def _open_journal(
    site: Site, clock: Clock, distrust: JournalDamaged | None
) -> AsyncIterator[tuple[Journal, str]]:
    """The journal and ""; if its disk cannot be written or must not be trusted, a journal in the runtime
    folder, which is in memory, and the reason. A centre whose card has failed still needs its alarms. The
    next journal on the disk takes over what that one holds.
    """
    options, day_of = site.journal, local_day(site.centre.timezone)
    limits = StorageLimits(
        cap_bytes=options.cap, daily_bytes=options.daily, endurance_bytes=options.endurance
    )
    runtime = site.control.socket.parent
    spare = runtime / "memory" / "journal.db"
    failure = ""
    async with contextlib.AsyncExitStack() as stack:
        small = msgspec.structs.replace(limits, cap_bytes=min(limits.cap_bytes, MAX_MEMORY_JOURNAL_BYTES))
        for path, own_limits, tail, memory in (
            (options.path, limits, runtime, spare),
            (spare, small, spare.parent, None),
        ):
            try:
                if distrust and path != spare:
                    raise distrust
                stack.enter_context(_journal_lock(path))
                opening = Journal.open(path, clock, options.window, own_limits, day_of, tail, memory)
                journal = await stack.enter_async_context(opening)
                break
            except (JournalFailed, OSError) as error:
                if path == spare:
                    raise
                failed = (
                    error
                    if isinstance(error, JournalFailed)
                    else JournalFailed("journal-open", path=path, reason=error)
                )
                failure, reason = failed.cause, failed.facts["reason"]
                log_event(logging.ERROR, "journal-homeless", path=path, spare=spare, reason=reason)
        yield journal, failure


@contextlib.contextmanager
def _journal_lock(journal: Path) -> Iterator[None]:
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
