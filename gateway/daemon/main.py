"""The daemon from start to end. The nesting of the contexts is the order of shutdown, inside out."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from gateway import __version__
from gateway.base import control
from gateway.base.clock import SystemClock, local_day
from gateway.base.connections import log_shortage
from gateway.base.log import log_event
from gateway.base.systemd import notify
from gateway.config import Site
from gateway.config.adoption import StartConfiguration
from gateway.journal import Journal, JournalFailed, StorageLimits
from gateway.model import Clock, GatewayError

from .calls import ControlCalls, check_jobs
from .gateway import Gateway


async def run(file: Path, start: StartConfiguration) -> None:
    """Run the configuration chosen for that site file, until SIGTERM or SIGINT; SIGHUP reloads the file."""
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
    async with _open_journal(site, clock) as (journal, disk_failure):
        gateway = Gateway(file, start, journal, clock, disk_failure)
        await gateway.restore()
        async with (
            control.serve_control_socket(site.control.socket, ControlCalls(gateway)),
            gateway.running(reload_requested),
        ):
            log_event(logging.INFO, "ready")
            notify("READY=1")
            await stop_requested.wait()
            log_event(logging.INFO, "stopping")
            notify("STOPPING=1")


@contextlib.asynccontextmanager
async def _open_journal(site: Site, clock: Clock) -> AsyncIterator[tuple[Journal, str]]:
    """The journal and ""; if its disk cannot be written, a journal in the runtime folder, which is in
    memory, and the reason. A centre whose card has failed still needs its alarms.
    """
    options, day_of = site.journal, local_day(site.centre.timezone)
    limits = StorageLimits(
        cap_bytes=options.cap, daily_bytes=options.daily, endurance_bytes=options.endurance
    )
    spare = site.control.socket.parent / "journal.db"
    failure = ""
    async with contextlib.AsyncExitStack() as stack:
        for path in (options.path, spare):
            try:
                stack.enter_context(_journal_lock(path))
                opening = Journal.open(path, clock, options.window, limits, day_of, spare.parent)
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
