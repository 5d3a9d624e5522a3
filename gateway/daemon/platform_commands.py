"""What the gateway itself does for a platform: reads a device, tells how it is, changes its configuration.

A configuration that a platform sends is checked as `linli check` does, and goes the way of every other: it
is a revision with an author, on trial where it reopens lines, and rolled back if devices fall silent.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway.base.log import language
from gateway.config import Mistake, Mistakes, Site
from gateway.config.editing import Edit, edited
from gateway.config.site_settings import manager_numbers
from gateway.field.line import Line
from gateway.model import (
    CONFIGURE,
    DIAGNOSE,
    READ_NOW,
    SET_THRESHOLD,
    Command,
    GatewayError,
    ReadFailed,
)
from gateway.services.presence import DeviceState

from .reload import Check, Reloader

READ_TIMEOUT_S = 20.0
"""For the first message of a device that reports by itself."""
MAX_DIAGNOSIS_BYTES = 60_000
"""Brokers of large platforms take messages of 64 or 128 KiB."""
MAX_REPORTED_MISTAKES = 5
MAX_NAMED = 30
"""Numbers that can be set, in a reason."""


class RunningGateway(Protocol):
    """The gateway, as far as it is needed here."""

    @property
    def file(self) -> Path: ...

    @property
    def reloader(self) -> Reloader: ...

    def line_of(self, device: str) -> Line: ...

    def doctor_report(self) -> dict[str, Any]: ...


class PlatformCommands:
    """Executes the `GATEWAY_ACTIONS`."""

    def __init__(self, host: RunningGateway) -> None:
        self._host = host
        self._actions = {
            READ_NOW: self._read_now,
            DIAGNOSE: self._diagnose,
            SET_THRESHOLD: self._set_threshold,
            CONFIGURE: self._configure,
        }

    async def execute(self, command: Command) -> dict[str, Any]:
        """What came of it, without secrets. Raises `GatewayError`."""
        return await self._actions[command.action](command)

    async def _read_now(self, command: Command) -> dict[str, Any]:
        """One reading, which becomes a record as well; of a device that reports by itself, its last one."""
        line = self._host.line_of(command.device)
        reading = line.last_reading(command.device)
        if reading is None:
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    reading = await line.read(command.device)
            except TimeoutError as error:
                raise ReadFailed("silent", seconds=round(READ_TIMEOUT_S)) from error
        sample = reading.sample
        return {"at": sample.at.wall_ms, "values": sample.values, "bad": sample.bad}

    async def _diagnose(self, _: Command) -> dict[str, Any]:
        """What `linli doctor` finds, and which configuration runs."""
        from gateway.web.certificates import serving_findings  # noqa: PLC0415  its library is large

        reloader, report = self._host.reloader, self._host.doctor_report()
        report["gateway"] += [
            {"key": key, "facts": facts}
            for key, facts in serving_findings(reloader.site.dashboard, datetime.datetime.now(datetime.UTC))
        ]
        report["revision"], report["digest"] = reloader.revision.number, reloader.revision.digest
        return bounded_report(report, MAX_DIAGNOSIS_BYTES)

    async def _set_threshold(self, command: Command) -> dict[str, Any]:
        """Set one of the numbers that a manager may set: `setting` is its place in the site file."""
        site = self._host.reloader.site
        name, value = command.args.get("setting"), command.args.get("value")
        numbers = await asyncio.to_thread(manager_numbers, site)
        if not isinstance(name, str) or name not in numbers:
            raise GatewayError("threshold-unknown", read=name, known=_listed(numbers))
        group, setting = numbers[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not setting.admits(value):
            least, most = ("…" if end is None else f"{end:g}" for end in (setting.least, setting.most))
            raise GatewayError("threshold-range", read=value, name=name, least=least, most=most)
        number = int(value) if float(value).is_integer() else value
        edit = Edit((*group.path, *setting.key), number)
        return await self._adopt(command, site, lambda text: edited(text, [edit]), source=group.source)

    async def _configure(self, command: Command) -> dict[str, Any]:
        """Adopt the site file in the attachment or, with `form` = "edits", the one that runs with these
        `Edit`s. `digest` is that of the configuration which the platform knows as the present one."""
        site = self._host.reloader.site
        if command.args.get("digest") != site.digest:
            revision = self._host.reloader.revision
            raise GatewayError("configuration-other", revision=revision.number, digest=site.digest)
        change: Callable[[str], str] = lambda _: command.attachment  # noqa: E731
        if command.args.get("form") == "edits":
            try:
                edits = msgspec.json.decode(command.attachment, type=list[Edit])
            except (msgspec.DecodeError, RecursionError) as error:
                raise GatewayError("command-form", reason=error) from error
            change = lambda text: edited(text, edits)  # noqa: E731
        return await self._adopt(command, site, change, check=self._new_mistakes)

    def _new_mistakes(self, site: Site) -> list[Mistake]:
        """Those that the present configuration does not have: they do not keep a better one out."""
        from .site_check import site_mistakes  # noqa: PLC0415  its libraries are large

        file, running = self._host.file, self._host.reloader.site
        known = {(mistake.key, str(mistake.facts)) for mistake in site_mistakes(file, running)}
        found = site_mistakes(file, site)
        return [mistake for mistake in found if (mistake.key, str(mistake.facts)) not in known]

    async def _adopt(
        self,
        command: Command,
        seen: Site,
        change: Callable[[str], str],
        *,
        source: str = "",
        check: Check = lambda site: (),
    ) -> dict[str, Any]:
        """Adopt a revision, and wait for the end of its trial."""
        reloader, author = self._host.reloader, f"{command.origin} {command.key or command.by}"
        try:
            answer = await reloader.replace_text(
                seen.digest, source, change, author.strip(), by="upstream", check=check
            )
        except Mistakes as wrong:
            texts = [mistake.text(language()) for mistake in wrong.mistakes[:MAX_REPORTED_MISTAKES]]
            raise GatewayError(
                "configuration-mistakes", count=len(wrong.mistakes), mistakes="; ".join(texts)
            ) from wrong
        number = answer["revision"]
        verdict: dict[str, Any] = {"pending": bool(answer["trial"]), "unproved": ()}
        while verdict["pending"]:
            verdict = await reloader.verdict()
        if verdict.get("silent"):
            silent = ", ".join(verdict["silent"])
            raise GatewayError("reload-returned", revision=verdict["revision"], silent=silent)
        return {
            "revision": number,
            "digest": reloader.site.digest,
            "changes": answer["changes"],
            "unproved": list(verdict["unproved"]),
        }


def bounded_report(report: dict[str, Any], most_bytes: int) -> dict[str, Any]:
    """A report of the doctor that is no longer than this as JSON: first without the devices that are
    well, then without all of them, then without the last findings. `left_out` is the number of both."""
    left_out = 0
    for is_left_out in (_is_well, lambda device, found: True):
        if len(msgspec.json.encode(report)) <= most_bytes:
            return report
        for bus in report["buses"].values():
            found = {finding["device"] for finding in bus["findings"]}
            kept = [device for device in bus["devices"] if not is_left_out(device, found)]
            left_out += len(bus["devices"]) - len(kept)
            bus["devices"] = kept
        report["left_out"] = left_out
    lists = [report["gateway"], *(bus["findings"] for bus in report["buses"].values())]
    while len(msgspec.json.encode(report)) > most_bytes and any(lists):
        longest = max(lists, key=len)
        dropped = longest[-(-len(longest) // 2) :] or longest[:]
        del longest[len(longest) - len(dropped) :]
        left_out += len(dropped)
        report["left_out"] = left_out
    return report


def _is_well(device: Mapping[str, Any], found: Iterable[str]) -> bool:
    return device["state"] == DeviceState.ONLINE and device["device"] not in found


def _listed(names: Iterable[str]) -> str:
    every = sorted(names)
    return ", ".join([*every[:MAX_NAMED], *(["…"] if len(every) > MAX_NAMED else [])]) or "–"
