"""Taking up another configuration while the gateway runs, and returning from one that silences devices.

The whole file is right, or nothing of it is taken up. What was adopted has a number, and a copy on the
disk before anything changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.base.failpoint import failpoint
from gateway.base.log import error_text, language, log_event
from gateway.config import Mistake, Mistakes, Site, adoption, load_site
from gateway.config.adoption import AdoptedConfiguration, Changes, StartConfiguration, Trial
from gateway.journal import Journal
from gateway.model import MISSES_UNTIL_OFFLINE, Clock, GatewayError, Quality, Revision
from gateway.services.configuration import Configuration, newest
from gateway.services.presence import Presence
from gateway.uplink import Uplink
from gateway.words import LANGUAGES

from .engine import Engine

SHORTEST, LONGEST = 15.0, 120.0
"""Seconds of a trial: three polls of the slowest device that is watched, within these."""
TOLD = 5
"""Mistakes that `health` repeats."""
WAIT = 10.0
"""Seconds a question for the verdict may wait."""

Switch = Callable[[Site, Revision], Awaitable[None]]
"""Close, restart and open what the revision changes; everything else goes on undisturbed."""


class Reloader:
    """The configuration that holds, and the only way to another one."""

    def __init__(
        self,
        file: Path,
        choice: StartConfiguration,
        engine: Engine,
        journal: Journal,
        clock: Clock,
        switch: Switch,
    ) -> None:
        self._file = file
        self._kept = choice.kept
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._switch = switch
        self._under_way = False
        self._begun, self._ended = asyncio.Event(), asyncio.Event()
        self.site = choice.site
        self.refused: tuple[Mistake, ...] = choice.refused
        """Why the site's file is not what runs."""

    @property
    def revision(self) -> Revision:
        """Of the configuration that holds; from `begin` on."""
        assert self._kept
        return self._kept.revision

    @property
    def trial(self) -> Trial | None:
        """What the configuration has yet to prove."""
        return self._kept.trial if self._kept else None

    async def begin(self) -> None:
        """Give what the gateway starts with its number: the one it had, if it is not new."""
        rows = self._engine.rows(Configuration.name)
        known: list[Revision] = [self._kept.revision] if self._kept else []
        known += [rows[str(number)]] if (number := newest(rows)) else []
        last = max(known, key=lambda revision: revision.number, default=None)
        if last is None or last.digest != self.site.digest:
            old = adoption.load_sources(self._file, self._kept.sources) if self._kept else None
            changes = adoption.compare(old, self.site) if old else {}
            last = self._next(last, self.site, "start", changes)
        if self._kept is None or self._kept.revision != last:
            self._kept = self._copy(last, self.site)
            await self._keep(self._kept)
        for mistake in self.refused:
            log_event(logging.ERROR, "config-mistake", mistake=mistake.say(language()))
        if self.refused:
            log_event(logging.ERROR, "config-last-good", revision=last.number)
        if self._kept.trial:
            # The process ended in the middle of it.
            self._under_way = True
            self._begun.set()

    async def run(self) -> None:
        """Watch over one trial after the other."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            assert self._kept
            if trial := self._kept.trial:
                await self._try(self._kept, trial)
            self._under_way = False
            self._ended.set()

    async def reload(self, by: str, *, returning: bool = True) -> dict[str, Any]:
        """Adopt the site's file as it is now. Raises `Mistakes`, or another `GatewayError`, and then
        nothing has changed. Without `returning` there is no trial."""
        try:
            if self._under_way:
                raise GatewayError("reload-under-way")
            return await self._reload(by, returning)
        except GatewayError as refused:
            mistakes = refused.mistakes if isinstance(refused, Mistakes) else ()
            for mistake in mistakes:
                log_event(logging.ERROR, "config-mistake", mistake=mistake.say(language()))
            why = error_text("reload-refused" if mistakes else refused.key, **refused.facts)
            log_event(logging.ERROR, "reload-refused", by=by, reason=why)
            raise

    async def verdict(self) -> dict[str, Any]:
        """How the trial ended; `pending` if it has not, a little later."""
        if self._under_way:
            await self._clock.wait(self._ended, WAIT)
        revision = self.revision
        return {
            "pending": self._under_way,
            "revision": revision.number,
            "silent": revision.silent if revision.by == "rollback" else (),
        }

    def health(self) -> dict[str, Any]:
        """The revision, and what is wrong with the file, in every language."""
        return {
            "revision": self.revision.number,
            "digest": self.revision.digest,
            "by": self.revision.by,
            "at": self.revision.at.wall,
            "on_trial": self.trial is not None,
            "refused": {each: [mistake.say(each) for mistake in self.refused[:TOLD]] for each in LANGUAGES}
            if self.refused
            else {},
        }

    async def _reload(self, by: str, returning: bool) -> dict[str, Any]:
        self._under_way = True
        self._ended.clear()
        try:
            return await self._take_up(by, returning)
        finally:
            self._under_way = self.trial is not None

    async def _take_up(self, by: str, returning: bool) -> dict[str, Any]:
        old = self.site
        new = await asyncio.to_thread(load_site, self._file, running=old)
        if new.digest == old.digest:
            self.refused = ()
            return {"revision": self.revision.number, "adopted": False, "changes": {}, "trial": 0}
        changes = adoption.compare(old, new)
        trial = self._trial(old, new, changes) if returning else None
        kept = self._copy(self._next(self.revision, new, by, changes), new, trial=trial)
        try:
            await asyncio.to_thread(adoption.save_adopted, old.journal.path, kept)
        except OSError as error:
            raise GatewayError("config-unkept", reason=error) from error
        await self._adopt(new, kept)
        self.refused = ()
        seconds = self._period(trial) if trial else 0
        if trial:
            log_event(
                logging.INFO, "config-on-trial", revision=kept.revision.number, seconds=round(seconds)
            )
            self._begun.set()
        return {
            "revision": kept.revision.number,
            "adopted": True,
            "changes": changes,
            "trial": round(seconds),
        }

    async def _adopt(self, site: Site, kept: AdoptedConfiguration) -> None:
        failpoint("config-kept")
        self._kept, self.site = kept, site
        await self._switch(site, kept.revision)
        failpoint("config-switched")
        lines = kept.revision.changes.get("bus", {})
        log_event(
            logging.INFO, "config-adopted",
            revision=kept.revision.number, by=kept.revision.by,
            **{how: ", ".join(lines.get(how, ())) or "–" for how in ("added", "changed", "removed")},
        )  # fmt: skip

    def _next(self, last: Revision | None, site: Site, by: str, changes: Changes) -> Revision:
        number = last.number + 1 if last else 1
        return Revision(number, site.digest, self._clock.now(), by, changes)

    def _copy(self, revision: Revision, site: Site, **more: Any) -> AdoptedConfiguration:
        return AdoptedConfiguration(str(self._file.resolve()), revision, site.sources, **more)

    async def _keep(self, kept: AdoptedConfiguration) -> None:
        """A disk that takes nothing costs the copy, not the gateway."""
        try:
            await asyncio.to_thread(adoption.save_adopted, self.site.journal.path, kept)
        except OSError as error:
            log_event(logging.ERROR, "config-unkept", reason=error)

    def _trial(self, old: Site, new: Site, changes: Changes) -> Trial | None:
        """Devices that both have, on lines that are opened anew; None if not one of them answered."""
        lines = changes.get("bus", {})
        opened = {*lines.get("added", ()), *lines.get("changed", ())}
        watched = [d.name for d in new.devices.values() if d.name in old.devices and d.bus in opened]
        watched += changes.get("uplink", {}).get("changed", [])
        links = self._engine.rows(Presence.name)
        silent = [name for name in watched if name not in links or not links[name].online]
        return Trial(old.sources, watched, silent) if len(silent) < len(watched) else None

    async def _try(self, kept: AdoptedConfiguration, trial: Trial) -> None:
        since, seconds = self._clock.now().mono, self._period(trial)
        await self._clock.sleep(seconds)
        silent = [name for name in trial.watched if self._is_silent(name, since, seconds)]
        if len(silent) > len(trial.silent):
            old = await asyncio.to_thread(adoption.load_sources, self._file, trial.sources)
            if old:
                await self._return(old, tuple(name for name in silent if name not in trial.silent))
                return
        self._kept = msgspec.structs.replace(kept, trial=None)
        await self._keep(self._kept)
        log_event(logging.INFO, "config-proved", revision=kept.revision.number)

    async def _return(self, old: Site, silent: tuple[str, ...]) -> None:
        """The file stays as it is, for somebody to mend; what ran before it runs again."""
        new, number = self.site, self.revision.number
        revision = self._next(self.revision, old, "rollback", adoption.compare(new, old))
        kept = self._copy(msgspec.structs.replace(revision, silent=silent), old, rejected=new.digest)
        await self._keep(kept)
        self.refused = (adoption.returned(self._file, kept.revision),)
        await self._adopt(old, kept)
        log_event(
            logging.ERROR, "config-returned",
            refused=number, revision=kept.revision.number, silent=", ".join(silent),
        )  # fmt: skip

    def _every(self, name: str) -> float:
        """Seconds between two signs of life; the uplink gives one, at once."""
        return self.site.devices[name].every if name != Uplink.name else 0.0

    def _period(self, trial: Trial) -> float:
        slowest = max(map(self._every, trial.watched))
        return min(LONGEST, max(SHORTEST, MISSES_UNTIL_OFFLINE * slowest))

    def _is_silent(self, name: str, since: int, seconds: float) -> bool:
        """No good word in that time. One that speaks less often has the benefit of the doubt."""
        sample = self._journal.latest.get(name)
        if sample is None or sample.at.mono <= since:
            return MISSES_UNTIL_OFFLINE * self._every(name) <= seconds
        return bool(sample.body["quality"] == Quality.OFFLINE)
