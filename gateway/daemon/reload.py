"""Adopting another configuration while the gateway runs, and rolling back one that silences devices.

A file is adopted as a whole or not at all. What is adopted has a revision number, and is stored on the disk
before anything changes.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.base.failpoint import failpoint
from gateway.base.files import rewrite
from gateway.base.log import error_text, language, log_event
from gateway.config import Mistake, Mistakes, Site, adoption, load_site
from gateway.config.adoption import AdoptedConfiguration, ConfigurationChanges, StartConfiguration, Trial
from gateway.journal import Journal
from gateway.model import (
    FAILURES_UNTIL_OFFLINE,
    Arrival,
    Clock,
    GatewayError,
    Quality,
    Revision,
    sentence,
    uplink_device,
)
from gateway.services.configuration import Configuration, newest_revision
from gateway.services.presence import DeviceState, Presence, device_state
from gateway.words import LANGUAGES

from .engine import Engine

MIN_TRIAL_S, MAX_TRIAL_S = 15.0, 120.0
"""A trial lasts three polls of the slowest device that is watched, within these limits."""
MAX_REPORTED_MISTAKES = 5
"""Mistakes of the site file in the answer to `health`."""
VERDICT_WAIT_S = 10.0
"""How long a call for the verdict waits for the end of the trial."""

Check = Callable[[Site], Sequence[Mistake]]
"""What is wrong with a site, besides what keeps it from being loaded."""
ApplyRevision = Callable[[Site, Revision], Awaitable[None]]
"""Stops, replaces and starts what the revision changes; everything else continues undisturbed."""


class Reloader:
    """The current configuration, and the only way to change it."""

    def __init__(
        self,
        file: Path,
        choice: StartConfiguration,
        engine: Engine,
        journal: Journal,
        clock: Clock,
        apply: ApplyRevision,
    ) -> None:
        self._file = file
        self._adopted_configuration = choice.adopted
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._apply = apply
        self._in_progress = False
        self._trial_started, self._trial_ended = asyncio.Event(), asyncio.Event()
        self.site = choice.site
        self.refused: tuple[Mistake, ...] = choice.refused
        """Why the site file is not what runs; empty if it is."""
        self.unproved: tuple[str, ...] = ()
        """The devices of which nothing was heard during the last trial that was not rolled back."""

    @property
    def revision(self) -> Revision:
        """The revision of the current configuration; known from `start` on."""
        assert self._adopted_configuration
        return self._adopted_configuration.revision

    @property
    def choice(self) -> StartConfiguration:
        """What runs now, to start with again."""
        return StartConfiguration(self.site, self._adopted_configuration, self.refused)

    @property
    def trial(self) -> Trial | None:
        """The trial that the current configuration is in, if any."""
        return self._adopted_configuration.trial if self._adopted_configuration else None

    async def start(self) -> None:
        """Give the configuration of the start its revision number: the previous one, if it is not new."""
        rows = self._engine.rows(Configuration.name)
        known: list[Revision] = (
            [self._adopted_configuration.revision] if self._adopted_configuration else []
        )
        known += [rows[str(number)]] if (number := newest_revision(rows)) else []
        last = max(known, key=lambda revision: revision.number, default=None)
        if last is None or last.digest != self.site.digest:
            old = (
                adoption.load_sources(self._file, self._adopted_configuration.sources)
                if self._adopted_configuration
                else None
            )
            changes = adoption.changes_between(old, self.site) if old else {}
            last = self._next_revision(last, self.site, "start", changes)
        if self._adopted_configuration is None or self._adopted_configuration.revision != last:
            self._adopted_configuration = self._make_adopted(last, self.site)
        stored = await asyncio.to_thread(adoption.load_adopted, self._file, self.site.journal.path)
        if stored != self._adopted_configuration:
            await self._save(self._adopted_configuration)
        for mistake in self.refused:
            log_event(logging.ERROR, "config-mistake", mistake=mistake.text(language()))
        if self.refused:
            log_event(logging.ERROR, "config-last-good", revision=last.number)
        if self._adopted_configuration.trial:
            # The process ended during a trial: start it again.
            self._in_progress = True
            self._trial_started.set()

    async def run(self) -> None:
        """Run one trial after the other."""
        while True:
            await self._trial_started.wait()
            self._trial_started.clear()
            assert self._adopted_configuration
            if trial := self._adopted_configuration.trial:
                await self._run_trial(self._adopted_configuration, trial)
            self._in_progress = False
            self._trial_ended.set()

    async def reload(self, by: str, *, returning: bool = True) -> dict[str, Any]:
        """Adopt the site file as it is now. Raises `Mistakes` or another `GatewayError`; then nothing has
        changed. Without `returning` there is no trial and no rollback."""
        return await self._alone(by, functools.partial(self._load_and_adopt, by, returning))

    async def replace_text(
        self,
        digest: str,
        source: str,
        change: Callable[[str], str],
        person: str,
        by: str = "dashboard",
        check: Check = lambda site: (),
    ) -> dict[str, Any]:
        """Change one of the `Site.sources`, and adopt the result. `digest` is that of the configuration
        which the person saw. After a rollback the file is as it was before.

        Raises `Mistakes` or another `GatewayError`; then neither has changed. Nothing is changed either
        when somebody has edited a file since it was adopted: they may not be ready.
        """
        rewrite_and_adopt = functools.partial(
            self._rewrite_and_adopt, digest, source, change, person, by, check
        )
        return await self._alone(by, rewrite_and_adopt)

    async def _rewrite_and_adopt(
        self, digest: str, source: str, change: Callable[[str], str], person: str, by: str, check: Check
    ) -> dict[str, Any]:
        old = self.site
        if digest != old.digest or source not in old.sources:
            raise GatewayError("settings-outdated")
        if not await asyncio.to_thread(self._is_unedited):
            raise GatewayError("settings-edited", file=self._file)
        text = await asyncio.to_thread(change, old.sources[source])
        # Also checks what needs a restart.
        sources = {**old.sources, source: text}
        new = await asyncio.to_thread(load_site, self._file, saved_sources=sources, running=old)
        if mistakes := await asyncio.to_thread(check, new):
            raise Mistakes(list(mistakes))
        file = self._file.parent / f"{source}.toml" if source else self._file
        existed = file.exists()
        try:
            await asyncio.to_thread(rewrite, file, text)
        except OSError as error:
            raise GatewayError("settings-unwritable", file=file, reason=error) from error
        try:
            return await self._load_and_adopt(by, returning=True, person=person, rewritten=source)
        except GatewayError:
            if existed:
                await asyncio.to_thread(rewrite, file, old.sources[source])
            else:
                file.unlink()  # What the distribution says applies again.
            raise

    def _is_unedited(self) -> bool:
        """Whether the files still say what was adopted."""
        try:
            return load_site(self._file).digest == self.site.digest
        except Mistakes:
            return False

    async def _alone(self, by: str, adopt: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Adopt while no other adoption is under way, and log why one is refused."""
        try:
            if self._in_progress:
                raise GatewayError("reload-under-way")
            self._in_progress = True
            self.unproved = ()
            self._trial_ended.clear()
            try:
                return await adopt()
            finally:
                self._in_progress = self.trial is not None
        except GatewayError as refused:
            mistakes = refused.mistakes if isinstance(refused, Mistakes) else ()
            for mistake in mistakes:
                log_event(logging.ERROR, "config-mistake", mistake=mistake.text(language()))
            why = error_text("reload-refused" if mistakes else refused.key, **refused.facts)
            log_event(logging.ERROR, "reload-refused", by=sentence(f"cli.by-{by}"), reason=why)
            raise

    async def verdict(self) -> dict[str, Any]:
        """How the trial ended; `pending` if it is still running after `VERDICT_WAIT_S`."""
        if self._in_progress:
            await self._clock.wait(self._trial_ended, VERDICT_WAIT_S)
        revision = self.revision
        return {
            "pending": self._in_progress,
            "revision": revision.number,
            "silent": revision.silent if revision.by == "rollback" else (),
            "unproved": self.unproved,
        }

    def health(self) -> dict[str, Any]:
        """The revision, and the mistakes of the site file in every language."""
        return {
            "revision": self.revision.number,
            "digest": self.revision.digest,
            "by": self.revision.by,
            "at": self.revision.at.wall_ms,
            "on_trial": self.trial is not None,
            "refused": {
                each: [mistake.text(each) for mistake in self.refused[:MAX_REPORTED_MISTAKES]]
                for each in LANGUAGES
            }
            if self.refused
            else {},
        }

    async def _load_and_adopt(
        self, by: str, returning: bool, person: str = "", rewritten: str | None = None
    ) -> dict[str, Any]:
        old = self.site
        new = await asyncio.to_thread(load_site, self._file, running=old)
        if new.digest == old.digest:
            self.refused = ()
            return {"revision": self.revision.number, "adopted": False, "changes": {}, "trial": 0}
        changes = adoption.changes_between(old, new)
        trial = self._trial(old, new, changes, rewritten) if returning else None
        revision = self._next_revision(self.revision, new, by, changes, person)
        adopted = self._make_adopted(revision, new, trial=trial)
        try:
            await asyncio.to_thread(adoption.save_adopted, old.journal.path, adopted)
        except OSError as error:
            raise GatewayError("config-unkept", reason=error) from error
        await self._adopt(new, adopted)
        self.refused = ()
        seconds = self._trial_duration_s(trial) if trial else 0
        if trial:
            log_event(
                logging.INFO, "config-on-trial", revision=adopted.revision.number, seconds=round(seconds)
            )
            self._trial_started.set()
        return {
            "revision": adopted.revision.number,
            "adopted": True,
            "changes": changes,
            "trial": round(seconds),
        }

    async def _adopt(self, site: Site, adopted: AdoptedConfiguration) -> None:
        failpoint("config-kept")
        self._adopted_configuration, self.site = adopted, site
        await self._apply(site, adopted.revision)
        failpoint("config-switched")
        lines = adopted.revision.changes.get("bus", {})
        log_event(
            logging.INFO, "config-adopted",
            revision=adopted.revision.number, by=sentence(f"cli.by-{adopted.revision.by}"),
            **{how: ", ".join(lines.get(how, ())) or "–" for how in ("added", "changed", "removed")},
        )  # fmt: skip

    def _next_revision(
        self, last: Revision | None, site: Site, by: str, changes: ConfigurationChanges, person: str = ""
    ) -> Revision:
        number = last.number + 1 if last else 1
        return Revision(number, site.digest, self._clock.now(), by, changes, person=person)

    def _make_adopted(self, revision: Revision, site: Site, **more: Any) -> AdoptedConfiguration:
        return AdoptedConfiguration(str(self._file.resolve()), revision, site.sources, **more)

    async def _save(self, adopted: AdoptedConfiguration) -> None:
        """Store the configuration; on a full or failed disk that is logged, and the gateway continues."""
        try:
            await asyncio.to_thread(adoption.save_adopted, self.site.journal.path, adopted)
        except OSError as error:
            log_event(logging.ERROR, "config-unkept", reason=error)

    def _trial(
        self, old: Site, new: Site, changes: ConfigurationChanges, rewritten: str | None
    ) -> Trial | None:
        """The devices to watch: those of both sites on buses that are reopened; None if all were silent."""
        lines = changes.get("bus", {})
        opened = {*lines.get("added", ()), *lines.get("changed", ())}
        watched = [d.name for d in new.devices.values() if d.name in old.devices and d.bus in opened]
        watched += map(uplink_device, changes.get("uplink", {}).get("changed", []))
        links = self._engine.rows(Presence.name)
        silent = [name for name in watched if device_state(links, name) is not DeviceState.ONLINE]
        return Trial(old.sources, watched, silent, rewritten) if len(silent) < len(watched) else None

    async def _run_trial(self, adopted: AdoptedConfiguration, trial: Trial) -> None:
        since, seconds = self._clock.now().mono_ns, self._trial_duration_s(trial)
        await self._clock.sleep(seconds)
        silent = [name for name in trial.watched if self._is_silent(name, since, seconds)]
        if len(silent) > len(trial.silent):
            old = await asyncio.to_thread(adoption.load_sources, self._file, trial.sources)
            if old:
                newly_silent = tuple(name for name in silent if name not in trial.silent)
                await self._roll_back(old, newly_silent, trial.rewritten)
                return
        self._adopted_configuration = msgspec.structs.replace(adopted, trial=None)
        await self._save(self._adopted_configuration)
        revision, self.unproved = adopted.revision.number, self._not_heard_since(adopted, since)
        if self.unproved:
            log_event(logging.WARNING, "config-unproved", revision=revision, names=", ".join(self.unproved))
        else:
            log_event(logging.INFO, "config-proved", revision=revision)

    async def _roll_back(self, old: Site, silent: tuple[str, ...], rewritten: str | None) -> None:
        """Adopt the previous configuration. A file that people have edited stays as it is, to be
        corrected."""
        new, number = self.site, self.revision.number
        revision = self._next_revision(self.revision, old, "rollback", adoption.changes_between(new, old))
        adopted = self._make_adopted(
            msgspec.structs.replace(revision, silent=silent), old, rejected=new.digest
        )
        await self._save(adopted)
        if rewritten is None or not await asyncio.to_thread(self._return_file, rewritten, old):
            self.refused = (adoption.rollback_mistake(self._file, adopted.revision),)
        await self._adopt(old, adopted)
        log_event(
            logging.ERROR, "config-returned",
            refused=number, revision=adopted.revision.number, silent=", ".join(silent),
        )  # fmt: skip

    def _return_file(self, source: str, old: Site) -> bool:
        """Whether the file says again what it said before the gateway rewrote it: not if somebody has
        edited it since."""
        if not self._is_unedited():
            return False
        try:
            rewrite(self._file.parent / f"{source}.toml" if source else self._file, old.sources[source])
        except OSError:
            return False
        return True

    def _expected_interval_s(self, name: str) -> float:
        """Seconds between two samples; an uplink reports once, immediately."""
        device = self.site.devices.get(name)
        return device.every if device else 0.0

    def _trial_duration_s(self, trial: Trial) -> float:
        slowest = max(map(self._expected_interval_s, trial.watched))
        return min(MAX_TRIAL_S, max(MIN_TRIAL_S, FAILURES_UNTIL_OFFLINE * slowest))

    def _not_heard_since(self, adopted: AdoptedConfiguration, since: int) -> tuple[str, ...]:
        """The devices on the lines that were opened for this configuration of which nothing good has come:
        those that report seldom, and new ones."""
        lines = adopted.revision.changes.get("bus", {})
        opened = {*lines.get("added", ()), *lines.get("changed", ())}
        devices = [device.name for device in self.site.devices.values() if device.bus in opened]
        samples = ((name, self._journal.latest_samples.get(name)) for name in devices)
        return tuple(
            name
            for name, sample in samples
            if sample is None or sample.at.mono_ns <= since or sample.body["quality"] == Quality.OFFLINE
        )

    def _is_silent(self, name: str, since: int, seconds: float) -> bool:
        """Whether it has sent nothing good since then; False for one that reports less often than that."""
        sample = self._journal.latest_samples.get(name)
        if sample is None or sample.at.mono_ns <= since or sample.body.get("arrival") == Arrival.RETAINED:
            return FAILURES_UNTIL_OFFLINE * self._expected_interval_s(name) <= seconds
        return bool(sample.body["quality"] == Quality.OFFLINE)
